/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A model of GPT-2-small's shape with random weights up to blocks.8.hook_resid_pre, a text for it and SAEs on it, in a
 * store: for benches. Whatever fails ends the bench with a message.
 */
#ifndef SAESCOPE_TESTS_GPT2_SHAPE_H
#define SAESCOPE_TESTS_GPT2_SHAPE_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/tensor.h"
#include "saescope/sae/sae.h"
#include "saescope/store/store.h"

enum {
    D = 768,
    HEADS = 12,
    D_HEAD = D / HEADS,
    D_MLP = 4 * D,
    LAYERS = 8, /* that run */
    VOCABULARY = 8192,
    LENGTH = 128 /* of a context */
};
#define BENCH_HOOK "blocks.8.hook_resid_pre"

extern struct error failure;
void need(int status);

float *random_floats(size_t n, uint64_t seed, float scale);

/*
 * The bare products of a forward pass of FORWARD_ROWS tokens: x[rows, D_MLP], w[D_MLP · D], out[rows, ≥ 3 · D + LENGTH · LENGTH
 * · 64 / rows]. Attention is whole (no causal half is saved).
 */
enum { FORWARD_ROWS = 1024 };
typedef void sgemm_call(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b,
                        size_t ldb, float beta, float *c, size_t ldc);
struct operands {
    float *x, *w, *out;
    sgemm_call *nn, *nt;
};
void forward_products(const struct operands *o);
/* Median seconds of `runs` calls for FORWARD_ROWS tokens: with OpenBLAS's own threads, or our blocks of one-threaded calls. */
double product_seconds(struct operands *o, void (*products)(const struct operands *o), int library_threads, size_t runs);

/* A temporary directory with a store that has the model and a text of at least `tokens` tokens. */
struct bench_store {
    char directory[64];
    struct store *store;
    artifact_id model, text;
};
void bench_store_open(struct bench_store *b, size_t tokens);
/* The same model once more, in another precision. */
artifact_id bench_model(const struct bench_store *b, const char *name, enum dtype dtype);
/* Copies the demo model's tokenizer into a model's folder. */
void bench_tokenizer(const char *directory);
void bench_store_close(struct bench_store *b); /* and its removal */
/* A jumprelu SAE of random rows with about l0 active latents a token. */
artifact_id bench_sae(const struct bench_store *b, const char *name, size_t d_sae, size_t l0, uint64_t seed);

#endif
