/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The state of a latent's page: latent_load.c fills it, view_latent.c changes it, latent_draw.c draws it. */
#ifndef SAESCOPE_TUI_LATENT_VIEW_H
#define SAESCOPE_TUI_LATENT_VIEW_H

#include "saescope/tui/latent_page.h"

enum page_pane { PANE_MEMBERS, PANE_COMPONENTS, PANE_RELATIVES, PANE_CONTEXTS, PANES };

struct latent_state {
    struct page_head *head; /* NULL until it is there; so are the others */
    struct page_logits *logits;
    struct page_members *members; /* of a meta-latent */
    struct page_components *components;
    struct page_relatives *relatives;
    size_t d_sae;        /* latents of its SAE; 0 until it is known */
    long long neighbors; /* as the setting was when relatives were asked for */
    char *error;         /* why there is no page; NULL: none */
    char *failed[PANES]; /* why a pane is empty */
    struct list lists[PANES];
    size_t wanted[PANES]; /* where a cursor goes when its rows are there */
    enum page_pane focus;
    int focus_given; /* by the user or a place; else chosen when the head is there */
    int intervals;   /* contexts: sampled ones by interval, not the top ones */
    int whole;       /* one context fills the screen */
    int whole_top;   /* its first line shown */
};

/* Whether the page of such a latent has it. */
int latent_has_pane(const struct page_head *head, enum page_pane pane);
/* The rows of a pane; NULL: they are not there yet, or are no links. */
struct page_links *latent_links(const struct latent_state *s, enum page_pane pane);

void latent_load(struct view *v);
int latent_refresh(struct view *v);
void latent_forget(struct latent_state *s); /* all that was loaded */
/* The rows of a pane are there: the cursor goes where it was wanted. */
void latent_rows_came(struct latent_state *s, enum page_pane pane, size_t n);

/* The contexts that are listed: *first and their number. */
size_t latent_contexts_shown(const struct latent_state *s, size_t *first);
void latent_draw(struct view *v, const struct canvas *c);
/* A window as it is written: "16", or "full". */
void window_text(long long window, char out[24]);
#define WINDOW_FULL 1000000 /* of the setting: more than any context has */

#endif
