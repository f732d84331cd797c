/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Models in the store: opening, weights in the map, passes, unembedding. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/model/family.h"

/* ---- Opening. ---- */

static uint32_t manifest_token(const json *manifest, const char *key)
{
    long long id = json_get_integer(manifest, key, -1);
    return id < 0 || id >= TOKEN_NONE ? TOKEN_NONE : (uint32_t)id;
}

static int read_manifest(struct model *m, const json *manifest, struct error *err)
{
    struct model_config *c = &m->config;
    const struct {
        const char *key;
        size_t *value;
    } sizes[] = {
        {"layers", &c->layers},
        {"d_model", &c->d_model},
        {"heads", &c->heads},
        {"d_mlp", &c->d_mlp},
        {"vocabulary_size", &c->vocabulary_size},
        {"context_length", &c->context_length},
    };
    const char *family;
    int code = json_need_string(manifest, "family", m->name, &family, err);
    for (size_t i = 0; i < ARRAY_LENGTH(sizes) && !code; i++) {
        code = json_need_size(manifest, sizes[i].key, m->name, 1 << 24, sizes[i].value, err);
        if (!code && !*sizes[i].value)
            code = error_set(err, STATUS_REFUSED, "model %s: %s is zero", m->name, sizes[i].key);
    }
    if (code)
        return code;
    m->family = model_family_find(family);
    if (!m->family || strlen(family) >= sizeof c->family || c->d_model % c->heads)
        return error_set(err, STATUS_REFUSED, "model %s: made by another version of this program", m->name);
    strcpy(c->family, family);
    c->d_head = c->d_model / c->heads;
    c->norm_epsilon = json_get_number(manifest, "norm_epsilon", 1e-5);
    c->layer_norm = json_get_boolean(manifest, "layer_norm", 1);
    c->bos = manifest_token(manifest, "bos");
    c->eos = manifest_token(manifest, "eos");
    m->tied = json_get_boolean(manifest, "tied", 1);
    return STATUS_OK;
}

int model_open(struct store_txn *t, artifact_id id, struct model **out, struct error *err)
{
    struct artifact artifact;
    int code = store_get(t, id, &artifact, err);
    if (code)
        return code;
    if (artifact.kind != ARTIFACT_MODEL)
        return error_set(err, STATUS_REFUSED, "%s is no model", artifact.name);
    json *manifest = store_manifest(t, id, err);
    if (!manifest)
        return err ? err->code : STATUS_STORE;
    struct model *m = xcalloc(1, sizeof *m);
    m->id = id;
    m->name = xstrdup(artifact.name);
    code = read_manifest(m, manifest, err);
    json_free(manifest);
    if (!code)
        code = tokenizer_open(t, id, &m->tokenizer, err);
    if (!code) {
        m->n_weights = m->family->n_weights(&m->config) + !m->tied;
        m->weights = array_zeroed(m->n_weights, sizeof *m->weights, "the list of weights", err);
        code = m->weights ? STATUS_OK : STATUS_FAILED;
    }
    if (code)
        model_free(m);
    else
        *out = m;
    return code;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    for (size_t i = 0; m->weights && i < m->n_weights; i++)
        free(m->weights[i].blocks);
    free(m->weights);
    tokenizer_free(m->tokenizer);
    free(m->name);
    free(m);
}

artifact_id model_id(const struct model *m)
{
    return m->id;
}

const char *model_name(const struct model *m)
{
    return m->name;
}

const struct model_config *model_get_config(const struct model *m)
{
    return &m->config;
}

const struct tokenizer *model_tokenizer(const struct model *m)
{
    return m->tokenizer;
}

static void weight_specification(const struct model *m, size_t i, struct weight_spec *spec)
{
    if (i < m->family->n_weights(&m->config)) {
        m->family->weight(&m->config, i, spec);
        return;
    }
    *spec = (struct weight_spec){
        .store_name = STORE_NAME_UNEMBED, .rows = m->config.vocabulary_size, .columns = m->config.d_model};
}

