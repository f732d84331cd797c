/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Stitched SAEs against the path that they are steps of: each encodes, decodes and is evaluated on its own.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/evaluate.h"
#include "saescope/analysis/latent.h"
#include "saescope/analysis/stitch_parts.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "index_fixture.h"

static struct error err;

enum { D = 256, SMALL = 50, LARGE = 110, TOKENS = 400 };

/* ---- SAEs. ---- */

struct choices {
    const char *architecture;
    int apply_b_dec, has_b_enc;
    enum sae_normalization normalization;
};

/* The same seed gives the same first rows, which become partners; W_enc is W_dec's transpose. */
static artifact_id made_up(struct fixture *f, const char *name, size_t d_sae, const struct choices *c)
{
    struct sae *sae = new_sae(c->architecture, D, d_sae);
    json *m = sae_manifest(FIXTURE_HOOK, f->model, 0);
    struct rng r, own;

    rng_seed(&r, 1, 0);
    rng_seed(&own, d_sae, 1);
    for (size_t i = 0; i < d_sae * D; i++)
        sae->owned_W_dec[i] = (float)(rng_normal(i / D < SMALL / 2 ? &r : &own) / sqrt(D));
    memcpy(sae->owned_W_enc, sae->owned_W_dec, d_sae * D * sizeof(float));
    for (size_t k = 0; k < D; k++)
        sae->b_dec[k] = (float)(0.1 * rng_normal(&own));
    sae->b_enc = c->has_b_enc ? array_zeroed(d_sae, sizeof(float), "b_enc", &err) : NULL;
    for (size_t i = 0; i < d_sae; i++) {
        double u = rng_uniform(&own);

        if (sae->b_enc)
            sae->b_enc[i] = (float)(u - 0.5);
        if (sae->r_mag) {
            sae->r_mag[i] = (float)(0.6 * u - 0.3);
            sae->b_mag[i] = (float)(0.2 - 0.5 * u);
        }
        if (sae->threshold)
            sae->threshold[i] = strcmp(c->architecture, "jumprelu") ? 0.9F : (float)(0.8 + u);
    }
    sae->k = sae->architecture->per_token_k ? 8 : 0;
    sae->apply_b_dec_to_input = c->apply_b_dec;
    sae->normalization = c->normalization;
    json_set(m, "context_size", json_new_integer(FIXTURE_LENGTH));
    json_set(m, "prepend_bos", json_new_boolean(1));
    json_set(m, "center_activations", json_new_boolean(0));
    artifact_id id = save_sae(f->store, name, sae, m);
    sae_free(sae);
    return id;
}

/* ---- Stitches. ---- */

struct stitch {
    artifact_id id;
    struct stitch_facts facts;
    struct stitch_path path;
};

static struct stitch make_stitch(struct fixture *f, const struct stitch_options *o)
{
    struct stitch s;
    struct store_txn *t;

    assert_ok(store_create(f->store, ARTIFACT_STITCH, "stitch", 1, &s.id, &err));
    assert_ok(stitch_run(f->store, s.id, o, NULL, &err));
    t = begin_reading(f->store);
    assert_ok(stitch_facts_read(t, s.id, &s.facts, &err));
    assert_ok(stitch_path_read(t, &s.facts, &s.path, &err));
    store_end(t);
    return s;
}

static void free_stitch(struct stitch *s)
{
    stitch_path_free(&s->path);
    stitch_facts_free(&s->facts);
}

static artifact_id save_step(struct fixture *f, const struct stitch *s, size_t step, const char *name)
{
    artifact_id id;

    assert_ok(store_create(f->store, ARTIFACT_SAE, name, 1, &id, &err));
    assert_ok(stitch_save_sae(f->store, s->id, step, id, NULL, &err));
    return id;
}

/*
 * The path's numbers at a step against an evaluation of the SAE. The θ of a TopK SAE is one of the
 * activations in so short a text, and rounding decides whether it is over itself: one activation may be there
 * or not.
 */
