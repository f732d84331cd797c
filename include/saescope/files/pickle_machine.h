/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The pickle machine's own: a stack of values, marks on it, and a memo. */
#ifndef SAESCOPE_FILES_PICKLE_MACHINE_H
#define SAESCOPE_FILES_PICKLE_MACHINE_H

#include "saescope/files/pickle.h"

#define VALUES_IN_CHUNK 512

struct chunk {
    struct chunk *next;
    size_t n;
    struct pickle_value values[VALUES_IN_CHUNK];
};

struct values {
    struct pickle_value **items;
    size_t n, capacity;
};

struct pickle {
    const unsigned char *at, *end, *start;
    const char *where;
    const struct pickle_user *user;
    struct error *err;
    struct chunk *chunks;
    size_t n_values, n_copied; /* items of lists that calls copied */
    struct values stack, memo;
    size_t *marks; /* heights of the stack */
    size_t n_marks, marks_capacity;
};

/* STATUS_REFUSED "WHERE: byte N of the pickle: WHAT" */
int pickle_refuse(const struct pickle *p, const char *what);

/* A value that lives as long as the pickle, zero but for its type; _push_new puts it on the stack. */
int pickle_new(struct pickle *p, enum pickle_type type, struct pickle_value **out);
int pickle_push_new(struct pickle *p, enum pickle_type type, struct pickle_value **out);
void pickle_append(struct pickle_value *list, struct pickle_value *item);

/* The stack. Below the last mark nothing is touched. */
void pickle_push(struct pickle *p, struct pickle_value *v);
int pickle_pop(struct pickle *p, struct pickle_value **out);
int pickle_top(struct pickle *p, struct pickle_value **out);
int pickle_push_mark(struct pickle *p);
/* The values above the last mark, which is taken away with them; they stay valid until the next push. */
int pickle_pop_mark(struct pickle *p, struct pickle_value ***items, size_t *n);

/* Gives the last value a number in the memo. */
int pickle_memorise(struct pickle *p, uint64_t number);

#endif
