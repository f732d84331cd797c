/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Causal attention, within a window on local layers, several heads of queries to one of keys and values. A
 * block is a tile of a context's and a head's queries, against the keys that any of them sees.
 */
#include "config.h"

#include "saescope/base/blas.h"
#include "saescope/base/parallel.h"
#include "saescope/model/parts.h"
#include "saescope/model/lanes.h"

struct attention {
    const struct pass *pass;
    const struct heads *at;
    const float *qkv;
    float *z;
    size_t window; /* keys that a query sees, its own included; at least the length when not local */
    size_t tiles;  /* of a context's queries */
};

struct heads heads_layout(const struct model *m)
{
    const struct model_config *c = &m->config;
    size_t q = c->heads * c->d_head, kv = c->kv_heads * c->d_head;
    if (m->family->qkv_by_head)
        return (struct heads){q + 2 * kv, 0, c->d_head, 2 * c->d_head, 3 * c->d_head, 3 * c->d_head};
    return (struct heads){q + 2 * kv, 0, q, q + kv, c->d_head, c->d_head};
}

/* exp(x − max) of scores [from, to) of n, zeros around them; returns 1/Σ. */
static float softmax(float *x, size_t from, size_t to, size_t n)
{
    float max = x[from];
    for (size_t i = from + 1; i < to; i++)
        max = x[i] > max ? x[i] : max;
    v4 total = all(0);
    size_t i = from;
    float rest = 0;
    for (; i + 4 <= to; i += 4) {
        v4 e = exp4(load(x + i) - max);
        save(x + i, e);
        total += e;
    }
    for (; i < to; i++) {
        x[i] = exp4(all(x[i] - max))[0];
        rest += x[i];
    }
    memset(x, 0, from * sizeof *x);
    memset(x + to, 0, (n - to) * sizeof *x);
    return 1.0f / (sum(total) + rest);
}

/* Queries [from, from + n) of a context's head. */
static void attend_tile(const struct attention *a, const float *q, const float *k, const float *v, float *z,
                        size_t from, size_t n, float *scores)
{
    const struct model_config *c = &a->pass->model->config;
    size_t ld = a->at->row, z_width = c->heads * c->d_head;
    size_t first = from + 1 > a->window ? from + 1 - a->window : 0, keys = from + n - first;
    sgemm_nt(n, keys, c->d_head, (float)c->attention_scale, q + from * ld, ld, k + first * ld, ld, 0.0f,
             scores, keys);
    if (c->attention_cap > 0)
        soft_cap(scores, n * keys, (float)c->attention_cap);
    float inverse[ATTENTION_TILE];
    for (size_t i = 0; i < n; i++) {
        size_t position = from + i, start = position + 1 > a->window ? position + 1 - a->window : 0;
        inverse[i] = softmax(scores + i * keys, start - first, position + 1 - first, keys);
    }
    sgemm_nn(n, c->d_head, keys, 1.0f, scores, keys, v + first * ld, ld, 0.0f, z + from * z_width, z_width);
    for (size_t i = 0; i < n; i++) {
        float *row = z + (from + i) * z_width;
        for (size_t j = 0; j < c->d_head; j++)
            row[j] *= inverse[i];
    }
}

static void attend_block(size_t block, size_t worker, void *arg)
{
    const struct attention *a = arg;
    const struct pass *pass = a->pass;
    const struct model_config *c = &pass->model->config;
    size_t from = block % a->tiles * ATTENTION_TILE, head = block / a->tiles % c->heads;
    size_t first = block / a->tiles / c->heads * pass->length;
    size_t kv_head = head / (c->heads / c->kv_heads);
    const float *x = a->qkv + first * a->at->row, *q = x + a->at->q + head * a->at->q_step;
    const float *k = x + a->at->k + kv_head * a->at->kv_step, *v = x + a->at->v + kv_head * a->at->kv_step;
    float *z = a->z + first * c->heads * c->d_head + head * c->d_head;
    float *scores = pass->workspace.floats + worker * pass->workspace.stride;
    size_t n = pass->length - from < ATTENTION_TILE ? pass->length - from : ATTENTION_TILE;
    attend_tile(a, q, k, v, z, from, n, scores);
}

void attend(const struct pass *pass, const struct heads *at, int local, const float *qkv, float *z)
{
    const struct model_config *c = &pass->model->config;
    size_t tiles = (pass->length + ATTENTION_TILE - 1) / ATTENTION_TILE;
    struct attention a = {pass, at, qkv, z, local ? c->window : pass->length, tiles};
    parallel_for(pass->n_contexts * c->heads * tiles, attend_block, &a);
}