static void check_evaluation(struct fixture *f, const struct stitch *s, size_t step, artifact_id sae,
                             struct sae *instead)
{
    const struct evaluate_options o = {
        .sae = sae, .instead = instead, .text = f->text, .tokens = TOKENS, .no_model = 1};
    int topk = isfinite(s->facts.small_theta) || isfinite(s->facts.large_theta);
    double within = topk ? 2e-4 : 2e-5;
    struct evaluation e;

    assert_ok(evaluate_run(f->store, &o, NULL, &e, &err));
    assert_int_equal(e.tokens, s->facts.tokens);
    if (!(fabs(s->path.l0[step] - e.l0) * (double)e.tokens <= (topk ? 1.5 : 0.5)) ||
        !(fabs(s->path.mse[step] / e.mse - 1) <= within) ||
        !(fabs(s->path.explained_variance[step] - e.explained_variance) <= within))
        fail_msg("step %zu: l0 %.9g for %.9g, mse %.9g for %.9g, explained variance %.9g for %.9g", step,
                 s->path.l0[step], e.l0, s->path.mse[step], e.mse, s->path.explained_variance[step],
                 e.explained_variance);
}

/* Each latent's rows are its own SAE's, and those are there that should be. */
static void check_latents(struct store_txn *t, const struct stitch *s, size_t step, const struct sae *sae,
                          const uint32_t *latents)
{
    struct sae *small, *large;
    size_t n = 0;

    assert_ok(sae_open(t, s->facts.small, &small, &err));
    assert_ok(sae_open(t, s->facts.large, &large, &err));
    for (size_t j = 0; j < small->d_sae; j++)
        if (s->path.small_step[j] > step)
            assert_int_equal(latents[n++], j);
    for (size_t i = 0; i < large->d_sae; i++)
        if (s->path.large_step[i] <= step)
            assert_int_equal(latents[n++], i | UINT32_C(1) << 31);
    assert_int_equal(n, sae->d_sae);
    for (size_t i = 0; i < n; i++) {
        const struct sae *from = latents[i] >> 31 ? large : small;
        size_t latent = latents[i] & INT32_MAX;

        assert_memory_equal(sae_decoder_row(sae, i), sae_decoder_row(from, latent), D * sizeof(float));
        /* A gated latent's magnitude is exp(r_mag) times the product. */
        float gain = from->r_mag ? expf(from->r_mag[latent]) : 1;
        for (size_t k = 0; k < D; k++)
            assert_true(sae_encoder_row(sae, i)[k] == gain * sae_encoder_row(from, latent)[k]);
    }
    sae_free(small);
    sae_free(large);
}

static void check_step(struct fixture *f, const struct stitch *s, size_t step)
{
    struct store_txn *t = begin_reading(f->store);
    struct sae *sae;
    uint32_t *latents;

    assert_ok(stitch_sae_at(t, &s->facts, &s->path, step, &sae, &latents, &err));
    assert_string_equal(sae->architecture->name, "jumprelu");
    assert_int_equal(sae->apply_b_dec_to_input, 0);
    check_latents(t, s, step, sae, latents);
    store_end(t);
    check_evaluation(f, s, step, s->facts.small, sae);
    sae_free(sae);
    free(latents);
}

/* The first step of each kind, one further on, and both ends. */
static void check_steps(struct fixture *f, const struct stitch *s)
{
    size_t seen[STEP_REMOVE + 1] = {0};

    for (size_t step = 0; step <= s->path.n_steps; step++)
        if (seen[s->path.kinds[step]]++ % 20 == 0 || step == s->path.n_steps)
            check_step(f, s, step);
    for (enum step_kind k = STEP_START; k <= STEP_REMOVE; k++)
        assert_true(seen[k] > 0);
}

