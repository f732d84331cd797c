/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Stitches in the store: what they are called, reading, and their JSON. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/stitch.h"
#include "saescope/base/memory.h"

static const char *const class_names[] = {
    [LATENT_UNDECIDED] = "undecided", [LATENT_NOVEL] = "novel", [LATENT_RECONSTRUCTION] = "reconstruction"};
static const char *const bias_names[] = {
    [STITCH_BIAS_SMALL] = "small", [STITCH_BIAS_LARGE] = "large", [STITCH_BIAS_INTERPOLATED] = "interpolated"};
static const char *const order_names[] = {
    [STITCH_ORDER_HELPFUL] = "helpful", [STITCH_ORDER_RANDOM] = "random", [STITCH_ORDER_COSINE] = "cosine"};
static const char *const kind_names[] = {
    [STEP_START] = "start", [STEP_INSERT] = "insert", [STEP_SWAP] = "swap", [STEP_REMOVE] = "remove"};

const char *latent_class_name(enum latent_class c)
{
    return class_names[c];
}

const char *stitch_bias_name(enum stitch_bias b)
{
    return bias_names[b];
}

const char *stitch_order_name(enum stitch_order o)
{
    return order_names[o];
}

const char *step_kind_name(enum step_kind k)
{
    return kind_names[k];
}

static int find_name(const char *const *names, size_t n, const char *name, int *out)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (int)i;
            return 1;
        }
    return 0;
}

int stitch_bias_find(const char *name, enum stitch_bias *out, struct error *err)
{
    int i;
    if (!find_name(bias_names, ARRAY_LENGTH(bias_names), name, &i))
        return error_set(err, STATUS_USAGE, "the decoder bias is small, large or interpolated");
    *out = (enum stitch_bias)i;
    return STATUS_OK;
}

int stitch_order_find(const char *name, enum stitch_order *out, struct error *err)
{
    int i;
    if (!find_name(order_names, ARRAY_LENGTH(order_names), name, &i))
        return error_set(err, STATUS_USAGE, "the order is helpful, random or cosine");
    *out = (enum stitch_order)i;
    return STATUS_OK;
}

/* ---- The manifest. ---- */

static int read_manifest(struct stitch_facts *f, struct error *err)
{
    const json *m = f->manifest, *options = json_get(m, "options"), *references = json_get(m, "references"),
               *thresholds = json_get(m, "thresholds");
    const char *where = f->artifact.name;
    int status = json_need_size(m, "d_in", where, INT32_MAX, &f->d_in, err);
    if (!status)
        status = json_need_size(m, "n_small", where, INT32_MAX, &f->n_small, err);
    if (!status)
        status = json_need_size(m, "n_large", where, INT32_MAX, &f->n_large, err);
    if (!status)
        status = json_need_size(m, "n_steps", where, UINT32_MAX - 1, &f->n_steps, err);
    if (!status)
        status = stitch_bias_find(json_get_string(options, "decoder_bias", "small"), &f->bias, err);
    if (!status)
        status = stitch_order_find(json_get_string(options, "order", "helpful"), &f->order, err);
    if (status)
        return status;
    f->small = (artifact_id)json_get_integer(references, "small", 0);
    f->large = (artifact_id)json_get_integer(references, "large", 0);
    f->text = (artifact_id)json_get_integer(references, "text", 0);
    f->tokens = (uint64_t)json_get_integer(m, "tokens", 0);
    f->threshold = json_get_number(options, "threshold", 0.7);
    f->small_theta = json_get_number(thresholds, "small", NAN);
    f->large_theta = json_get_number(thresholds, "large", NAN);
    return STATUS_OK;
}

int stitch_facts_read(struct store_txn *t, artifact_id stitch, struct stitch_facts *out, struct error *err)
{
    memset(out, 0, sizeof(*out));
    int status = store_get(t, stitch, &out->artifact, err);
    if (status)
        return status;
    if (out->artifact.kind != ARTIFACT_STITCH)
        return error_set(err, STATUS_REFUSED, "%s is a %s, not a stitch", out->artifact.name,
                         artifact_kind_name(out->artifact.kind));
    out->manifest = store_manifest(t, stitch, err);
    if (!out->manifest)
        return err ? err->code : STATUS_STORE;
    status = read_manifest(out, err);
    if (!status)
        status = store_get(t, out->small, &out->small_artifact, err);
    if (!status)
        status = store_get(t, out->large, &out->large_artifact, err);
    if (status)
        stitch_facts_free(out);
    return status;
}

void stitch_facts_free(struct stitch_facts *f)
{
    json_free(f->manifest);
    f->manifest = NULL;
}

artifact_id stitch_between(struct store_txn *t, artifact_id small, artifact_id large)
{
    struct artifact *all;
    size_t n;
    artifact_id newest = 0;
    if (store_list(t, ARTIFACT_STITCH, &all, &n, NULL))
        return 0;
    for (size_t i = 0; i < n; i++) {
        json *m = all[i].id > newest ? store_manifest(t, all[i].id, NULL) : NULL;
        const json *references = json_get(m, "references");
        if (m && (artifact_id)json_get_integer(references, "small", 0) == small &&
            (artifact_id)json_get_integer(references, "large", 0) == large)
            newest = all[i].id;
        json_free(m);
    }
    free(all);
    return newest;
}

/* ---- Columns. ---- */