static int attach_weight(const struct model *m, struct store_txn *t, size_t i, struct error *err)
{
    struct weight_spec spec;
    struct store_tensor x;
    struct weight *w = &m->weights[i];
    weight_specification(m, i, &spec);
    int code = store_tensor_open(t, m->id, spec.store_name, &x, err);
    if (code)
        return error_prefix(err, "model %s", m->name);
    if (x.dtype != DTYPE_F32 || x.ndim != (spec.columns ? 2 : 1) || x.shape[0] != spec.rows ||
        (spec.columns && x.shape[1] != spec.columns) || !x.rows_per_block ||
        (!spec.columns && x.n_blocks != 1))
        return error_set(err, STATUS_STORE, "model %s: tensor %s does not fit the manifest", m->name,
                         spec.store_name);
    if (w->n_blocks != x.n_blocks) {
        w->blocks = xreallocarray(w->blocks, x.n_blocks, sizeof *w->blocks);
        w->n_blocks = x.n_blocks;
    }
    w->rows = spec.rows;
    w->columns = spec.columns;
    w->rows_per_block = x.rows_per_block;
    size_t next = 0;
    for (size_t b = 0; b < x.n_blocks; b++) {
        const void *data;
        size_t first, n;
        code = store_tensor_block(t, &x, b, &data, &first, &n, err);
        if (code)
            return code;
        if (first != next || first != b * x.rows_per_block)
            return error_set(err, STATUS_STORE, "model %s: tensor %s: blocks out of order", m->name,
                             spec.store_name);
        next = first + n;
        w->blocks[b] = data;
    }
    if (next != spec.rows)
        return error_set(err, STATUS_STORE, "model %s: tensor %s: rows are missing", m->name,
                         spec.store_name);
    return STATUS_OK;
}

int model_attach(struct model *m, struct store_txn *t, struct error *err)
{
    m->attached = 0;
    for (size_t i = 0; i < m->n_weights; i++) {
        int code = attach_weight(m, t, i, err);
        if (code)
            return code;
    }
    m->attached = 1;
    return STATUS_OK;
}

/* ---- Passes. ---- */

struct forward {
    size_t capacity, length; /* tokens in all, tokens a context */
    size_t workers, worker_stride;
    float *scratch, *worker_scratch; /* one allocation */
};

/* Floats for the tokens and for one worker, each a multiple of 64 bytes; 0 when it cannot be. */
static size_t plan(const struct model *m, size_t n_contexts, size_t length, size_t *worker, size_t *total)
{
    size_t tokens, floats, workers;
    if (size_multiply(n_contexts, length, &tokens) ||
        size_multiply(tokens, m->family->scratch_per_token(&m->config), &floats) || floats > SIZE_MAX / 16)
        return 0;
    *worker = (m->family->scratch_per_worker(&m->config, length) + 15) / 16 * 16;
    floats = (floats + 15) / 16 * 16;
    if (size_multiply(*worker, parallel_threads(), &workers) || workers > SIZE_MAX / 16)
        return 0;
    *total = floats + workers;
    return floats;
}

size_t forward_bytes(const struct model *m, size_t n_contexts, size_t length)
{
    size_t worker, total;
    return plan(m, n_contexts, length, &worker, &total) ? total * sizeof(float) : SIZE_MAX;
}

static int check_length(const struct model *m, size_t n_contexts, size_t length, struct error *err)
{
    if (!n_contexts || !length)
        return error_set(err, STATUS_REFUSED, "no tokens to run through model %s", m->name);
    if (length > m->config.context_length)
        return error_set(err, STATUS_REFUSED, "a context of %zu tokens is longer than model %s takes (%zu)",
                         length, m->name, m->config.context_length);
    return STATUS_OK;
}

int forward_new(const struct model *m, size_t n_contexts, size_t length, struct forward **out,
                struct error *err)
{
    int code = check_length(m, n_contexts, length, err);
    if (code)
        return code;
    size_t worker, total, floats = plan(m, n_contexts, length, &worker, &total);
    if (!floats)
        return error_set(err, STATUS_FAILED, "not enough memory for the forward pass");
    float *memory = array_alloc(total, sizeof *memory, "the forward pass", err);
    if (!memory)
        return STATUS_FAILED;
    struct forward *f = xmalloc(sizeof *f);
    *f = (struct forward){.capacity = n_contexts * length,
                          .length = length,
                          .workers = parallel_threads(),
                          .worker_stride = worker,
                          .scratch = memory,
                          .worker_scratch = memory + floats};
    *out = f;
    return STATUS_OK;
}