static void test_architectures(void **state)
{
    static const struct choices pairs[][2] = {
        {{"standard", 1, 1, NORMALIZE_NONE}, {"standard", 0, 0, NORMALIZE_NONE}},
        {{"gated", 1, 1, NORMALIZE_NONE}, {"gated", 0, 0, NORMALIZE_NONE}},
        {{"batchtopk", 0, 1, NORMALIZE_NONE}, {"jumprelu", 1, 1, NORMALIZE_NONE}},
        {{"jumprelu", 1, 0, NORMALIZE_NONE}, {"standard", 1, 1, NORMALIZE_NONE}},
        {{"topk", 1, 0, NORMALIZE_NONE}, {"batchtopk", 1, 0, NORMALIZE_NONE}},
        {{"jumprelu", 0, 1, NORMALIZE_LAYER_NORM}, {"batchtopk", 1, 1, NORMALIZE_LAYER_NORM}},
        {{"jumprelu", 1, 1, NORMALIZE_CONSTANT_NORM_RESCALE},
         {"jumprelu", 0, 0, NORMALIZE_CONSTANT_NORM_RESCALE}},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LENGTH(pairs); i++) {
        artifact_id small = made_up(f, "small", SMALL, &pairs[i][0]),
                    large = made_up(f, "large", LARGE, &pairs[i][1]);
        struct stitch_options o = {.small = small,
                                   .large = large,
                                   .text = f->text,
                                   .tokens = TOKENS,
                                   .threshold = 0.7,
                                   .bias = (enum stitch_bias)(i % 3),
                                   .order = (enum stitch_order)(i / 2 % 3)};
        struct stitch s = make_stitch(f, &o);

        check_steps(f, &s);
        free_stitch(&s);
        remove_artifact(f->store, small);
        remove_artifact(f->store, large);
    }
}

/* ---- The demo's. ---- */

static struct stitch_options demo_options(struct fixture *f)
{
    return (struct stitch_options){.small = import_demo_sae(f->store, f->model, "wn-256"),
                                   .large = import_demo_sae(f->store, f->model, "wn-1024"),
                                   .text = f->text,
                                   .tokens = TOKENS,
                                   .threshold = 0.7};
}

static void test_every_tenth_step(void **state)
{
    struct fixture *f = *state;
    struct stitch_options o = demo_options(f);
    o.bias = STITCH_BIAS_INTERPOLATED;
    struct stitch s = make_stitch(f, &o);

    assert_true(s.path.n_steps > 1000);
    for (size_t step = 0; step <= s.path.n_steps; step += 10)
        check_evaluation(f, &s, step, save_step(f, &s, step, "step"), NULL);
    /* The ends are the SAEs themselves. */
    check_evaluation(f, &s, 0, o.small, NULL);
    check_evaluation(f, &s, s.path.n_steps, o.large, NULL);
    free_stitch(&s);
}

static double cross_entropy_of(struct fixture *f, artifact_id sae, uint64_t tokens)
{
    const struct evaluate_options o = {.sae = sae, .text = f->text, .tokens = tokens};
    struct evaluation e;

    assert_ok(evaluate_run(f->store, &o, NULL, &e, &err));
    return e.ce_sae;
}

static void test_cross_entropies(void **state)
{
    struct fixture *f = *state;
    struct stitch_options o = demo_options(f);
    o.bias = STITCH_BIAS_INTERPOLATED;
    o.ce_steps = 3;
    o.ce_tokens = 700;
    struct stitch s = make_stitch(f, &o);
    const size_t last = s.path.n_steps, steps[] = {0, last / 2, last};
    size_t measured = 0;

    for (size_t step = 0; step <= last; step++)
        measured += isfinite(s.path.cross_entropy[step]);
    assert_int_equal(measured, 3);
    for (size_t i = 0; i < 3; i++)
        assert_float_equal(s.path.cross_entropy[steps[i]],
                           cross_entropy_of(f, save_step(f, &s, steps[i], "step"), 700), 1e-8);
    assert_float_equal(s.path.cross_entropy[0], cross_entropy_of(f, o.small, 700), 1e-4);
    assert_float_equal(s.path.cross_entropy[last], cross_entropy_of(f, o.large, 700), 1e-4);
    free_stitch(&s);
}

