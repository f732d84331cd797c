/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Questions about single latents, against sums in float64 written out here. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent.h"
#include "saescope/analysis/nearest.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/files/safetensors.h"
#include "tests/support/support.h"

#define D 16

static artifact_id model, base_id, meta_id, newer_meta_id, topk_meta_id;

/* An SAE on the heap in three blocks. */
static struct sae *random_sae(const char *architecture, size_t n, size_t d, uint64_t seed)
{
    struct sae *x = new_sae(architecture, d, n);
    struct rng rng;
    rng_seed(&rng, seed, 0);
    for (size_t i = 0; i < n * d; i++) {
        x->owned_W_enc[i] = (float)rng_normal(&rng);
        x->owned_W_dec[i] = (float)rng_normal(&rng);
    }
    for (size_t i = 0; i < d; i++)
        x->b_dec[i] = 0.1F * (float)rng_normal(&rng);
    cut_into_blocks(x);
    return x;
}

static artifact_id save(const struct sae *x, const char *name, artifact_id base)
{
    json *m = sae_manifest(base ? NULL : "blocks.2.hook_resid_pre", model, base);
    json_set(m, "baseline", json_new_boolean(strcmp(name, "baseline") == 0));
    json_set(m, "context_size", json_new_integer(64));
    json_set(m, "prepend_bos", json_new_boolean(1));
    json_set(m, "center_activations", json_new_boolean(1));
    return save_sae(test_store, name, x, m);
}

static void save_all(void)
{
    struct sae *base = random_sae("standard", 500, D, 1);
    memset(base->owned_W_dec + 7 * D, 0, D * sizeof(float));
    base_id = save(base, "base", 0);
    struct sae *meta = random_sae("jumprelu", 40, D, 2);
    for (size_t i = 0; i < 40; i++)
        meta->threshold[i] = 0.3F + 0.01F * (float)i;
    meta->apply_b_dec_to_input = 1;
    meta_id = save(meta, "meta", base_id);
    newer_meta_id = save(meta, "a-newer-meta", base_id);
    save(meta, "baseline", base_id);
    struct sae *topk = random_sae("topk", 40, D, 3);
    topk->k = 4;
    topk_meta_id = save(topk, "topk-of-meta", meta_id);
    sae_free(base);
    sae_free(meta);
    sae_free(topk);
}

static int set_up(void **state)
{
    set_up_store(state);
    model = import_demo_model(test_store, "lm");
    save_all();
    return 0;
}

static struct sae *open_sae(struct store_txn *t, artifact_id id)
{
    struct error err = {0};
    struct sae *x;
    assert_ok(sae_open(t, id, &x, &err));
    return x;
}

/* ---- Addresses and facts. ---- */

static void refuse_address(struct store_txn *t, const char *text, const char *fallback, int status,
                           const char *says)
{
    struct error err = {0};
    struct address a;
    int got = address_parse(t, text, fallback, &a, &err);
    if (got != status || !strstr(err.message, says))
        fail_msg("%s: %d, \"%s\" does not say \"%s\"", text, got, err.message, says);
}

static void test_address(void **state)
{
    (void)state;
    struct error err = {0};
    struct store_txn *t = begin_reading(test_store);
    struct address a;
    assert_ok(address_parse(t, "base/499", NULL, &a, &err));
    assert_int_equal(a.latent, 499);
    assert_int_equal(a.d_sae, 500);
    assert_int_equal(a.sae.id, base_id);
    assert_ok(address_parse(t, "/007", "meta", &a, &err));
    assert_int_equal(a.latent, 7);
    assert_string_equal(a.sae.name, "meta");
    refuse_address(t, "base/500", NULL, STATUS_REFUSED, "latents 0 to 499");
    refuse_address(t, "base/99999999999999999999999", NULL, STATUS_REFUSED, "latents 0 to 499");
    refuse_address(t, "bsae/1", NULL, STATUS_REFUSED, "base");
    refuse_address(t, "lm/1", NULL, STATUS_REFUSED, "");
    refuse_address(t, "base", NULL, STATUS_USAGE, "SAE/NUMBER");
    refuse_address(t, "base/", NULL, STATUS_USAGE, "a number");
    refuse_address(t, "base/-1", NULL, STATUS_USAGE, "a number");
    refuse_address(t, "base/1x", NULL, STATUS_USAGE, "a number");
    refuse_address(t, "/1", NULL, STATUS_USAGE, "names no SAE");
    refuse_address(t, "", NULL, STATUS_USAGE, "SAE/NUMBER");
    refuse_address(t, "\033[2J/1x", NULL, STATUS_USAGE, "\\x1B[2J/1x");
    store_end(t);
}

