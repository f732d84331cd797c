/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The parts that decoders are made of. All run over the pool; rows are tokens. Internal to the model room. */
#ifndef SAESCOPE_MODEL_PARTS_H
#define SAESCOPE_MODEL_PARTS_H

#include "saescope/model/family.h"

/* ---- src/model/linear.c: products with weights. ---- */

const float *weight_vector(const struct weight *w);
void weight_row(const struct weight *w, size_t row, float *out); /* widened to float32 */

/* Floats that a worker needs for weights of up to this many inputs. */
size_t linear_scratch(size_t inputs);
/*
 * y = x W (+ bias, or NULL) for n rows: x[n, inputs]; y's rows are ldy apart. 16-bit weights are widened a tile at a time in
 * the workspace, each for several hundred rows of x.
 */
void linear(const struct workspace *workspace, const struct weight *w, const struct weight *bias, const float *x,
            size_t n, float *y, size_t ldy);

/* ---- src/model/norm.c ---- */

/* y = (x − mean) / √(variance + ε) · scale + shift, or without mean for RMS norms (shift NULL). */
struct norm {
    int layer_norm, adds_one; /* adds_one: 1 + scale */
    double epsilon;
    const float *scale, *shift; /* either may be NULL */
};
struct norm norm_of(const struct model *m, const struct weight *scale, const struct weight *shift);
/* y may be x. */
void norm_rows(const struct norm *norm, const float *x, size_t n, size_t width, float *y);
/* The second half of it alone: x · scale + shift. */
void norm_affine(const struct norm *norm, float *x, size_t n, size_t width);
/* One row, RMS. */
void rms_norm_row(const struct norm *norm, float *x, size_t width);

void add_rows(float *x, const float *y, size_t n, size_t width); /* x += y */
void embed_tokens(const struct pass *pass, float *x);    /* x[i] = the token's row · embed_scale */
void embed_positions(const struct pass *pass, float *x); /* x[i] = the position's row */

/* ---- src/model/activation.c ---- */

/* One row: x = act(x + bias) · times; bias and times may be NULL. */
void activate(enum activation kind, float *x, const float *bias, const float *times, size_t n);
void activate_rows(enum activation kind, float *x, const float *bias, const float *times, size_t n, size_t width);
void soft_cap(float *x, size_t n, float cap); /* x = cap · tanh(x / cap) */

/* ---- src/model/rotary.c, src/model/attention.c ---- */

/* Where heads lie in a token's row of queries, keys and values, in floats. */
struct heads {
    size_t row; /* floats a token */
    size_t q, k, v; /* of the first head */
    size_t q_step, kv_step;
};
struct heads heads_layout(const struct model *m);

/* Cosines and sines of positions [0, length) to table[length, 2, dims / 2]. */
void rotary_table(const struct rotary *rotary, size_t length, float *table);
/* Norms of every head's query and key (or NULL), then rotation, in place. */
void rotate_heads(const struct pass *pass, const struct heads *at, const struct weight *q_norm,
                  const struct weight *k_norm, float *qkv);

/* Queries cut into tiles of this many, with the keys up to the tile's end. */
#define ATTENTION_TILE 128
/* z[n_tokens, heads · d_head]; `local`: within the configuration's window. */
void attend(const struct pass *pass, const struct heads *at, int local, const float *qkv, float *z);

#endif