/* An SAE with latents of three: a stitched one takes part in a stitch as any other. */
static void test_frankenstein(void **state)
{
    struct fixture *f = *state;
    struct stitch_options o = demo_options(f);
    struct stitch first = make_stitch(f, &o), second;
    artifact_id between = save_step(f, &first, 40, "between");
    json *m = read_manifest(f->store, between);
    const json *source = json_get(m, "source");

    assert_string_equal(json_get_string(source, "stitch", ""), "stitch");
    assert_string_equal(json_get_string(source, "small", ""), "wn-256");
    assert_string_equal(json_get_string(source, "large", ""), "wn-1024");
    assert_int_equal(json_get_integer(source, "step", -1), 40);
    assert_string_equal(json_get_string(m, "hook", ""), FIXTURE_HOOK);
    assert_int_equal(json_get_integer(m, "context_size", 0), 128);
    assert_int_equal(json_get_integer(json_get(m, "references"), "model", 0), f->model);
    assert_int_equal(json_length(json_get(m, "references")), 1);
    json_free(m);
    free_stitch(&first);
    /* The stitch may go; the SAE stays. */
    remove_artifact(f->store, first.id);
    o.small = between;
    o.large = import_demo_sae(f->store, f->model, "wn-4096");
    second = make_stitch(f, &o);
    assert_int_equal(second.facts.n_small, 256 + 40);
    check_evaluation(f, &second, 0, between, NULL);
    for (size_t step = 25; step < second.path.n_steps; step += second.path.n_steps / 3)
        check_step(f, &second, step);
    check_evaluation(f, &second, 25, save_step(f, &second, 25, "frankenstein"), NULL);
    free_stitch(&second);
}

/* ---- Refusals. ---- */

static void refuses(struct fixture *f, const struct stitch_facts *facts, const struct stitch_path *path,
                    size_t step, const char *says)
{
    struct store_txn *t = begin_reading(f->store);
    struct sae *sae;
    uint32_t *latents;

    assert_int_equal(stitch_sae_at(t, facts, path, step, &sae, &latents, &err), STATUS_REFUSED);
    assert_says(says);
    assert_null(sae);
    assert_null(latents);
    store_end(t);
}

static void test_refusals(void **state)
{
    static const struct choices kinds[] = {{"jumprelu", 1, 0, NORMALIZE_NONE},
                                           {"jumprelu", 1, 0, NORMALIZE_LAYER_NORM},
                                           {"topk", 1, 0, NORMALIZE_NONE}};
    struct fixture *f = *state;
    artifact_id small = made_up(f, "small", SMALL, &kinds[0]), large = made_up(f, "large", LARGE, &kinds[0]),
                normalised = made_up(f, "normalised", LARGE, &kinds[1]),
                topk = made_up(f, "topk", LARGE, &kinds[2]), id;
    struct stitch_options o = {
        .small = small, .large = large, .text = f->text, .tokens = TOKENS, .threshold = 0.7};
    struct stitch s = make_stitch(f, &o);
    struct monitor m = {.ask = cancel_later};
    char says[64];

    snprintf(says, sizeof(says), "no step %zu: the path has steps 0 to %zu", s.path.n_steps + 1,
             s.path.n_steps);
    refuses(f, &s.facts, &s.path, s.path.n_steps + 1, says);
    refuses(f, &s.facts, &s.path, SIZE_MAX, "there is no step");
    s.facts.large = normalised;
    refuses(f, &s.facts, &s.path, 1, "(none and layer_norm)");
    s.facts.large = topk;
    refuses(f, &s.facts, &s.path, 1, "topk SAEs have no threshold form");
    assert_ok(store_create(f->store, ARTIFACT_SAE, "refused", 0, &id, &err));
    assert_int_equal(stitch_save_sae(f->store, s.id, s.path.n_steps + 1, id, NULL, &err), STATUS_REFUSED);
    assert_says(says);
    for (int asks = 0; asks < 3; asks++) {
        asks_before_cancel = asks;
        assert_int_equal(stitch_save_sae(f->store, s.id, 5, id, &m, &err), STATUS_FAILED);
        assert_says("cancelled");
    }
    store_abandon(f->store, id);
    assert_int_equal(find_artifact(f->store, ARTIFACT_SAE, "refused"), 0);
    free_stitch(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_architectures),   cmocka_unit_test(test_every_tenth_step),
        cmocka_unit_test(test_cross_entropies), cmocka_unit_test(test_frankenstein),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, set_up_fixture, tear_down_fixture);
}