static void test_facts(void **state)
{
    (void)state;
    struct error err = {0};
    struct store_txn *t = begin_reading(test_store);
    struct sae_facts f;
    assert_ok(sae_facts_read(t, base_id, &f, &err));
    assert_false(f.is_meta);
    assert_string_equal(f.architecture, "standard");
    assert_string_equal(f.hook, "blocks.2.hook_resid_pre");
    assert_int_equal(f.d_in, D);
    assert_int_equal(f.d_sae, 500);
    assert_int_equal(f.context_size, 64);
    assert_true(f.prepend_bos && f.center);
    assert_int_equal(f.model, model);
    assert_int_equal(f.base, 0);
    assert_int_equal(f.index, 0);
    sae_facts_free(&f);
    assert_ok(sae_facts_read(t, topk_meta_id, &f, &err));
    assert_true(f.is_meta);
    assert_null(f.hook);
    assert_int_equal(f.k, 4);
    assert_int_equal(f.base, meta_id);
    assert_int_equal(f.model, model); /* two SAEs down */
    sae_facts_free(&f);
    assert_int_equal(sae_facts_read(t, model, &f, &err), STATUS_REFUSED);
    assert_int_equal(meta_sae_of(t, base_id), newer_meta_id);
    assert_int_equal(meta_sae_of(t, meta_id), topk_meta_id);
    assert_int_equal(meta_sae_of(t, topk_meta_id), 0);
    store_end(t);
    /* One that is indexed has more to show than a newer one. */
    artifact_id index;
    json *m = new_manifest("sae", meta_id);
    json_set(m, "text_tokens", json_new_integer(499));
    assert_ok(store_create(test_store, ARTIFACT_INDEX, NULL, 0, &index, &err));
    assert_ok(store_publish(test_store, index, m, &err));
    t = begin_reading(test_store);
    assert_int_equal(meta_sae_of(t, base_id), meta_id);
    assert_ok(sae_facts_read(t, meta_id, &f, &err));
    assert_int_equal(f.index, index);
    assert_int_equal(f.indexed_tokens, 499);
    sae_facts_free(&f);
    store_end(t);
}

/* ---- Cosines. ---- */

static double cosine(const float *a, const float *b, size_t n)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

static void test_neighbors(void **state)
{
    (void)state;
    struct error err = {0};
    struct sae *x = random_sae("standard", 5000, D, 4); /* several slices a block */
    memset(x->owned_W_dec + 100 * D, 0, D * sizeof(float));
    memcpy(x->owned_W_dec + 4000 * D, x->owned_W_dec + 33 * D, D * sizeof(float));
    struct neighbor found[12];
    size_t n;
    const float *direction = sae_decoder_row(x, 4321);
    assert_ok(latent_neighbors(x, direction, 4321, 12, found, &n, &err));
    assert_int_equal(n, 12);
    for (size_t i = 0; i < n; i++) {
        double own = cosine(direction, x->owned_W_dec + found[i].latent * D, D);
        size_t nearer = 0;
        assert_true(fabs((double)found[i].cosine - own) < 1e-5);
        for (size_t j = 0; j < 5000; j++)
            nearer += j != 4321 && cosine(direction, x->owned_W_dec + j * D, D) > own + 1e-7;
        assert_int_equal(nearer, i);
    }
    /* Without exclusion the direction itself comes first; of equal rows the lower latent. */
    assert_ok(latent_neighbors(x, x->owned_W_dec + 33 * D, SIZE_MAX, 2, found, &n, &err));
    assert_int_equal(found[0].latent, 33);
    assert_int_equal(found[1].latent, 4000);
    assert_true(fabsf(found[1].cosine - 1) < 1e-5F);
    assert_ok(latent_neighbors(x, direction, SIZE_MAX, 0, found, &n, &err));
    assert_int_equal(n, 0);
    struct sae *few = random_sae("standard", 6, D, 5);
    assert_ok(latent_neighbors(few, direction, 2, 12, found, &n, &err));
    assert_int_equal(n, 5);
    sae_free(few);
    sae_free(x);
}

