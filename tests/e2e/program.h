/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Running the program ($SAESCOPE) as its users do, and checking what it prints. For the end-to-end tests. */
#ifndef SAESCOPE_TESTS_PROGRAM_H
#define SAESCOPE_TESTS_PROGRAM_H

#include <stddef.h>
#include "saescope/base/json.h"

/* A new directory under /tmp: everything that is run works in it, with a store at DIR/store. */
void program_set_up(void);
void program_tear_down(void);
const char *program_directory(void);
char *program_path(const char *name); /* DIR/name, malloc'd */
void program_write_file(const char *name, const void *bytes, size_t n);
char *program_read_file(const char *name, size_t *n); /* malloc'd, NUL-terminated */
void program_write_corpus(const char *name, size_t documents); /* the first ones of the shipped corpus */

struct result {
    int status; /* exit status, 128 + N when a signal ended it */
    char *out, *err;
    size_t n_out;
};
void result_free(struct result *r);

/* `input` is its standard input (NULL: none). words end with NULL. */
struct result program_run(const char *input, const char *const *words);
#define PROGRAM(...)       program_run(NULL, (const char *const[]){__VA_ARGS__, NULL})
#define PROGRAM_FED(input, ...) program_run(input, (const char *const[]){__VA_ARGS__, NULL})

/* Runs it, fails the test unless it exits with 0, and returns its output as one line of JSON. */
json *program_json(const char *const *words);
#define PROGRAM_JSON(...) program_json((const char *const[]){"--json", __VA_ARGS__, NULL})
/* Fails the test unless it exits with 0; the output is dropped. */
void program_done(const char *const *words);
#define PROGRAM_DONE(...) program_done((const char *const[]){"--quiet", __VA_ARGS__, NULL})
/* Fails the test unless it exits with `status`, writes nothing to stdout, and all of `says` (NULL-terminated) are in its message. */
void program_refuses(int status, const char *const *says, const char *const *words);
#define SAYS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define PROGRAM_REFUSES(status, says, ...)                                                                             \
    program_refuses(status, says, (const char *const[]){"--quiet", __VA_ARGS__, NULL})

/*
 * Fails the test unless the value has this shape: s string, i whole number, n number, b boolean, x anything; {a:s,b:i}
 * an object that has at least these members, [i] an array of such; ? after a shape: or null; + after an array's ]:
 * and not empty.
 */
void assert_shape(const json *value, const char *shape);

/* An object's member; -1, NaN: it has none of this type. */
long long integer_of(const json *object, const char *key);
double number_of(const json *object, const char *key);
/* Fails the test unless the object's member is this text. */
void assert_is(const json *object, const char *key, const char *text);

#endif
