/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Planted families, and the definitions by brute force. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "family_fixture.h"
#include "saescope/analysis/stitch_parents.h"
#include "saescope/base/blas.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"

struct store *store;
artifact_id a_id, b_id, c_id, meta_id, stitch_id;
struct sae *sae_a, *sae_b, *sae_c;
float acts_a[TOKENS][N_A], acts_b[TOKENS][N_B];
struct token_spool *spool;
static artifact_id model;

/* ---- What is planted. ---- */

static void scale_row(float *row)
{
    double norm = 0;
    for (size_t i = 0; i < D; i++)
        norm += (double)row[i] * (double)row[i];
    for (size_t i = 0; i < D; i++)
        row[i] = (float)((double)row[i] / sqrt(norm));
}

static void random_row(struct rng *rng, float *row)
{
    for (size_t i = 0; i < D; i++)
        row[i] = (float)rng_normal(rng);
    scale_row(row);
}

/* A parent's row, and noise of that length. */
static void split_row(struct rng *rng, const float *parent, double noise, float *row)
{
    random_row(rng, row);
    for (size_t i = 0; i < D; i++)
        row[i] = parent[i] + (float)noise * row[i];
    scale_row(row);
}

float *row_of(const struct sae *s, size_t i)
{
    return s->owned_W_dec + i * D;
}

/*
 * Latent i of the small SAE is a unit vector. Of the middle one, latents i and N_A + i are splits of it for i
 * < 16, near and far (so that some are over the threshold and some below); 2·N_A + i is the sum of two, the
 * child of both, for i < 8; the next eight point elsewhere but fire with latent i − 8. Of the large one,
 * every latent of the middle one has two splits.
 */
static void plant_decoders(void)
{
    struct rng rng;
    rng_seed(&rng, 11, 0);
    for (size_t i = 0; i < N_A; i++)
        row_of(sae_a, i)[i] = 1;
    for (size_t i = 0; i < N_B; i++)
        random_row(&rng, row_of(sae_b, i));
    for (size_t i = 0; i < 16; i++) {
        split_row(&rng, row_of(sae_a, i), 0.4, row_of(sae_b, i));
        split_row(&rng, row_of(sae_a, i), 0.95, row_of(sae_b, N_A + i));
    }
    for (size_t i = 0; i < 8; i++) {
        float *row = row_of(sae_b, 2 * N_A + i);
        for (size_t k = 0; k < D; k++)
            row[k] = row_of(sae_a, i)[k] + row_of(sae_a, i + 1)[k];
    }
    for (size_t i = 0; i < N_C; i++)
        if (i < 2 * N_B)
            split_row(&rng, row_of(sae_b, i % N_B), i < N_B ? 0.5 : 0.9, row_of(sae_c, i));
        else
            random_row(&rng, row_of(sae_c, i));
}

/* Latent 20 of the small SAE never fires; 5 of the middle one fires rarely, 61 always. */
static void plant_activations(void)
{
    struct rng rng;
    rng_seed(&rng, 12, 0);
    for (size_t t = 0; t < TOKENS; t++) {
        for (size_t i = 0; i < N_A; i++)
            acts_a[t][i] = i != 20 && rng_below(&rng, 12) == 0 ? 0.5F + 4 * (float)rng_uniform(&rng) : 0;
        for (size_t i = 0; i < N_B; i++) {
            float parent = i < 16                                 ? acts_a[t][i]
                           : i >= 2 * N_A + 8 && i < 2 * N_A + 16 ? acts_a[t][i - 2 * N_A - 8]
                                                                  : 0;
            if (parent > 0 && rng_below(&rng, 3) == 0)
                acts_b[t][i] = parent * (0.6F + 0.3F * (float)rng_uniform(&rng));
            else if (rng_below(&rng, i < 16 || i >= 2 * N_A + 8 ? 400 : 60) == 0)
                acts_b[t][i] = 1 + (float)rng_uniform(&rng);
        }
        acts_b[t][5] = t < 100 ? acts_b[t][5] : 0;
        acts_b[t][61] = 1 + (float)rng_uniform(&rng);
    }
}

static void pack(const float *acts, size_t n, size_t width, struct sparse_rows *rows)
{
    struct error err = {0};
    size_t at = 0;
    assert_ok(sparse_rows_reserve(rows, n, n * width, &err));
    rows->n_rows = n;
    rows->offsets[0] = 0;
    for (size_t t = 0; t < n; t++) {
        for (size_t i = 0; i < width; i++)
            if (acts[t * width + i] > 0) {
                rows->latents[at] = (uint32_t)i;
                rows->values[at++] = acts[t * width + i];
            }
        rows->offsets[t + 1] = at;
    }
}