static void check_nearest(const struct sae *a, const struct sae *b, int decoder)
{
    struct error err = {0};
    uint32_t *nearest = xcalloc(a->d_sae, sizeof(*nearest));
    float *got = xcalloc(a->d_sae, sizeof(*got));
    assert_ok(nearest_rows(a, b, decoder, NULL, nearest, got, &err));
    const float *rows_a = decoder ? a->owned_W_dec : a->owned_W_enc,
                *rows_b = decoder ? b->owned_W_dec : b->owned_W_enc;
    for (size_t i = 0; i < a->d_sae; i++) {
        double best = -2;
        for (size_t j = 0; j < b->d_sae; j++) {
            double c = a == b && i == j ? -3 : cosine(rows_a + i * D, rows_b + j * D, D);
            best = c > best ? c : best;
        }
        assert_true(fabs((double)got[i] - best) < 1e-5);
        assert_true(fabs(cosine(rows_a + i * D, rows_b + nearest[i] * D, D) - best) < 1e-6);
        assert_true(a != b || nearest[i] != i);
    }
    free(nearest);
    free(got);
}

/* What nearest_rows_and_pairs finds. */
struct found {
    const struct sae *a, *b;
    double over;
    size_t n;
    uint8_t *seen;  /* [d_sae of a, d_sae of b] */
    size_t *last_b; /* [d_sae of a]: 1 + the last row of b */
};

static void note_pair(void *arg, size_t a, size_t b, float got)
{
    struct found *f = arg;
    double c = cosine(f->a->owned_W_dec + a * D, f->b->owned_W_dec + b * D, D);
    assert_true((double)got > f->over && fabs((double)got - c) < 1e-5);
    assert_true(b + 1 > f->last_b[a]);
    f->last_b[a] = b + 1;
    f->seen[a * f->b->d_sae + b]++;
    f->n++;
}

static void check_pairs(const struct sae *a, const struct sae *b, double over)
{
    struct error err = {0};
    size_t n = 0, n_near = 0;
    uint32_t *nearest = xcalloc(2 * a->d_sae, sizeof(*nearest));
    float *got = xcalloc(2 * a->d_sae, sizeof(*got));
    struct found f = {.a = a, .b = b, .over = over};
    f.seen = xcalloc(a->d_sae * b->d_sae, 1);
    f.last_b = xcalloc(a->d_sae, sizeof(*f.last_b));
    const struct near_pairs pairs = {over, note_pair, &f};
    assert_ok(nearest_rows_and_pairs(a, b, 1, NULL, nearest, got, &pairs, &err));
    assert_ok(nearest_rows(a, b, 1, NULL, nearest + a->d_sae, got + a->d_sae, &err));
    assert_memory_equal(nearest, nearest + a->d_sae, a->d_sae * sizeof(*nearest));
    assert_memory_equal(got, got + a->d_sae, a->d_sae * sizeof(*got));
    for (size_t i = 0; i < a->d_sae; i++) {
        assert_int_equal(f.last_b[i] > 0, (double)got[i] > over);
        for (size_t j = 0; j < b->d_sae; j++) {
            double c = cosine(a->owned_W_dec + i * D, b->owned_W_dec + j * D, D);
            assert_true(f.seen[i * b->d_sae + j] <= (a != b || i != j));
            if (a == b && i == j)
                continue;
            n += c > over + 1e-5;
            n_near += c > over - 1e-5;
            assert_true(f.seen[i * b->d_sae + j] || c < over + 1e-5);
        }
    }
    assert_in_range(f.n, n, n_near);
    free(nearest);
    free(got);
    free(f.seen);
    free(f.last_b);
}

