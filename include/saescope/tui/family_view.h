/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The view of a family: what it shows (gathered on the query thread, family_page.c), how it is moved about in (view_family.c)
 * and drawn (family_draw.c). Every string here is displayable.
 */
#ifndef SAESCOPE_TUI_FAMILY_VIEW_H
#define SAESCOPE_TUI_FAMILY_VIEW_H

#include "saescope/analysis/family_layout.h"
#include "saescope/tui/view.h"

struct family_page {
    struct family *family;
    struct family_layout layout;
    char **labels;      /* [n_nodes]; NULL: none */
    char ***meta_names; /* [n_nodes][n_meta]: labels of meta-latents; NULL: none */
    uint64_t seen;      /* of what it was made from: see family_page_read */
};

/* arg is a struct family_request. The result is NULL when the SAEs, stitches and indexes are those of `seen`. */
struct family_request {
    char *address, *saes;
    struct family_options options; /* its saes is the above */
    uint64_t seen;                 /* 0: nothing yet */
};
int family_page_read(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err);
void family_page_free(void *page);
void family_request_free(void *request);
void family_page_relabel(struct family_page *page, struct store_txn *t);

struct family_state {
    struct invocation *asked; /* of the command family: the target's words */
    struct family_options options;
    struct family_page *page; /* NULL until it is there */
    char *error;              /* why there is none */
    char *wanted;             /* the address that the cursor goes to when it is there; NULL: the one asked for */
    uint32_t node;            /* the selected one */
    size_t top;               /* first row shown */
    uint32_t left;            /* first column shown, when they do not all fit */
    int height;               /* rows of the family, as last drawn */
    uint32_t came_to, came_from; /* the last step sideways: back it leads to where it began */
};

#define FAMILY_WIDE 100 /* columns below which it is a tree */
void family_draw(struct view *v, const struct canvas *c);

#endif
