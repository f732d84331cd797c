/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is asked of single latents: addresses, logits, neighbours, meta-SAE decomposition, members, labels, encoding of a
 * text. All of it reads the store in the caller's transaction and is quick enough for a query (not for a UI thread).
 */
#ifndef SAESCOPE_ANALYSIS_LATENT_H
#define SAESCOPE_ANALYSIS_LATENT_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/monitor.h"
#include "saescope/model/model.h"
#include "saescope/sae/sae.h"
#include "saescope/store/store.h"

/* SAE/NUMBER. fallback_sae (may be NULL) is used for "/N". STATUS_REFUSED for an unknown SAE or latent (its range is
 * named); STATUS_USAGE when it does not read like an address. */
struct address {
    struct artifact sae;
    size_t latent;
    size_t d_sae;
};
int address_parse(struct store_txn *t, const char *text, const char *fallback_sae, struct address *out,
                  struct error *err);

/* What the manifest of an SAE says (strings live in `manifest`, released by sae_facts_free). */
struct sae_facts {
    struct artifact artifact;
    json *manifest;
    int is_meta;
    const char *architecture, *hook; /* hook NULL for a meta-SAE: its base's is meant */
    char *row_hook;                  /* the hook whose directions the rows of W_dec are: of a meta-SAE its base's, followed
                                        down; NULL: not known */
    size_t d_in, d_sae, k, context_size;
    int prepend_bos, center;
    artifact_id model, base, index; /* 0: none. model of a meta-SAE: its base's (followed down) */
    artifact_id ground;             /* the SAE at the bottom of a chain of meta-SAEs; an SAE's own id */
    size_t n_bases;                 /* of a joint meta-SAE several; `base` is the first */
    artifact_id *bases;
    uint64_t indexed_tokens;
};
int sae_facts_read(struct store_txn *t, artifact_id sae, struct sae_facts *out, struct error *err);
void sae_facts_free(struct sae_facts *f);
/* Whether it was made out of other SAEs (stitched, rebuilt), not trained: it says nothing of its width. */
int sae_facts_derived(const struct sae_facts *f);
/* Whether it is a meta-SAE on that SAE. */
int sae_facts_has_base(const struct sae_facts *f, artifact_id sae);
/* Whether both are of the same model and hook, with rows of one length, and no meta-SAEs: their latents can be compared. */
int same_place(const struct sae_facts *a, const struct sae_facts *b);
/* An SAE opened with its facts. `sae` is attached to t. */
struct opened_sae {
    struct sae_facts facts;
    struct sae *sae;
};
int opened_sae_open(struct store_txn *t, artifact_id id, struct opened_sae *out, struct error *err);
void opened_sae_close(struct opened_sae *o);
/* The meta-SAE shown with an SAE: the newest indexed one that has it as a base, else the newest; 0 when there is none.
 * Baselines (trained on permuted columns) are none. */
artifact_id meta_sae_of(struct store_txn *t, artifact_id sae);

/* ---- Logits of a latent's direction: the strongest and weakest tokens, by |W_dec[i] @ W_U| order. ---- */
struct token_logit {
    uint32_t id; /* TOKEN_NONE: only its text is known */
    float value;
    const char *text; /* in latent_logits' texts, not NUL-terminated; NULL: the tokenizer's */
    size_t text_length;
};
struct latent_logits {
    size_t n_positive, n_negative;
    struct token_logit positive[20], negative[20]; /* largest first; smallest first */
    char *texts;                                   /* of an imported index; NULL: none */
};
void latent_logits_free(struct latent_logits *l);
/* Bytes of its token; of none when neither it nor a tokenizer (may be NULL) knows them. */
const void *token_logit_text(const struct token_logit *l, const struct tokenizer *tok, size_t *n);
/* Those that an imported index brought; both empty when there are none. */
int index_logits_read(struct store_txn *t, artifact_id sae, size_t latent, struct latent_logits *out, struct error *err);
/* m must be attached; count ≤ 20. NULL model: none known, both empty. */
int latent_logits(const struct model *m, const struct sae *sae, const struct hook *hook, size_t latent, size_t count,
                  int fold_ln, struct latent_logits *out, struct error *err);
/* The same of logits that were computed. */
void latent_logits_choose(const float *logits, size_t vocabulary, size_t count, struct latent_logits *out);

/* ---- Neighbours: the latents of `in` whose decoder rows have the largest cosine with a direction. ---- */
struct neighbor {
    size_t latent;
    float cosine;
};
/* exclude: a latent left out (itself), or SIZE_MAX. *n ≤ count. */
int latent_neighbors(const struct sae *in, const float *direction, size_t exclude, size_t count, struct neighbor *out,
                     size_t *n, struct error *err);
/* For every latent of a (b) the nearest of b and its cosine: blocks of products, never the whole matrix. */
int nearest_latents(const struct sae *a, const struct sae *b, struct monitor *m, uint32_t *nearest, float *cosine,
                    struct error *err);