static void fill_spool(void)
{
    struct error err = {0};
    struct sparse_rows small = {0}, large = {0};
    static float residuals[TOKENS * D];
    static uint32_t contexts[TOKENS];
    assert_ok(token_spool_open(test_directory, D, 0, &spool, &err));
    for (size_t first = 0, n; first < TOKENS; first += n) {
        n = TOKENS - first < 400 ? TOKENS - first : 400;
        pack(acts_a[first], n, N_A, &small);
        pack(acts_b[first], n, N_B, &large);
        assert_ok(token_spool_add(spool, n, residuals, NULL, contexts, &small, &large, &err));
    }
    assert_ok(token_spool_map(spool, &err));
    sparse_rows_free(&small);
    sparse_rows_free(&large);
}

/* ---- The store. ---- */

static artifact_id save(const char *name, const struct sae *x, const char *hook, size_t context_size,
                        const char *source)
{
    json *m = sae_manifest(hook, model, 0);
    json_set(m, "context_size", json_new_integer((long long)context_size));
    json_set(m, "source", parse_json(source));
    return save_sae(store, name, x, m);
}

static struct sae *wide(size_t n)
{
    struct sae *x = new_sae("standard", D, n);
    struct rng rng;
    rng_seed(&rng, n, 1);
    for (size_t i = 0; i < n; i++)
        random_row(&rng, row_of(x, i));
    return x;
}

artifact_id make_stitch(const char *name, size_t group_firings)
{
    struct error err = {0};
    struct store_txn *t = begin_reading(store);
    struct sae *small, *large;
    artifact_id id;
    json *references = new_references("small", a_id);
    json_set(references, "large", json_new_integer((long long)b_id));
    assert_ok(sae_open(t, a_id, &small, &err));
    assert_ok(sae_open(t, b_id, &large, &err));
    store_end(t);
    assert_ok(store_create(store, ARTIFACT_STITCH, name, 0, &id, &err));
    assert_ok(stitch_parents_in_groups(store, id, small, large, spool, group_firings, NULL, &err));
    json *m = json_new_object();
    json_set(m, "references", references);
    assert_ok(store_publish(store, id, m, &err));
    sae_free(small);
    sae_free(large);
    return id;
}

/* An SAE of the same width before the one that has a stitch, and one after the one that has none. */
static void save_all(void)
{
    struct sae *same_b = wide(N_B), *same_c = wide(N_C), *other = wide(100), *meta = wide(16);
    save("b-older", same_b, HOOK, 64, "\"x\"");
    a_id = save("a", sae_a, HOOK, 64, "\"x\"");
    b_id = save("b", sae_b, HOOK, 64, "\"x\"");
    c_id = save("c", sae_c, HOOK, 64, "{\"path\":\"/x\"}");
    save("c-newer", same_c, HOOK, 64, "\"x\"");
    save("other-hook", other, "blocks.1.hook_resid_pre", 64, "\"x\"");
    save("other-size", other, HOOK, 32, "\"x\"");
    save("stitched", other, HOOK, 64, "{\"stitch\":\"s\",\"step\":3}");
    save("rebuilt", other, HOOK, 64, "{\"rebuilt_from\":\"a\"}");
    memcpy(meta->owned_W_enc, meta->owned_W_dec, 16 * D * sizeof(float));
    meta_id = save_sae(store, "meta", meta, sae_manifest(NULL, 0, b_id));
    sae_free(same_b);
    sae_free(same_c);
    sae_free(other);
    sae_free(meta);
}

int set_up_family(void **state)
{
    set_up_directory(state);
    blas_start();
    parallel_start(3);
    store = open_store("store");
    model = make_artifact(store, ARTIFACT_MODEL, "lm", NULL, 0);
    sae_a = new_sae("standard", D, N_A);
    sae_b = new_sae("standard", D, N_B);
    sae_c = new_sae("standard", D, N_C);
    plant_decoders();
    plant_activations();
    fill_spool();
    save_all();
    stitch_id = make_stitch("st", (size_t)1 << 23);
    return 0;
}

int tear_down_family(void **state)
{
    token_spool_close(spool);
    sae_free(sae_a);
    sae_free(sae_b);
    sae_free(sae_c);
    store_close(store);
    parallel_stop();
    return tear_down_directory(state);
}

/* ---- The same by brute force. ---- */

double cosine_of(const float *x, const float *y)
{
    double dot = 0, xx = 0, yy = 0;
    for (size_t i = 0; i < D; i++) {
        dot += (double)x[i] * (double)y[i];
        xx += (double)x[i] * (double)x[i];
        yy += (double)y[i] * (double)y[i];
    }
    return dot / sqrt(xx * yy);
}

double similarity_of(size_t child, size_t parent)
{
    double dot = 0, of_child = 0, of_parent = 0;
    int fired = 0;
    for (size_t t = 0; t < TOKENS; t++) {
        double x = (double)acts_b[t][child], y = (double)acts_a[t][parent];
        if (x == 0)
            continue;
        fired++;
        dot += x * y;
        of_child += x * x;
        of_parent += y * y;
    }
    if (fired < 20)
        return NAN;
    return dot > 0 ? dot / sqrt(of_child * of_parent) : 0;
}