/* An owned array of n values of the named tensor. */
static void *column(struct store_txn *t, artifact_id id, const char *name, enum dtype dtype, size_t n, struct error *err)
{
    struct store_tensor x;
    if (store_tensor_open(t, id, name, &x, err))
        return NULL;
    if (x.dtype != dtype || x.ndim != 1 || x.shape[0] != n) {
        error_set(err, STATUS_STORE, "column %s does not fit the stitch's manifest: the store is damaged", name);
        return NULL;
    }
    void *values = array_alloc(n ? n : 1, x.row_bytes, name, err);
    if (values && store_tensor_read(t, &x, 0, n, values, err)) {
        free(values);
        values = NULL;
    }
    return values;
}

int stitch_latents_read(struct store_txn *t, const struct stitch_facts *f, struct stitch_latents *out, struct error *err)
{
    struct error own;
    if (!err)
        err = &own;
    artifact_id id = f->artifact.id;
    memset(out, 0, sizeof(*out));
    out->n = f->n_large;
    if ((out->fired = column(t, id, "fired", DTYPE_U32, out->n, err)) &&
        (out->nearest = column(t, id, "nearest", DTYPE_U32, out->n, err)) &&
        (out->max_cosine = column(t, id, "max_cosine", DTYPE_F32, out->n, err)) &&
        (out->delta = column(t, id, "delta", DTYPE_F64, out->n, err)) &&
        (out->classes = column(t, id, "class", DTYPE_U8, out->n, err)))
        return STATUS_OK;
    stitch_latents_free(out);
    return err->code;
}

void stitch_latents_free(struct stitch_latents *l)
{
    free(l->fired);
    free(l->nearest);
    free(l->max_cosine);
    free(l->delta);
    free(l->classes);
    memset(l, 0, sizeof(*l));
}

int stitch_path_read(struct store_txn *t, const struct stitch_facts *f, struct stitch_path *out, struct error *err)
{
    struct error own;
    if (!err)
        err = &own;
    artifact_id id = f->artifact.id;
    size_t n = f->n_steps + 1;
    memset(out, 0, sizeof(*out));
    out->n_steps = f->n_steps;
    out->n_small = f->n_small;
    out->n_large = f->n_large;
    if ((out->kinds = column(t, id, "step_kind", DTYPE_U8, n, err)) &&
        (out->l0 = column(t, id, "step_l0", DTYPE_F64, n, err)) &&
        (out->mse = column(t, id, "step_mse", DTYPE_F64, n, err)) &&
        (out->explained_variance = column(t, id, "step_ev", DTYPE_F64, n, err)) &&
        (out->cross_entropy = column(t, id, "step_ce", DTYPE_F64, n, err)) &&
        (out->large_step = column(t, id, "large_step", DTYPE_U32, f->n_large, err)) &&
        (out->small_step = column(t, id, "small_step", DTYPE_U32, f->n_small, err)))
        return STATUS_OK;
    stitch_path_free(out);
    return err->code;
}

void stitch_path_free(struct stitch_path *p)
{
    free(p->kinds);
    free(p->l0);
    free(p->mse);
    free(p->explained_variance);
    free(p->cross_entropy);
    free(p->large_step);
    free(p->small_step);
    memset(p, 0, sizeof(*p));
}

/* ---- JSON. ---- */

/* lists[step]: the latents of that step, ascending; of step 0 and of latents that are not on the path none. */
static json **latents_by_step(const uint32_t *steps, size_t n, size_t n_steps)
{
    json **lists = xcalloc(n_steps + 1, sizeof(*lists));
    for (size_t s = 0; s <= n_steps; s++)
        lists[s] = json_new_array();
    for (size_t i = 0; i < n; i++)
        if (steps[i] && steps[i] <= n_steps)
            json_append(lists[steps[i]], json_new_integer((long long)i));
    return lists;
}

static json *path_json(const struct stitch_path *p)
{
    json *path = json_new_array(), **added = latents_by_step(p->large_step, p->n_large, p->n_steps),
         **removed = latents_by_step(p->small_step, p->n_small, p->n_steps);
    for (size_t s = 0; s <= p->n_steps; s++) {
        json *step = json_new_object();
        json_set(step, "step", json_new_integer((long long)s));
        json_set(step, "kind", json_new_string(step_kind_name(p->kinds[s])));
        json_set(step, "added", added[s]);
        json_set(step, "removed", removed[s]);
        json_set(step, "l0", json_new_real(p->l0[s]));
        json_set(step, "mse", json_new_real(p->mse[s]));
        json_set(step, "explained_variance", json_new_real(p->explained_variance[s]));
        if (isfinite(p->cross_entropy[s]))
            json_set(step, "cross_entropy", json_new_real(p->cross_entropy[s]));
        json_append(path, step);
    }
    free(added);
    free(removed);
    return path;
}

json *stitch_result_json(const struct stitch_facts *f, const struct stitch_path *path)
{
    static const char *const members[] = {"tokens", "by_delta", "by_cosine",      "confusion",
                                          "auc",    "best_threshold", "novel_fraction", "ci",
                                          "controls"};
    json *o = json_new_object();
    json_set(o, "name", json_new_string(f->artifact.name));
    json_set(o, "small", json_new_string(f->small_artifact.name));
    json_set(o, "large", json_new_string(f->large_artifact.name));
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++) {
        json *value = json_get(f->manifest, members[i]);
        json_set(o, members[i], value ? json_retain(value) : json_new_null());
    }
    if (path)
        json_set(o, "path", path_json(path));
    return o;
}