static void test_pairs(void **state)
{
    (void)state;
    struct sae *a = random_sae("standard", 700, D, 6), *b = random_sae("standard", 9300, D, 7);
    check_pairs(a, b, 0.5);
    check_pairs(a, b, -2);
    check_pairs(a, a, 0.2);
    sae_free(a);
    sae_free(b);
}

static void test_nearest(void **state)
{
    (void)state;
    struct error err = {0};
    struct sae *a = random_sae("standard", 700, D, 6), *b = random_sae("standard", 2300, D, 7);
    struct sae *other = random_sae("standard", 5, D + 1, 8);
    memset(a->owned_W_dec, 0, D * sizeof(float));
    check_nearest(a, b, 1);
    check_nearest(b, a, 1);
    check_nearest(a, a, 1);
    check_nearest(a, a, 0);
    uint32_t nearest[700];
    float values[700];
    assert_int_equal(nearest_latents(a, other, NULL, nearest, values, &err), STATUS_REFUSED);
    assert_ok(nearest_latents(a, b, NULL, nearest, values, &err));
    assert_int_equal(nearest[0], 0); /* a row of zeros: all cosines are 0 */
    sae_free(a);
    sae_free(b);
    sae_free(other);
}

/* ---- Decomposition. ---- */

struct dense {
    double unit[D], f[40], rebuilt[D];
    int is_zero;
};

/* The meta-SAE on one row of the base, in float64. */
static void rebuild(const struct sae *base, const struct sae *meta, size_t latent, struct dense *out)
{
    const float *row = sae_decoder_row(base, latent);
    double norm = 0;
    for (size_t i = 0; i < D; i++)
        norm += (double)row[i] * (double)row[i];
    out->is_zero = norm == 0;
    for (size_t i = 0; i < D; i++) {
        out->unit[i] = norm > 0 ? (double)row[i] / sqrt(norm) : 0;
        out->rebuilt[i] = (double)meta->b_dec[i];
    }
    double p[40];
    for (size_t j = 0; j < 40; j++) {
        p[j] = meta->b_enc ? (double)meta->b_enc[j] : 0;
        for (size_t i = 0; i < D; i++)
            p[j] += (out->unit[i] - (meta->apply_b_dec_to_input ? (double)meta->b_dec[i] : 0)) *
                    (double)sae_encoder_row(meta, j)[i];
    }
    for (size_t j = 0; j < 40; j++) {
        size_t larger = 0;
        for (size_t k = 0; k < 40; k++)
            larger += p[k] > p[j];
        int fires = p[j] > 0 && (meta->threshold ? p[j] > (double)meta->threshold[j] : larger < meta->k);
        out->f[j] = fires ? p[j] : 0;
        for (size_t i = 0; i < D; i++)
            out->rebuilt[i] += out->f[j] * (double)sae_decoder_row(meta, j)[i];
    }
}

