/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A Hub of our own on 127.0.0.1: the API's commit and tree, HEAD and GET of files, and a "CDN" on a port of
 * its own that large files are redirected to. One thread, one request a connection. Faults are injected on
 * demand, and every request is kept to be looked at.
 */
#ifndef SAESCOPE_TESTS_HUB_SERVER_H
#define SAESCOPE_TESTS_HUB_SERVER_H

#include <stddef.h>

#define HUB_COMMIT       "0123456789abcdef0123456789abcdef01234567"
#define HUB_OTHER_COMMIT "89abcdef0123456789abcdef0123456789abcdef"

struct hub_faults {
    const char *on;     /* these requests: METHOD TARGET contains it; NULL: all */
    unsigned times;     /* so many of them ... */
    int status;         /* ... get this status */
    const char *header; /* and this header line, without its end, or NULL */

    unsigned cuts; /* so many bodies of files end after cut_after bytes: the connection is closed */
    size_t cut_after;
    int stall; /* a cut one stays open, silently */
    int ignore_ranges;
    int short_by; /* bodies of files are so many bytes shorter (or longer), and their headers say so */
    int corrupt;  /* the last byte of files is another */
    const char *redirect_to; /* files are redirected here instead of to the CDN */
    int direct;              /* files are not redirected */
    int moved;               /* the repository "old/name" is redirected to the real one */
    size_t page;             /* entries a page of the tree; 0: all */
    const char *tree;        /* the tree's text, whatever the files are */
    const char *token;       /* needed, else 401; with `gated` 403 for files */
    int gated;
};

struct hub_request {
    char method[8], target[512], range[64], authorization[128];
    int cdn;
};

struct hub_server;
/* Serves the repository "owner/name" at the commit HUB_COMMIT, and HUB_OTHER_COMMIT with the same files. */
struct hub_server *hub_server_start(const char *repository);
void hub_server_stop(struct hub_server *s);
const char *hub_server_endpoint(const struct hub_server *s);
/* Takes a copy. With `lfs` the file has a SHA-256 and is redirected to the CDN. */
void hub_server_add(struct hub_server *s, const char *path, const void *data, size_t n, int lfs);
/* All files of a folder on disk and of those in it, below `below`; those over 100 kB as in Git LFS. */
void hub_server_add_folder(struct hub_server *s, const char *folder, const char *below);
void hub_server_set(struct hub_server *s,
                    const struct hub_faults *faults); /* NULL: none; forgets the requests */
/* How many requests had "METHOD TARGET" containing the text; the last of them in *last when it is not NULL.
 */
size_t hub_server_requests(struct hub_server *s, const char *containing, struct hub_request *last);
/* How many of them the CDN saw a token in. */
size_t hub_server_leaks(struct hub_server *s);

#endif