/* ---- Meta-SAE decomposition of one decoder row (scaled to unit norm). ---- */
struct component {
    size_t latent; /* meta-latent */
    float activation, cosine;
};
struct decomposition {
    struct component *components; /* strongest first; malloc'd */
    size_t n;
    double explained_variance; /* 1 − ‖d−d̂‖²/‖d−d̄‖² */
    double residual_norm;      /* ‖d−d̂‖ of unit ‖d‖ */
};
int decompose_latent(struct store_txn *t, const struct sae *base, const struct sae *meta, size_t latent,
                     struct decomposition *out, struct error *err);
void decomposition_free(struct decomposition *d);

/* Base latents of a meta-latent, strongest first. */
struct member {
    artifact_id sae; /* whose latent it is */
    size_t latent;
    float activation;
};
int meta_members(struct store_txn *t, const struct sae *base, const struct sae *meta, size_t meta_latent,
                 struct member **out, size_t *n, struct error *err);
/* The same over all bases of a meta-SAE, or of one of them (`only`; 0: all). *n_rows: how many latents these have. */
int meta_members_of_all(struct store_txn *t, artifact_id meta, size_t meta_latent, artifact_id only, struct member **out,
                        size_t *n, size_t *n_rows, struct error *err);
/* The same of several (different) meta-latents in one pass over the base's rows: lists[i] of the i-th. */
struct member_list {
    struct member *members; /* malloc'd; NULL: none */
    size_t n;
};
int meta_members_of_each(struct store_txn *t, const struct sae *base, const struct sae *meta, const size_t *meta_latents,
                         size_t count, struct monitor *m, struct member_list *lists, struct error *err);
void member_lists_free(struct member_list *lists, size_t count);

/* ---- A text's tokens and the latents that fire on them. ---- */
struct encoded_text {
    int truncated;
    size_t n_tokens;
    uint32_t *ids;
    struct sparse_rows rows; /* [n_tokens]; BOS row empty unless asked */
};
int encode_text(struct store *s, artifact_id sae, const void *text, size_t n, int with_bos, struct encoded_text *out,
                struct error *err);
void encoded_text_free(struct encoded_text *e);
/* Appends a text's tokens, after BOS when it is wanted and the model has one. */
int prompt_tokens(const struct model *m, int prepend_bos, const void *text, size_t n, struct token_list *out,
                  struct error *err);
/* Subtracts the mean over d from each of n rows (CONTRACT.md, Centring). */
void center_rows(float *x, size_t n, size_t d);

/* ---- Lists of latents: sort, filter, search. ---- */
enum latent_key { KEY_LATENT, KEY_FIRED, KEY_DENSITY, KEY_MAX, KEY_MEAN, KEY_META_LATENTS, KEY_EV, KEY_COSINE, KEY_LABEL,
                  LATENT_KEYS };
extern const char *const latent_key_names[]; /* "latent", "fired", "density", "max", "mean", "meta_latents", "ev",
                                                "cosine", "label", NULL */
struct latent_table {
    struct sae_facts facts;
    size_t n;                  /* d_sae */
    uint64_t tokens;
    uint32_t *fired;           /* NULL: not indexed */
    float *max, *mean;
    uint8_t *meta_latents;     /* NULL: no indexed meta-SAE */
    float *meta_ev;
    struct artifact in;        /* the SAE in which the nearest latents are; id 0: none */
    float *cosine;             /* NULL: none */
    uint32_t *nearest;
    uint8_t *classes;          /* enum latent_class, of a stitch; NULL: not of a stitch */
    uint32_t *order;           /* row -> latent, after sort and filter */
    size_t matched;
    enum latent_key sort_key;  /* of the order that there is: a filter keeps it */
    int sort_reverse;
};
/* Nearest latents, cosines and classes are those of a stitch to this SAE: of the one from the widest small SAE, the newest. */
int latent_table_open(struct store_txn *t, artifact_id sae, struct latent_table **out, struct error *err);
/* Others in their place, of which it takes the arrays (malloc'd, [n]) over. */
void latent_table_set_nearest(struct latent_table *table, const struct artifact *in, float *cosine, uint32_t *nearest,
                              uint8_t *classes);
void latent_table_free(struct latent_table *table);
/* Numbers descend (the latent's own number ascends), dead ones last; reverse turns it round (dead still last). */
int latent_table_sort(struct latent_table *table, struct store_txn *t, enum latent_key key, int reverse,
                      struct error *err);
/* EXPR: comparisons of keys with numbers (< <= > >= = !=), label ~ "regex", joined by and, or, not, parentheses. NULL: all.
 * STATUS_USAGE says what was not understood and where. */
int latent_table_filter(struct latent_table *table, struct store_txn *t, const char *expression, struct error *err);

struct search_result {
    artifact_id sae;
    size_t latent;
    double score;
};
/* Labels that match QUERY (case-insensitive unless it has capitals; words, or /regex/), in one SAE or (0) all. */
int search_labels(struct store_txn *t, artifact_id sae, const char *query, struct search_result **out, size_t *n,
                  struct error *err);

#endif
