/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The list of an SAE's latents: latents_data.c asks for what it shows, latents_draw.c draws it,
 * view_latents.c acts. */
#ifndef SAESCOPE_TUI_LATENTS_VIEW_H
#define SAESCOPE_TUI_LATENTS_VIEW_H

#include "saescope/analysis/latent.h"
#include "saescope/tui/view.h"

enum latents_slot { SLOT_TABLE, SLOT_LABELS, SLOT_SEARCH, SLOT_COMPARE };

/* ---- Columns. ---- */
struct column {
    const char *name; /* in the setting `columns` */
    const char *title;
    enum latent_key key;
    int width;    /* 0: what is left */
    int decimals; /* of numbers; -1: whole */
};
#define COLUMNS_MAX 16

/* Labels of rows [first, first + n) of the list. */
struct labels {
    size_t first, n;
    uint32_t *latents;
    char **texts; /* NULL: none */
    enum label_source *sources;
};

/* The nearest latents of another SAE that were asked for. */
struct nearest_in {
    artifact_id sae; /* whose latents they are nearest to */
    struct artifact in;
    size_t n;
    float *cosine;
    uint32_t *nearest;
};

struct latents {
    struct latent_table *table; /* NULL until it is there */
    struct nearest_in *compared; /* goes before what a stitch knows; NULL: nothing was asked for */
    struct artifact meta;       /* its meta-SAE, or of a meta-SAE its base; id 0: none */
    struct artifact ground;     /* the SAE that it is on in the end: itself when it is no meta-SAE */
    char *text_name;            /* of the index, or NULL */
    char *error;
    struct list list;
    enum latent_key sort;
    int reverse;
    char *filter;  /* that is asked for; NULL: all */
    char *applied; /* of the table that is there */
    size_t wanted; /* latent that the cursor goes to when the table is there; SIZE_MAX: stays */
    int to_top;    /* another order: it goes to the first row instead */
    struct labels *labels;
    size_t labels_asked;    /* first row of the labels that are on their way; SIZE_MAX: none */
    unsigned char *matches; /* bit a latent: found by the search */
    char *pattern;
    int direction;
};

/* Whether a column has anything to show. */
int latents_column_there(const struct latent_table *t, enum latent_key key);
/* The columns of the setting that there are, in its order. */
size_t latents_columns(struct view *v, const struct latent_table *t, const struct column *out[COLUMNS_MAX]);

void latents_load(struct view *v);        /* the table, as sort and filter say */
void latents_want_labels(struct view *v); /* of the rows on the screen, unless they are there or coming */
/* A label as it is there; NULL: not yet; "": the latent has none. */
const char *latents_label(const struct latents *d, size_t row, enum label_source *source);
size_t latents_row(const struct latent_table *t, size_t latent); /* SIZE_MAX: not in the list */
size_t latents_selected(const struct latents *d);                /* latent, or SIZE_MAX */
int latents_search(struct view *v, const char *pattern, int direction);
void latents_forget_search(struct latents *d);
void latents_free(struct latents *d);

/* ---- Comparing with another SAE (latents_compare.c). ---- */
void latents_compare(struct view *v, const char *sae); /* "": no more */
struct nearest_in *nearest_in_copy(const struct nearest_in *from); /* NULL stays */
void nearest_in_free(void *nearest);

void latents_draw(struct view *v, const struct canvas *c);
void latents_status(struct view *v, struct strbuf *out);

#endif