static void check_decompositions(artifact_id base, artifact_id meta, size_t n_base)
{
    struct error err = {0};
    struct store_txn *t = begin_reading(test_store);
    struct sae *b = open_sae(t, base), *m = open_sae(t, meta);
    struct dense x;
    double mean[D] = {0};
    size_t n = 0;
    for (size_t r = 0; r < n_base; r++) {
        rebuild(b, m, r, &x);
        n += !x.is_zero;
        for (size_t i = 0; i < D; i++)
            mean[i] += x.unit[i];
    }
    for (size_t r = 0; r < n_base; r += 3) {
        struct decomposition d;
        double error = 0, total = 0;
        size_t fires = 0;
        rebuild(b, m, r, &x);
        assert_ok(decompose_latent(t, b, m, r, &d, &err));
        for (size_t i = 0; i < D; i++) {
            error += pow(x.unit[i] - x.rebuilt[i], 2);
            total += pow(x.unit[i] - mean[i] / (double)n, 2);
        }
        for (size_t j = 0; j < 40; j++)
            fires += x.f[j] > 0;
        assert_int_equal(d.n, fires);
        assert_true(fabs(d.explained_variance - (1 - error / total)) < 1e-4 * (1 + error / total));
        assert_true(fabs(d.residual_norm - sqrt(error)) < 1e-4 * (1 + sqrt(error)));
        for (size_t i = 0; i < d.n; i++) {
            const struct component *c = &d.components[i];
            assert_true(i == 0 || c->activation <= d.components[i - 1].activation);
            assert_true(fabs((double)c->activation - x.f[c->latent]) < 1e-4);
            assert_true(fabs((double)c->cosine -
                             cosine(sae_decoder_row(b, r), sae_decoder_row(m, c->latent), D)) < 1e-5);
        }
        decomposition_free(&d);
    }
    sae_free(b);
    sae_free(m);
    store_end(t);
}

static void test_decompose(void **state)
{
    (void)state;
    struct error err = {0};
    check_decompositions(base_id, meta_id, 500);
    check_decompositions(meta_id, topk_meta_id, 40);
    check_decompositions(base_id, newer_meta_id, 500); /* the mean row is known by now */
    struct store_txn *t = begin_reading(test_store);
    struct sae *b = open_sae(t, base_id), *m = open_sae(t, meta_id),
               *wide = random_sae("jumprelu", 3, D + 1, 9);
    struct decomposition d;
    assert_ok(decompose_latent(t, b, m, 7, &d, &err)); /* a row of zeros */
    assert_int_equal(d.n, 0);
    assert_true(isnan(d.explained_variance));
    decomposition_free(&d);
    assert_int_equal(decompose_latent(t, b, wide, 0, &d, &err), STATUS_REFUSED);
    sae_free(b);
    sae_free(m);
    sae_free(wide);
    store_end(t);
}

static void check_members(artifact_id base, artifact_id meta, size_t n_base)
{
    struct error err = {0};
    struct store_txn *t = begin_reading(test_store);
    struct sae *b = open_sae(t, base), *m = open_sae(t, meta);
    struct dense x;
    struct member_list lists[4];
    assert_ok(meta_members_of_each(t, b, m, (const size_t[]){26, 0, 39, 13}, 4, NULL, lists, &err));
    for (size_t j = 0; j < 40; j += 13) {
        const struct member_list *same = &lists[(const size_t[]){1, 3, 0, 2}[j / 13]];
        struct member *members;
        size_t n, wanted = 0;
        assert_ok(meta_members(t, b, m, j, &members, &n, &err));
        assert_int_equal(same->n, n);
        for (size_t r = 0; r < n_base; r++) {
            rebuild(b, m, r, &x);
            wanted += !x.is_zero && x.f[j] > 0;
        }
        assert_int_equal(n, wanted);
        assert_true(n > 0);
        for (size_t i = 0; i < n; i++) {
            rebuild(b, m, members[i].latent, &x);
            assert_true(fabs((double)members[i].activation - x.f[j]) < 1e-4);
            assert_true(i == 0 || members[i].activation <= members[i - 1].activation);
            assert_true(fabsf(members[i].activation - same->members[i].activation) < 1e-5f);
        }
        free(members);
    }
    member_lists_free(lists, 4);
    sae_free(b);
    sae_free(m);
    store_end(t);
}

static void test_members(void **state)
{
    (void)state;
    check_members(base_id, meta_id, 500);
    check_members(meta_id, topk_meta_id, 40);
}

/* ---- Logits, from the model's own file. ---- */

