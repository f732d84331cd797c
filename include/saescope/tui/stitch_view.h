/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A stitch: stitch_data.c asks for what it shows, stitch_draw.c and stitch_plots.c draw it, view_stitch.c acts. */
#ifndef SAESCOPE_TUI_STITCH_VIEW_H
#define SAESCOPE_TUI_STITCH_VIEW_H

#include "saescope/analysis/stitch_points.h"
#include "saescope/tui/view.h"

/* ---- What was read. ---- */

/* The latents that come or go at each step, in ascending order: step k has [start[k], start[k + 1]). */
struct step_latents {
    uint32_t *latents, *start;
};
struct stitch_page {
    struct stitch_facts facts;
    int whole; /* what follows was read; else the facts and points alone, of a stitch that is there already */
    struct stitch_latents latents;
    struct stitch_path path;
    double auc, best_threshold;
    /* The scatter: symmetric logarithms of Δ mse, nearly linear up to `linear`. */
    float *scaled;
    double linear, low, high; /* of Δ mse */
    double lowest_cosine;
    struct step_latents added, removed; /* of the large SAE, of the small one */

    struct stitch_point *points;
    size_t n_points;
    char text_name[NAME_MAX_BYTES + 1];
};

/* ---- Lists. A row is a latent of the large SAE, or of the small one with ROW_SMALL set. ---- */
#define ROW_SMALL 0x80000000u

enum stitch_list { LIST_NOVEL, LIST_RECONSTRUCTION, LIST_UNDECIDED, LIST_STEP, STITCH_LISTS };
enum stitch_key { SORT_DELTA, SORT_COSINE, SORT_FIRED, SORT_STEP, SORT_LATENT, STITCH_KEYS };

struct row_labels {
    uint32_t *rows;
    char **texts; /* displayable; NULL: none */
    size_t n;
};

enum stitch_plot { PLOT_PATH, PLOT_EV_L0, PLOT_SCATTER /* where there is room for one plot only */ };

struct stitch_state {
    struct stitch_page *page; /* NULL until it is there */
    char *error;
    int threshold_given; /* by the user or a place */
    double threshold;
    size_t step;
    enum stitch_plot plot;
    enum stitch_list shown, class_shown; /* class_shown: the last one that was no LIST_STEP */
    enum stitch_key sort;
    int reverse;
    struct list lists[STITCH_LISTS];
    size_t wanted[STITCH_LISTS]; /* where a cursor goes when its rows are there; SIZE_MAX: stays */
    uint32_t *rows[LIST_STEP];   /* of the classes, sorted */
    size_t n_rows[LIST_STEP];
    struct row_labels *labels; /* of the rows on the screen and around it */
    int labels_stale;
    char *pattern;             /* of the search */
    unsigned char *matches[2]; /* bit a latent, of the large SAE and of the small one; NULL: not there yet */
    int direction;
};

/* ---- Data (stitch_data.c). ---- */
void stitch_load(struct view *v); /* the page, or what may have changed of it */
void stitch_page_came(struct stitch_state *s); /* fills the lists; cursors go where they were wanted */
void stitch_sort(struct stitch_state *s);
void stitch_want_labels(struct view *v);
/* NULL: not there yet; "": none. */
const char *stitch_label(const struct stitch_state *s, uint32_t row);
int stitch_search(struct view *v, const char *pattern, int direction);
int stitch_is_match(const struct stitch_state *s, uint32_t row);
void stitch_free(struct stitch_state *s);

size_t stitch_rows_count(const struct stitch_state *s, enum stitch_list list);
uint32_t stitch_row(const struct stitch_state *s, enum stitch_list list, size_t i);
int stitch_selected_row(const struct stitch_state *s, uint32_t *row); /* 0: none */
enum stitch_list stitch_list_of(enum latent_class c);
/* Δ divided by tokens · d_in. */
double stitch_delta_mse(const struct stitch_page *p, size_t latent);
double stitch_least_threshold(const struct stitch_page *p); /* what - goes down to */

/* ---- Where things are, for any size of the screen: pure. ---- */
struct stitch_layout {
    struct canvas header, scatter, path, list, step; /* height 0: left out */
};
void stitch_layout(const struct canvas *c, enum stitch_plot plot, struct stitch_layout *out);

/* ---- Drawing. ---- */
void stitch_draw(struct view *v, const struct canvas *c);
void stitch_status(struct view *v, struct strbuf *out);
/* "0.70", or with more decimals between two hundredths. */
const char *threshold_text(double threshold, char out[16]);
void scatter_draw(const struct stitch_state *s, const struct canvas *c);
void path_draw(const struct stitch_state *s, const struct canvas *c);
void ev_l0_draw(const struct stitch_state *s, const struct canvas *c);

#endif
