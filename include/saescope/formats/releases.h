/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Short names for well-known models and releases of SAEs: the shipped file `releases`, which describes its
 * own form. */
#ifndef SAESCOPE_FORMATS_RELEASES_H
#define SAESCOPE_FORMATS_RELEASES_H

#include "saescope/formats/hub.h"

struct release {
    char *name; /* "gpt2-small-res-jb/blocks.8.hook_resid_pre"; NULL: an address was given, and only the
                   source is known */
    struct hub_source source;
    int is_model;
    char *models; /* of an SAE: names that its model may have in the store, separated by commas; or NULL */
    char *hook;   /* or NULL: its files say it */
    char *neuronpedia; /* "gpt2-small/8-res-jb" or NULL */
    int center;        /* see release_facts */
    double scale;
    char *normalize; /* what its configuration should say of normalize_activations, or NULL */
};

/* An address (hf:...) or a short name, which may end in @REVISION. STATUS_USAGE with a suggestion when it is
 * neither; STATUS_REFUSED for releases of what is no SAE. */
int release_find(const char *text, struct release *out, struct error *err);
void release_free(struct release *r);

/* All short names; `partial`: it goes on with what is not listed. */
int release_names(void (*each)(void *arg, const char *name, int partial), void *arg, struct error *err);

/* A name for the store: a short name, or repository and folder, with "-" for what a name cannot hold;
 * malloc'd. */
char *release_store_name(const struct release *r);

/* The same from a file's text, for tests. */
int release_find_in(const char *text, const char *where, const char *name, struct release *out,
                    struct error *err);

/* ---- Patterns with braces. ---- */

#define PATTERN_CAPTURES 8
struct captures {
    char *text[PATTERN_CAPTURES];
    size_t at[PATTERN_CAPTURES]; /* which of its brace's alternatives it is */
    size_t n;
};
/* Whether the text is one that the pattern stands for; what its braces stand for is appended to c, which is
 * left as it was when not. */
int pattern_match(const char *pattern, const char *text, struct captures *c);
/* The text with {1}, {2}, ... replaced, and {1:x,y,z} by the word that has the place of {1} among its
 * brace's; malloc'd. */
char *pattern_fill(const char *text, const struct captures *c);
/* Every text that a pattern stands for, up to its first {*} (then partial); {1}, ... are filled from c. */
void pattern_each(const char *pattern, const struct captures *c,
                  void (*each)(void *arg, const char *text, const struct captures *c, int partial),
                  void *arg);
void captures_free(struct captures *c);

#endif