void forward_free(struct forward *f)
{
    if (!f)
        return;
    free(f->scratch);
    free(f);
}

int pass_hook(struct pass *pass, enum hook_point point, size_t layer, float *x, struct error *err)
{
    if (!pass->hook || pass->hook->point != point || pass->hook->layer != layer)
        return STATUS_OK;
    pass->stopped = pass->stop_at_hook;
    return pass->at ? pass->at(pass->arg, x, pass->n_tokens, pass->model->config.d_model, err) : STATUS_OK;
}

int forward_run(struct forward *f, const struct model *m, const uint32_t *tokens, size_t n_contexts,
                size_t length, const struct hook *hook, hook_function at, void *arg, float *final,
                struct error *err)
{
    int code = check_length(m, n_contexts, length, err);
    if (code)
        return code;
    if (!m->attached || length > f->length || n_contexts > f->capacity / length ||
        f->workers < parallel_threads() || (hook && hook->layer >= m->config.layers))
        return error_set(err, STATUS_FAILED, "model %s: the pass does not fit its preparation", m->name);
    if (!hook && !final)
        return STATUS_OK;
    struct pass pass = {.model = m,
                        .tokens = tokens,
                        .n_contexts = n_contexts,
                        .length = length,
                        .n_tokens = n_contexts * length,
                        .scratch = f->scratch,
                        .worker_scratch = f->worker_scratch,
                        .worker_stride = f->worker_stride,
                        .hook = hook,
                        .at = at,
                        .arg = arg,
                        .stop_at_hook = !final,
                        .final = final};
    for (size_t i = 0; i < pass.n_tokens; i++) {
        if (tokens[i] >= m->config.vocabulary_size)
            return error_set(err, STATUS_REFUSED, "token %u is not in model %s's vocabulary of %zu",
                             (unsigned)tokens[i], m->name, m->config.vocabulary_size);
    }
    return m->family->run(&pass, err);
}

/* ---- Unembedding. ---- */

int model_unembed(const struct model *m, const float *final, size_t n, float *logits, struct error *err)
{
    if (!m->attached)
        return error_set(err, STATUS_FAILED, "model %s: its weights are not looked up", m->name);
    const struct weight *w = m->tied ? &m->weights[m->family->embed] : &m->weights[m->n_weights - 1];
    linear_transposed(w, final, n, logits, m->config.vocabulary_size);
    return STATUS_OK;
}

struct centring {
    float *x;
    size_t width;
};

static void subtract_mean(size_t row, size_t worker, void *arg)
{
    const struct centring *c = arg;
    float *x = c->x + row * c->width;
    double sum = 0;
    (void)worker;
    for (size_t i = 0; i < c->width; i++)
        sum += (double)x[i];
    float mean = (float)(sum / (double)c->width);
    for (size_t i = 0; i < c->width; i++)
        x[i] -= mean;
}

/*
 * Folding the final norm (TransformerLens' fold_ln with centred reading weights, and center_unembed) without
 * a second W_U: x @ (C·diag(w)·W_U) = ((x − mean x)∘w) @ W_U for the centring matrix C, and centring over the
 * vocabulary takes each result's mean away.
 */
int model_direction_logits(const struct model *m, const float *directions, size_t n, int fold_ln,
                           float *logits, struct error *err)
{
    if (!fold_ln || !m->attached)
        return model_unembed(m, directions, n, logits, err);
    size_t d = m->config.d_model, cells;
    if (size_multiply(n, d, &cells))
        cells = SIZE_MAX;
    float *x = array_alloc(cells, sizeof *x, "directions", err);
    if (!x)
        return STATUS_FAILED;
    memcpy(x, directions, cells * sizeof *x);
    struct centring over_width = {x, d}, over_vocabulary = {logits, m->config.vocabulary_size};
    if (m->config.layer_norm)
        parallel_for(n, subtract_mean, &over_width);
    const float *scale = weight_vector(&m->weights[m->family->final_norm]);
    for (size_t i = 0; i < cells; i++)
        x[i] *= scale[i % d];
    int code = model_unembed(m, x, n, logits, err);
    if (!code)
        parallel_for(n, subtract_mean, &over_vocabulary);
    free(x);
    return code;
}