static float *read_weights(const struct safetensors *file, const char *name, size_t *rows)
{
    struct error err = {0};
    const struct tensor *x;
    assert_ok(safetensors_need(file, name, &x, &err));
    float *values = xreallocarray(NULL, tensor_elements(x), sizeof(float));
    floats_from(x->dtype, x->data, values, tensor_elements(x));
    *rows = x->shape[0];
    return values;
}

/* Direction @ W_U; folded: ln_f's weight in W_U, centred over d_model and then over the vocabulary. */
static double *naive_logits(const float *direction, size_t *vocabulary, int folded)
{
    struct error err = {0};
    struct safetensors file;
    size_t v, d;
    char *path = shipped_file("wordnet-lm/model.safetensors");
    assert_ok(safetensors_open(&file, path, &err));
    float *wte = read_weights(&file, "wte.weight", &v), *gain = read_weights(&file, "ln_f.weight", &d);
    double *logits = xcalloc(v, sizeof(double)), mean = 0;
    for (size_t id = 0; id < v; id++) {
        double center = 0;
        for (size_t i = 0; folded && i < d; i++)
            center += (double)wte[id * d + i] * (double)gain[i] / (double)d;
        for (size_t i = 0; i < d; i++)
            logits[id] +=
                (double)direction[i] * ((double)wte[id * d + i] * (folded ? (double)gain[i] : 1) - center);
        mean += logits[id] / (double)v;
    }
    for (size_t id = 0; folded && id < v; id++)
        logits[id] -= mean;
    free(wte);
    free(gain);
    free(path);
    safetensors_close(&file);
    *vocabulary = v;
    return logits;
}

static void check_logits(const struct model *m, const struct sae *x, int folded)
{
    struct error err = {0};
    struct hook hook;
    struct latent_logits found;
    size_t v;
    assert_ok(hook_parse(model_get_config(m), "blocks.2.hook_resid_pre", &hook, &err));
    double *logits = naive_logits(sae_decoder_row(x, 3), &v, folded);
    assert_ok(latent_logits(m, x, &hook, 3, 10, folded, &found, &err));
    assert_int_equal(found.n_positive, 10);
    assert_int_equal(found.n_negative, 10);
    for (size_t i = 0; i < 10; i++) {
        size_t above = 0, below = 0;
        double high = logits[found.positive[i].id], low = logits[found.negative[i].id];
        assert_true(fabs((double)found.positive[i].value - high) < 1e-3);
        assert_true(fabs((double)found.negative[i].value - low) < 1e-3);
        for (size_t id = 0; id < v; id++) {
            above += logits[id] > high + 1e-5;
            below += logits[id] < low - 1e-5;
        }
        assert_int_equal(above, i);
        assert_int_equal(below, i);
    }
    free(logits);
}

static void test_logits(void **state)
{
    (void)state;
    struct error err = {0};
    struct store_txn *t = begin_reading(test_store);
    struct model *m;
    struct latent_logits found;
    assert_ok(model_open(t, model, &m, &err));
    assert_ok(model_attach(m, t, &err));
    struct sae *x = random_sae("standard", 9, 256, 10), *narrow = random_sae("standard", 9, D, 11);
    check_logits(m, x, 0);
    check_logits(m, x, 1);
    assert_ok(latent_logits(NULL, x, NULL, 3, 10, 0, &found, &err));
    assert_int_equal(found.n_positive, 0);
    assert_int_equal(latent_logits(m, narrow, NULL, 3, 10, 0, &found, &err), STATUS_REFUSED);
    sae_free(x);
    sae_free(narrow);
    model_free(m);
    store_end(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address), cmocka_unit_test(test_facts),  cmocka_unit_test(test_neighbors),
        cmocka_unit_test(test_nearest), cmocka_unit_test(test_pairs),  cmocka_unit_test(test_decompose),
        cmocka_unit_test(test_members), cmocka_unit_test(test_logits),
    };
    return cmocka_run_group_tests_name("latent", tests, set_up, tear_down_store);
}
