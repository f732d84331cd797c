/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading pickles of protocols 2 to 5 without executing them. The machine knows plain values only; every global, persistent
 * id, call and state goes to its user, who makes a value of it or refuses. (Python's Lib/pickletools.py describes the opcodes.)
 *
 * Bounded: 32 MiB of pickle, 4 million values, memo numbers below 4 million; containers may hold themselves, so that whoever
 * walks values bounds the depth and the count.
 */
#ifndef SAESCOPE_FILES_PICKLE_H
#define SAESCOPE_FILES_PICKLE_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/error.h"

#define PICKLE_MAX ((size_t)32 << 20)

enum pickle_type {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,
    PICKLE_REAL, /* also whole numbers beyond 64 bits */
    PICKLE_STRING,
    PICKLE_BYTES,
    PICKLE_LIST, /* also sets */
    PICKLE_TUPLE,
    PICKLE_DICT,
    PICKLE_GLOBAL, /* the user's, by number */
    PICKLE_OBJECT  /* the user's */
};

struct pickle_value {
    enum pickle_type type;
    int owned; /* bytes are this value's, else the pickle's */
    union {
        long long integer; /* also a bool's and a global's number */
        double real;
        struct {
            const char *bytes; /* UTF-8 in a string that was written by Python */
            size_t length;
        } text;
        struct {
            struct pickle_value **items; /* a dictionary's: key, value, key, … */
            size_t n, capacity;
        } list;
        struct {
            int kind;
            void *data; /* freed with the value */
        } object;
    };
};

struct pickle;

/* What makes values of everything that is not plain. All fill *out (a new value, None so far) or refuse. */
struct pickle_user {
    void *arg;
    int (*global)(void *arg, const char *module, const char *name, struct pickle_value *out, struct error *err);
    int (*persistent)(void *arg, const struct pickle_value *id, struct pickle_value *out, struct error *err);
    /* `arguments` is a tuple. */
    int (*call)(void *arg, struct pickle *p, const struct pickle_value *callee, const struct pickle_value *arguments,
                struct pickle_value *out, struct error *err);
    int (*set_state)(void *arg, struct pickle_value *object, const struct pickle_value *state, struct error *err);
};

/*
 * Reads one pickle of n bytes, which must stay until pickle_free: strings are views of them. `where` is displayable and is for
 * messages. *root belongs to the pickle.
 */
int pickle_read(const unsigned char *bytes, size_t n, const char *where, const struct pickle_user *user, struct pickle **out,
                const struct pickle_value **root, struct error *err);
void pickle_free(struct pickle *p); /* NULL is fine */

int pickle_text_is(const struct pickle_value *v, const char *text); /* a string of these characters */
/* Appends the items of one list or tuple to another; refused when a pickle does so for millions of items. */
int pickle_copy_items(struct pickle *p, struct pickle_value *to, const struct pickle_value *from);

#endif
