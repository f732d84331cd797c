/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Models in the store: opening, weights in the map, passes, unembedding. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/model/parts.h"

#define LAYER_ROLES (ROLES - GLOBAL_ROLES)

/* ---- Opening. ---- */

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
    code = model_config_read(manifest, m->name, &m->config, err);
    json_free(manifest);
    if (!code)
        code = tokenizer_open(t, id, &m->tokenizer, err);
    if (!code) {
        m->family = model_family_find(m->config.family);
        m->layers =
            array_zeroed(m->config.layers, LAYER_ROLES * sizeof *m->layers, "the list of weights", err);
        code = m->layers ? STATUS_OK : STATUS_FAILED;
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
    for (size_t i = 0; i < GLOBAL_ROLES; i++)
        free(m->globals[i].blocks);
    for (size_t i = 0; m->layers && i < m->config.layers * LAYER_ROLES; i++)
        free(m->layers[i].blocks);
    free(m->layers);
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

static struct weight *weight_slot(struct model *m, enum weight_role role, size_t layer)
{
    return role < GLOBAL_ROLES ? &m->globals[role] : &m->layers[layer * LAYER_ROLES + (role - GLOBAL_ROLES)];
}

const struct weight *model_weight(const struct model *m, enum weight_role role, size_t layer)
{
    const struct weight *w =
        role < GLOBAL_ROLES ? &m->globals[role] : &m->layers[layer * LAYER_ROLES + (role - GLOBAL_ROLES)];
    return w->blocks ? w : NULL;
}

const struct weight *model_unembedding(const struct model *m)
{
    return &m->globals[m->config.features & MODEL_UNTIED ? ROLE_UNEMBED : ROLE_EMBED];
}

/* ---- Weights in the map. ---- */

static int fits(const struct store_tensor *x, const struct weight_spec *spec)
{
    int is_matrix = spec->columns != 0;
    int good_dtype =
        x->dtype == DTYPE_F32 || (is_matrix && (x->dtype == DTYPE_F16 || x->dtype == DTYPE_BF16));
    return good_dtype && x->ndim == (is_matrix ? 2 : 1) && x->shape[0] == spec->rows &&
           (!is_matrix || x->shape[1] == spec->columns) && x->rows_per_block &&
           (is_matrix || x->n_blocks == 1);
}

struct attaching {
    struct model *m;
    struct store_txn *t;
};

static int attach_blocks(const struct attaching *a, const struct store_tensor *x,
                         const struct weight_spec *spec, struct weight *w, struct error *err)
{
    size_t next = 0;
    for (size_t b = 0; b < x->n_blocks; b++) {
        size_t first, n;
        int code = store_tensor_block(a->t, x, b, &w->blocks[b], &first, &n, err);
        if (code)
            return code;
        if (first != next || first != b * x->rows_per_block)
            return error_set(err, STATUS_STORE, "model %s: tensor %s: blocks out of order", a->m->name,
                             spec->store_name);
        next = first + n;
    }
    if (next != spec->rows)
        return error_set(err, STATUS_STORE, "model %s: tensor %s: rows are missing", a->m->name,
                         spec->store_name);
    return STATUS_OK;
}

static int attach_weight(const struct weight_spec *spec, void *arg, struct error *err)
{
    const struct attaching *a = arg;
    struct weight *w = weight_slot(a->m, spec->role, spec->layer);
    struct store_tensor x;
    int code = store_tensor_open(a->t, a->m->id, spec->store_name, &x, err);
    if (code)
        return error_prefix(err, "model %s", a->m->name);
    if (!fits(&x, spec))
        return error_set(err, STATUS_STORE, "model %s: tensor %s does not fit the manifest", a->m->name,
                         spec->store_name);
    if (w->n_blocks != x.n_blocks) {
        w->blocks = xreallocarray(w->blocks, x.n_blocks, sizeof *w->blocks);
        w->n_blocks = x.n_blocks;
    }
    w->rows = spec->rows;
    w->columns = spec->columns;
    w->rows_per_block = x.rows_per_block;
    w->dtype = x.dtype;
    /* Embedding and unembedding are [vocabulary, d_model] in every family. */
    w->in_out = a->m->family->in_out && spec->role >= GLOBAL_ROLES;
    return attach_blocks(a, &x, spec, w, err);
}

int model_attach(struct model *m, struct store_txn *t, struct error *err)
{
    struct attaching a = {m, t};
    struct weight_spec unembed = family_unembed(&m->config);
    m->attached = 0;
    int code = family_each_weight(m->family, &m->config, attach_weight, &a, err);
    if (!code && m->config.features & MODEL_UNTIED)
        code = attach_weight(&unembed, &a, err);
    m->attached = !code;
    return code;
}

/* ---- Passes. ---- */

struct forward {
    size_t capacity, length; /* tokens in all, tokens a context */
    size_t workers, worker_stride;
    float *scratch, *rotary, *worker_scratch; /* one allocation */
    struct monitor *monitor;
};

/* Floats of a pass's parts, each a multiple of 64 bytes. */
struct plan {
    size_t tokens, rotary, worker, total;
};

static size_t whole_lines(size_t floats)
{
    return (floats + 15) / 16 * 16;
}

/* 0, or -1 when it cannot be. */
static int plan(const struct model *m, size_t n_contexts, size_t length, struct plan *out)
{
    size_t tokens, workers;
    if (size_multiply(n_contexts, length, &tokens) ||
        size_multiply(tokens, decoder_scratch_per_token(m->family, &m->config), &out->tokens) ||
        size_multiply(length, m->config.rotary.dims, &out->rotary) || out->tokens > SIZE_MAX / 32 ||
        out->rotary > SIZE_MAX / 32)
        return -1;
    out->tokens = whole_lines(out->tokens);
    out->rotary = whole_lines(out->rotary);
    out->worker = whole_lines(decoder_scratch_per_worker(&m->config, length));
    if (size_multiply(out->worker, parallel_threads(), &workers) || workers > SIZE_MAX / 16)
        return -1;
    out->total = out->tokens + out->rotary + workers;
    return 0;
}

size_t forward_bytes(const struct model *m, size_t n_contexts, size_t length)
{
    struct plan p;
    return plan(m, n_contexts, length, &p) ? SIZE_MAX : p.total * sizeof(float);
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
    struct plan p;
    if (plan(m, n_contexts, length, &p))
        return error_set(err, STATUS_FAILED, "not enough memory for the forward pass");
    float *memory = array_alloc(p.total, sizeof *memory, "the forward pass", err);
    if (!memory)
        return STATUS_FAILED;
    struct forward *f = xmalloc(sizeof *f);
    *f = (struct forward){.capacity = n_contexts * length,
                          .length = length,
                          .workers = parallel_threads(),
                          .worker_stride = p.worker,
                          .scratch = memory,
                          .rotary = memory + p.tokens,
                          .worker_scratch = memory + p.tokens + p.rotary};
    rotary_table(&m->config.rotary, length, f->rotary);
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

void forward_watch(struct forward *f, struct monitor *m)
{
    f->monitor = m;
}

int pass_wants(const struct pass *pass, enum hook_point point, size_t layer)
{
    return pass->hook && pass->hook->point == point && pass->hook->layer == layer;
}

int pass_hook(struct pass *pass, enum hook_point point, size_t layer, float *x, struct error *err)
{
    int code = parallel_cancelled(err);
    if (code || !pass_wants(pass, point, layer))
        return code;
    pass->stopped = pass->stop_at_hook;
    size_t width = hook_width(&pass->model->config, pass->hook);
    parallel_watch(NULL);
    code = pass->at ? pass->at(pass->arg, x, pass->n_tokens, width, err) : STATUS_OK;
    parallel_watch(pass->monitor);
    return code;
}

/* What all passes have in common. */
static int prepare(const struct forward *f, const struct model *m, size_t n_contexts, size_t length,
                   const struct hook *hook, float *final, struct pass *pass, struct error *err)
{
    int code = check_length(m, n_contexts, length, err);
    if (code)
        return code;
    if (!m->attached || length > f->length || n_contexts > f->capacity / length ||
        f->workers < parallel_threads() || (hook && hook->layer >= m->config.layers))
        return error_set(err, STATUS_FAILED, "model %s: the pass does not fit its preparation", m->name);
    *pass = (struct pass){.model = m,
                          .n_contexts = n_contexts,
                          .length = length,
                          .n_tokens = n_contexts * length,
                          .scratch = f->scratch,
                          .workspace = {f->worker_scratch, f->worker_stride},
                          .rotary = f->rotary,
                          .monitor = f->monitor,
                          .final = final};
    return STATUS_OK;
}

static int run(struct pass *pass, struct error *err)
{
    parallel_watch(pass->monitor);
    int code = decoder_run(pass, err);
    if (!code)
        code = parallel_cancelled(err);
    parallel_watch(NULL);
    return code;
}

int forward_run(struct forward *f, const struct model *m, const uint32_t *tokens, size_t n_contexts,
                size_t length, const struct hook *hook, hook_function at, void *arg, float *final,
                struct error *err)
{
    struct pass pass;
    int code = prepare(f, m, n_contexts, length, hook, final, &pass, err);
    if (code || (!hook && !final))
        return code;
    pass.tokens = tokens;
    pass.hook = hook;
    pass.at = at;
    pass.arg = arg;
    pass.stop_at_hook = !final;
    for (size_t i = 0; i < pass.n_tokens; i++) {
        if (tokens[i] >= m->config.vocabulary_size)
            return error_set(err, STATUS_REFUSED, "token %u is not in model %s's vocabulary of %zu",
                             (unsigned)tokens[i], m->name, m->config.vocabulary_size);
    }
    return run(&pass, err);
}

int forward_resume(struct forward *f, const struct model *m, size_t n_contexts, size_t length,
                   const struct hook *hook, const float *x, float *final, struct error *err)
{
    struct pass pass;
    int code = prepare(f, m, n_contexts, length, hook, final, &pass, err);
    if (code)
        return code;
    if (!hook_is_whole(hook))
        return error_set(err, STATUS_FAILED, "a pass cannot begin at %s", hook->name);
    pass.from = x;
    pass.first_layer = hook->layer + (hook->point == HOOK_RESID_POST);
    return run(&pass, err);
}

/* ---- Unembedding. ---- */

/* A product with a weight outside of a pass. */
static int multiply(const struct model *m, const struct weight *w, const float *x, size_t n, float *y,
                    size_t ldy, struct error *err)
{
    struct workspace workspace = {.stride = whole_lines(linear_scratch(w->in_out ? w->rows : w->columns))};
    if (!m->attached)
        return error_set(err, STATUS_FAILED, "model %s: its weights are not looked up", m->name);
    workspace.floats = array_alloc(workspace.stride, parallel_threads() * sizeof(float), "a product", err);
    if (!workspace.floats)
        return STATUS_FAILED;
    linear(&workspace, w, NULL, x, n, y, ldy);
    free(workspace.floats);
    return STATUS_OK;
}

struct capping {
    float *logits;
    size_t width;
    float cap;
};

static void cap_row(size_t row, size_t worker, void *arg)
{
    const struct capping *c = arg;
    (void)worker;
    soft_cap(c->logits + row * c->width, c->width, c->cap);
}

int model_unembed(const struct model *m, const float *final, size_t n, float *logits, struct error *err)
{
    struct capping capping = {logits, m->config.vocabulary_size, (float)m->config.logit_cap};
    int code = multiply(m, model_unembedding(m), final, n, logits, m->config.vocabulary_size, err);
    if (!code && m->config.logit_cap > 0)
        parallel_for(n, cap_row, &capping);
    return code;
}

int model_directions_out(const struct model *m, const struct hook *hook, const float *directions, size_t n,
                         float *out, struct error *err)
{
    if (hook->point != HOOK_Z && hook->point != HOOK_MLP_POST) {
        memcpy(out, directions, n * m->config.d_model * sizeof *out);
        return STATUS_OK;
    }
    const struct weight *w = model_weight(m, hook->point == HOOK_Z ? ROLE_W_O : ROLE_W_OUT, hook->layer);
    if (!w)
        return error_set(err, STATUS_FAILED, "model %s: its weights are not looked up", m->name);
    return multiply(m, w, directions, n, out, m->config.d_model, err);
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
    const struct weight *unembedding = model_unembedding(m);
    if (!fold_ln || !m->attached)
        return multiply(m, unembedding, directions, n, logits, m->config.vocabulary_size, err);
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
    struct norm norm = norm_of(m, model_weight(m, ROLE_FINAL_SCALE, 0), NULL);
    norm_affine(&norm, x, n, d);
    int code = multiply(m, unembedding, x, n, logits, m->config.vocabulary_size, err);
    if (!code)
        parallel_for(n, subtract_mean, &over_vocabulary);
    free(x);
    return code;
}
