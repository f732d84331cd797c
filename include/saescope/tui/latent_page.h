/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A latent's or meta-latent's page: what it shows (gathered on the query thread, latent_page.c), where its
 * panes are (latent_layout.c) and how they are drawn (latent_panes.c, latent_contexts.c). Every string here
 * is displayable.
 */
#ifndef SAESCOPE_TUI_LATENT_PAGE_H
#define SAESCOPE_TUI_LATENT_PAGE_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/analysis/index.h"
#include "saescope/analysis/latent.h"
#include "saescope/base/strbuf.h"
#include "saescope/tui/view.h"

/* ---- What is on it. ---- */

/* A latent that is named on the page and can be gone to. */
struct page_link {
    artifact_id sae;
    int is_meta;                   /* its SAE is a meta-SAE */
    char name[NAME_MAX_BYTES + 1]; /* of its SAE */
    size_t latent;
    float value; /* activation or cosine */
    char *label; /* NULL: none */
};
struct page_links {
    struct page_link *items;
    size_t n, capacity;
};

struct page_token {
    size_t start, length; /* in the context's text */
    size_t width;         /* columns */
    size_t blanks;        /* leading ones: they are not shaded */
    int plain;            /* neither a special token nor bytes shown as escapes */
    float activation;
};
struct page_context {
    size_t context, position;
    int interval; /* -1: top */
    float activation;
    struct strbuf text;
    struct page_token *tokens;
    size_t n;
};

/* Statistics and contexts: what comes first. */
struct page_head {
    struct address at;
    int is_meta;
    artifact_id base;
    size_t n_bases;
    char base_name[NAME_MAX_BYTES + 1]; /* of a meta-SAE; the first of a joint one */
    char ground_name[NAME_MAX_BYTES +
                     1]; /* of the SAE that it is on in the end; its own when it is no meta-SAE */
    int has_meta;        /* there is a meta-SAE of its SAE */
    char *label;         /* NULL: none */
    enum label_source source;
    artifact_id index; /* 0: not indexed */
    uint64_t tokens, fired;
    double max, mean;
    struct index_histogram histogram; /* when it fired */
    struct page_context *contexts;
    size_t n_contexts, n_top;
    uint64_t relatives_hash; /* of the SAEs and indexes that the rest of the page depends on */
};

struct page_logit {
    char *token;
    float value;
};
struct page_logits {
    struct page_logit positive[20], negative[20];
    size_t n_positive, n_negative;
};

/* The members of a meta-latent. */
struct page_members {
    char sae[NAME_MAX_BYTES + 1]; /* whose latents they are; empty: its base is gone */
    size_t n_saes;                /* of a joint meta-SAE they are of several: then `sae` is the first */
    struct page_links links;
};

/* The meta-latents of a latent or meta-latent. */
struct page_components {
    char sae[NAME_MAX_BYTES + 1]; /* whose latents they are; empty: there is no meta-SAE */
    struct page_links links;
    double explained_variance, residual_norm; /* of the decomposition */
};

struct page_relatives {
    struct page_links links;
};

/* ---- Gathering; arg is a struct page_request, the result one of the above. ---- */
struct page_request {
    struct store *store;
    char *address;
    size_t neighbors; /* of the nearest SAE */
};
struct page_request *page_request_new(struct store *s, const char *address, size_t neighbors);
void page_request_free(void *request);

/* Changes when SAEs come, go or are renamed, or when the meta-SAE or an index of theirs changes. */
uint64_t page_relatives_hash(struct store_txn *t);

int page_head_read(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err);
int page_logits_read(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err);
int page_members_read(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err);
int page_components_read(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err);
int page_relatives_read(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err);
void page_head_free(void *head);
void page_logits_free(void *logits);
void page_members_free(void *members);
void page_components_free(void *components);
void page_relatives_free(void *relatives);

/* Looks the links' labels up again. */
void page_links_relabel(struct page_links *links, struct store_txn *t);
/* A token's displayable form appended to `text`, described in *out (page_token's activation is the caller's).
 */
void page_token_make(struct strbuf *text, const void *bytes, size_t n, struct page_token *out);
/* The shown label of a latent, displayable and malloc'd; NULL when it has none. */
char *page_label(struct store_txn *t, artifact_id sae, size_t latent, enum label_source *source);

/* ---- Where the panes are. ---- */
struct latent_layout {
    struct canvas header, members, components, histogram, logits, relatives,
        contexts;                      /* height 0: left out */
    int boxed_logits, boxed_relatives; /* else lines without a border */
};
#define LATENT_WIDE 110 /* columns from which the panes stand side by side */
/* has_meta: of a meta-latent's page, which else has no pane of components. */
void latent_layout(const struct canvas *c, int is_meta, int has_meta, struct latent_layout *out);

/* ---- Drawing. ---- */
/* Without colour: brackets around strong tokens (PLAIN), or around all active ones and their activation
 * behind (VALUES). */
enum heat_mark { HEAT_PLAIN, HEAT_VALUES };

/* One line: the tokens around `position`, at most `window` on either side, as many as fit. */
void context_line_draw(const struct canvas *c, int y, int x, const struct page_context *context,
                       size_t window, double max);
/* All tokens, wrapped, from line `top` on; the number of lines that there are. `selected`: a token that is
 * marked as the cursor, or SIZE_MAX. */
int context_wrapped_draw(const struct canvas *c, const struct page_context *context, int top, double max,
                         enum heat_mark mark, size_t selected);
/* The line that a token starts on when wrapped at a width. */
int context_wrapped_line(const struct page_context *context, int width, enum heat_mark mark, size_t token);

/* Rows of links with bars of value / max(1, the largest), or without bars. A name is written when it is not
 * `own`. */
void links_draw(const struct canvas *c, const struct page_links *links, struct list *list, int focused,
                const char *own, int bars);
void links_line_draw(const struct canvas *c, const struct page_links *links, const struct list *list,
                     int focused);
void histogram_draw(const struct canvas *c, const struct page_head *head);
void logits_draw(const struct canvas *c, const struct page_logits *logits);

#endif
