/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Steering and edited rows: against float64 references (tests/reference/steer.py), and by what must hold. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/edit.h"
#include "saescope/analysis/latent.h"
#include "saescope/analysis/meta_rows.h"
#include "saescope/analysis/steer.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/sae/bases.h"
#include "tests/support/support.h"
#include "steer_golden.h"

enum { D = 256, WIDTH = 96, META_WIDTH = 24, VOCABULARY = 8192 };
#define HOOK      "blocks.2.hook_resid_pre"
#define TOLERANCE 2e-4 /* of log-probabilities, float32 against float64 */

static struct store_txn *txn;
static struct steering *steering;
static artifact_id model, saes[3], other_hook, meta_of_meta, joint, narrow, stranger;
static struct token_list prompt, answer;
static double baseline[VOCABULARY];

/* ---- SAEs made of a hash, as steer.py makes them. ---- */

static float hashed(uint32_t row, uint32_t column, uint32_t salt)
{
    uint32_t x = (row * 73856093U) ^ (column * 19349663U) ^ (salt * 83492791U);
    for (int i = 0; i < 2; i++) {
        x ^= x >> 15;
        x *= 0x2C1B3C6DU;
    }
    return (float)((double)x / 2147483648.0 - 1);
}

static struct sae *hashed_sae(size_t width, uint32_t salt, float threshold)
{
    struct sae *x = new_sae("jumprelu", D, width);
    for (uint32_t i = 0; i < width; i++) {
        x->threshold[i] = threshold;
        for (uint32_t j = 0; j < D; j++) {
            x->owned_W_enc[i * D + j] = 0.125F * hashed(i, j, salt);
            x->owned_W_dec[i * D + j] = 0.125F * hashed(i, j, salt + 1);
        }
    }
    for (uint32_t j = 0; j < D; j++)
        x->b_dec[j] = 0.0625F * hashed(0, j, salt + 2);
    x->apply_b_dec_to_input = 1;
    return x;
}

static artifact_id save(const char *name, struct sae *x, const char *hook, artifact_id base, int center)
{
    json *m = sae_manifest(hook, base ? 0 : model, base);
    json_set(m, "center_activations", json_new_boolean(center));
    json_set(m, "prepend_bos", json_new_boolean(1));
    artifact_id id = save_sae(test_store, name, x, m);
    sae_free(x);
    return id;
}

static void save_all(void)
{
    saes[0] = save("plain", hashed_sae(WIDTH, 10, 0.75F), HOOK, 0, 0);
    struct sae *normed = hashed_sae(WIDTH, 20, 0.5F);
    normed->normalization = NORMALIZE_LAYER_NORM;
    saes[1] = save("normed", normed, HOOK, 0, 1);
    saes[2] = save("meta", hashed_sae(META_WIDTH, 30, 0.03F), NULL, saes[0], 0);
    meta_of_meta = save("meta-of-meta", hashed_sae(8, 40, 0.03F), NULL, saes[2], 0);
    struct sae *shared = hashed_sae(META_WIDTH, 30, 0.03F);
    json *m = sae_manifest(NULL, 0, saes[1]);
    json_set(m, "references", meta_bases_references((const artifact_id[]){saes[1], saes[0]}, 2));
    joint = save_sae(test_store, "joint", shared, m);
    sae_free(shared);
    other_hook = save("elsewhere", hashed_sae(8, 50, 0.5F), "blocks.1.hook_mlp_out", 0, 0);
    narrow = save("narrow", new_sae("jumprelu", 16, 8), HOOK, 0, 0);
    struct sae *topk = hashed_sae(WIDTH, 10, 0);
    free(topk->threshold);
    topk->threshold = NULL;
    topk->architecture = sae_architecture_find("topk", NULL);
    topk->k = 5;
    stranger = save("topk", topk, HOOK, 0, 0);
}

static int set_up(void **state)
{
    struct error err = {0};
    set_up_store(state);
    model = import_demo_model(test_store, "lm");
    save_all();
    txn = begin_reading(test_store);
    assert_ok(steering_open(txn, model, &steering, &err));
    assert_ok(
        prompt_tokens(steering_model(steering), 1, GOLDEN_PROMPT, strlen(GOLDEN_PROMPT), &prompt, &err));
    assert_ok(
        prompt_tokens(steering_model(steering), 0, GOLDEN_ANSWER, strlen(GOLDEN_ANSWER), &answer, &err));
    assert_ok(steering_next(steering, prompt.ids, prompt.n, 0, baseline, &err));
    return 0;
}

static int tear_down(void **state)
{
    token_list_free(&prompt);
    token_list_free(&answer);
    steering_free(steering);
    store_end(txn);
    return tear_down_store(state);
}

/* ---- References. ---- */

static float *golden_row(const struct row_edit *e)
{
    struct error err = {0};
    struct sae *base, *meta;
    float *row = xcalloc(D, sizeof *row);
    assert_ok(sae_open(txn, saes[0], &base, &err));
    assert_ok(sae_open(txn, saes[2], &meta, &err));
    assert_ok(edit_row(txn, base, meta, GOLDEN_LATENT, e, row, &err));
    sae_free(base);
    sae_free(meta);
    return row;
}

static const struct row_edit rebuilt_edit = {golden_changes, ARRAY_LENGTH(golden_changes), 0, 0};

static void set_golden(const struct golden *g, const float *row)
{
    struct error err = {0};
    struct steer_edit edits[4];
    for (int i = 0; i < g->n; i++)
        edits[i] = (struct steer_edit){saes[g->edits[i].sae],      0,
                                       (size_t)g->edits[i].latent, (enum steer_kind)g->edits[i].kind,
                                       g->edits[i].value,          row};
    assert_ok(steering_set(
        steering, edits, (size_t)g->n, g->orthogonal ? STEER_ORTHOGONAL : STEER_ADDITIVE,
        (struct steer_positions){(size_t)g->first, g->last < 0 ? SIZE_MAX : (size_t)g->last, g->specials},
        &err));
}

static void assert_near(const char *name, size_t i, double got, double expected, double tolerance)
{
    if (!(fabs(got - expected) <= tolerance))
        fail_msg("%s %zu: %.9g instead of %.9g", name, i, got, expected);
}

static void check_golden(const struct golden *g, const float *row)
{
    struct error err = {0};
    double next[VOCABULARY], of_answer;
    struct token_list generated = {0};
    set_golden(g, row);
    assert_ok(steering_next(steering, prompt.ids, prompt.n, 1, next, &err));
    for (size_t i = 0; i < GOLDEN_SAMPLES; i++)
        assert_near(g->name, i, next[(1009 * i + 11) % VOCABULARY], g->samples[i], TOLERANCE);
    assert_ok(steering_answer(steering, prompt.ids, prompt.n, answer.ids, answer.n, 1, &of_answer, &err));
    assert_near(g->name, answer.n, of_answer, g->answer, TOLERANCE * (double)answer.n);
    struct generation greedy = {GOLDEN_GENERATED, 0, 0};
    assert_ok(steering_generate(steering, prompt.ids, prompt.n, &greedy, 1, NULL, &generated, &err));
    assert_int_equal(generated.n, GOLDEN_GENERATED);
    assert_memory_equal(generated.ids, g->generated, sizeof g->generated);
    token_list_free(&generated);
}

static void test_golden(void **state)
{
    (void)state;
    float *row = golden_row(&rebuilt_edit);
    assert_true(answer.n > 1);
    for (size_t i = 0; i < ARRAY_LENGTH(golden_cases); i++)
        check_golden(&golden_cases[i], row);
    free(row);
}

static void check_row(const char *name, const struct row_edit *e, const double *expected)
{
    float *row = golden_row(e);
    for (size_t i = 0; i < GOLDEN_SAMPLES; i++)
        assert_near(name, i, row[(37 * i + 5) % D], expected[i], 1e-6);
    free(row);
}

static void test_rows(void **state)
{
    (void)state;
    struct row_edit residual = rebuilt_edit, raw = rebuilt_edit;
    residual.keep_residual = 1;
    raw.raw = 3;
    check_row("rebuilt", &rebuilt_edit, golden_rebuilt);
    check_row("residual", &residual, golden_residual);
    check_row("raw", &raw, golden_raw);
    /* Nothing changed and the residual kept: the row itself. */
    struct row_edit nothing = {NULL, 0, 1, 0};
    float *row = golden_row(&nothing);
    for (uint32_t j = 0; j < D; j++)
        assert_near("unchanged", j, row[j], 0.125F * hashed(GOLDEN_LATENT, j, 11), 1e-6);
    free(row);
}

/* ---- What must hold. ---- */

static double largest_change(const struct steer_edit *edits, size_t n, enum steer_method method,
                             struct steer_positions where)
{
    struct error err = {0};
    double next[VOCABULARY], largest = 0;
    assert_ok(steering_set(steering, edits, n, method, where, &err));
    assert_ok(steering_next(steering, prompt.ids, prompt.n, 1, next, &err));
    for (size_t i = 0; i < VOCABULARY; i++)
        largest = fmax(largest, fabs(next[i] - baseline[i]));
    return largest;
}

/* The activation of a latent at a position, read in another way. */
static double activation_at(artifact_id sae, size_t latent, size_t position)
{
    struct error err = {0};
    struct encoded_text e;
    double a = 0;
    assert_ok(encode_text(test_store, sae, GOLDEN_PROMPT, strlen(GOLDEN_PROMPT), 0, &e, &err));
    for (size_t p = e.rows.offsets[position]; p < e.rows.offsets[position + 1]; p++)
        if (e.rows.latents[p] == latent)
            a = (double)e.rows.values[p];
    encoded_text_free(&e);
    return a;
}

/* A latent that fires at the position. */
static size_t latent_at(artifact_id sae, size_t position)
{
    struct error err = {0};
    struct encoded_text e;
    assert_ok(encode_text(test_store, sae, GOLDEN_PROMPT, strlen(GOLDEN_PROMPT), 0, &e, &err));
    assert_true(e.rows.offsets[position + 1] > e.rows.offsets[position]);
    size_t latent = e.rows.latents[e.rows.offsets[position]];
    encoded_text_free(&e);
    return latent;
}

static void test_identities(void **state)
{
    (void)state;
    const struct golden *latents = &golden_cases[1], *normed = &golden_cases[3], *meta = &golden_cases[4];
    size_t plain_latent = (size_t)latents->edits[1].latent, normed_latent = (size_t)normed->edits[0].latent,
           meta_latent = (size_t)meta->edits[1].latent;
    const struct steer_edit same[] = {
        {saes[0], 0, plain_latent, STEER_SCALE, 1, NULL}, {saes[1], 0, normed_latent, STEER_SCALE, 1, NULL},
        {saes[2], 0, meta_latent, STEER_SCALE, 1, NULL},  {saes[0], 0, plain_latent, STEER_ADD, 0, NULL},
        {stranger, 0, 3, STEER_SCALE, 1, NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(same); i++)
        assert_near("same", i, largest_change(&same[i], 1, STEER_ADDITIVE, STEER_EVERYWHERE), 0, 1e-5);
    for (size_t i = 0; i < 3; i++)
        assert_near("same projection", i, largest_change(&same[i], 1, STEER_ORTHOGONAL, STEER_EVERYWHERE), 0,
                    1e-5);
    /* Its own row. */
    float own[D];
    for (uint32_t j = 0; j < D; j++)
        own[j] = 0.125F * hashed((uint32_t)plain_latent, j, 11);
    struct steer_edit row = {saes[0], 0, plain_latent, STEER_ROW, 0, own};
    assert_near("own row", 0, largest_change(&row, 1, STEER_ADDITIVE, STEER_EVERYWHERE), 0, 1e-5);
    assert_true(steering_active(steering) > 0);
    /* Clamped to what it is. */
    size_t compared = 0;
    for (size_t at = 1; at < prompt.n; at++) {
        double a = activation_at(saes[1], normed_latent, at);
        struct steer_edit clamp = {saes[1], 0, normed_latent, STEER_CLAMP, a, NULL};
        compared += a > 0;
        assert_near("own activation", at,
                    largest_change(&clamp, 1, STEER_ADDITIVE, (struct steer_positions){at, at, 1}), 0, 1e-5);
    }
    assert_true(compared > 0);
    /* Removing is scaling by 0 and clamping to 0, also where the k largest count. */
    size_t fires = latent_at(stranger, prompt.n - 1);
    const struct steer_edit removes[3] = {{stranger, 0, fires, STEER_REMOVE, 0, NULL},
                                          {stranger, 0, fires, STEER_SCALE, 0, NULL},
                                          {stranger, 0, fires, STEER_CLAMP, 0, NULL}};
    double removed = largest_change(&removes[0], 1, STEER_ADDITIVE, STEER_EVERYWHERE);
    assert_true(removed > 1e-3);
    assert_true(steering_active(steering) > 0);
    for (int i = 1; i < 3; i++)
        assert_near("removed", (size_t)i, largest_change(&removes[i], 1, STEER_ADDITIVE, STEER_EVERYWHERE),
                    removed, 1e-6);
}

/* A forward pass of its own, with a hook that adds a row. */
struct adding {
    const float *row;
    float x;
    size_t first;
};

static int add_rows_at(void *arg, float *h, size_t n_tokens, size_t width, struct error *err)
{
    const struct adding *a = arg;
    (void)err;
    for (size_t t = a->first; t < n_tokens; t++)
        for (size_t j = 0; j < width; j++)
            h[t * width + j] += a->x * a->row[j];
    return STATUS_OK;
}

static void test_brute_force(void **state)
{
    (void)state;
    struct error err = {0};
    const struct model *m = steering_model(steering);
    struct forward *forward;
    struct hook hook;
    float row[D], *final = xcalloc(prompt.n * D, sizeof *final),
                  *logits = xcalloc(VOCABULARY, sizeof *logits);
    double next[VOCABULARY], total = 0, sum = 0;
    for (uint32_t j = 0; j < D; j++)
        row[j] = 0.125F * hashed(5, j, 31); /* of a meta-latent */
    struct adding adding = {row, 9, 1};
    assert_ok(hook_parse(model_get_config(m), HOOK, &hook, &err));
    assert_ok(forward_new(m, 1, prompt.n, &forward, &err));
    assert_ok(forward_run(forward, m, prompt.ids, 1, prompt.n, &hook, add_rows_at, &adding, final, &err));
    assert_ok(model_unembed(m, final + (prompt.n - 1) * D, 1, logits, &err));
    for (size_t i = 0; i < VOCABULARY; i++)
        total += exp((double)logits[i]);
    struct steer_edit add = {saes[2], 0, 5, STEER_ADD, 9, NULL};
    assert_ok(steering_set(steering, &add, 1, STEER_ADDITIVE, STEER_EVERYWHERE, &err));
    assert_ok(steering_next(steering, prompt.ids, prompt.n, 1, next, &err));
    for (size_t i = 0; i < VOCABULARY; i++) {
        assert_near("added", i, next[i], (double)logits[i] - log(total), 1e-5);
        sum += exp(next[i]);
    }
    assert_near("sum of probabilities", 0, sum, 1, 1e-6);
    assert_true(fabs(next[1318] - baseline[1318]) > 0.01);
    forward_free(forward);
    free(final);
    free(logits);
}

static struct token_list generate(size_t n, double temperature, uint64_t seed)
{
    struct error err = {0};
    struct token_list out = {0};
    struct generation g = {n, temperature, seed};
    assert_ok(steering_generate(steering, prompt.ids, prompt.n, &g, 1, NULL, &out, &err));
    return out;
}

static int same_tokens(const struct token_list *a, const struct token_list *b)
{
    return a->n == b->n && memcmp(a->ids, b->ids, a->n * sizeof *a->ids) == 0;
}

static void test_generation(void **state)
{
    (void)state;
    struct error err = {0};
    assert_ok(steering_set(steering, NULL, 0, STEER_ADDITIVE, STEER_EVERYWHERE, &err));
    struct token_list a = generate(20, 1, 7), b = generate(20, 1, 7), c = generate(20, 1, 8),
                      cold = generate(6, 1e-4, 7);
    assert_int_equal(a.n, 20);
    assert_true(same_tokens(&a, &b));
    assert_false(same_tokens(&a, &c));
    assert_memory_equal(cold.ids, golden_cases[0].generated, sizeof golden_cases[0].generated);
    /* As far as the context goes: one token more than it holds is known. */
    struct token_list all = generate(1000, 0, 0), whole = {0};
    size_t context = model_get_config(steering_model(steering))->context_length;
    for (size_t i = 0; i < prompt.n; i++)
        token_list_add(&whole, prompt.ids[i]);
    for (size_t i = 0; i < all.n; i++)
        token_list_add(&whole, all.ids[i]);
    if (whole.n <= context) {
        /* It ended before: EOS comes next. */
        double next[VOCABULARY];
        size_t best = 0;
        assert_ok(steering_next(steering, whole.ids, whole.n, 1, next, &err));
        for (size_t i = 1; i < VOCABULARY; i++)
            best = next[i] > next[best] ? i : best;
        assert_int_equal(best, model_get_config(steering_model(steering))->eos);
    } else {
        assert_int_equal(whole.n, context + 1);
    }
    token_list_free(&whole);
    token_list_free(&all);
    token_list_free(&a);
    token_list_free(&b);
    token_list_free(&c);
    token_list_free(&cold);
}

static void test_stops_at_eos(void **state)
{
    (void)state;
    struct error err = {0};
    const struct model_config *config = model_get_config(steering_model(steering));
    assert_ok(steering_set(steering, NULL, 0, STEER_ADDITIVE, STEER_EVERYWHERE, &err));
    /* Somewhere in these samples EOS comes; no list holds it. */
    size_t shorter = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct token_list out = generate(60, 1, seed);
        shorter += out.n < 60;
        for (size_t i = 0; i < out.n; i++)
            assert_int_not_equal(out.ids[i], config->eos);
        token_list_free(&out);
    }
    assert_true(shorter > 0);
}

/* A joint meta-SAE changes the rows of the base that is asked for. */
static void test_joint(void **state)
{
    (void)state;
    struct error err = {0};
    const struct golden *g = &golden_cases[4];
    struct steer_edit edits[4];
    double next[VOCABULARY];
    for (int i = 0; i < g->n; i++)
        edits[i] = (struct steer_edit){
            joint, saes[0], (size_t)g->edits[i].latent, (enum steer_kind)g->edits[i].kind, g->edits[i].value,
            NULL};
    assert_ok(steering_set(steering, edits, (size_t)g->n, STEER_ADDITIVE, STEER_EVERYWHERE, &err));
    assert_ok(steering_next(steering, prompt.ids, prompt.n, 1, next, &err));
    for (size_t i = 0; i < GOLDEN_SAMPLES; i++)
        assert_near("joint", i, next[(1009 * i + 11) % VOCABULARY], g->samples[i], TOLERANCE);
    edits[0].base = 0;
    assert_int_equal(steering_set(steering, edits, 1, STEER_ADDITIVE, STEER_EVERYWHERE, &err),
                     STATUS_REFUSED);
    assert_says("joint is on 2 SAEs");
    edits[0].base = stranger;
    assert_int_equal(steering_set(steering, edits, 1, STEER_ADDITIVE, STEER_EVERYWHERE, &err),
                     STATUS_REFUSED);
    assert_says("joint is not a meta-SAE");
    edits[0] = (struct steer_edit){joint, 0, 1, STEER_ADD, 1, NULL};
    assert_ok(steering_set(steering, edits, 1, STEER_ADDITIVE, STEER_EVERYWHERE, &err));
}

/* ---- Latents that stand for a text. ---- */

static void test_find(void **state)
{
    (void)state;
    struct error err = {0};
    const char *prompts[] = {"Smith is the writer: English", "nothing here", "the writer of the"};
    struct found_latent from, to;
    assert_ok(find_latents(test_store, saes[0], prompts, 3, " writer", " general", &from, &to, &err));
    /* The two prompts one by one, at the token of each word. */
    const char *texts[2][2] = {{"Smith is the writer: English", "the writer of the"},
                               {"Smith is the general: English", "the general of the"}};
    double sums[2][WIDTH] = {{0}};
    for (int word = 0; word < 2; word++)
        for (int i = 0; i < 2; i++) {
            struct encoded_text e;
            size_t at = i ? 2 : 6, n;
            assert_ok(encode_text(test_store, saes[0], texts[word][i], strlen(texts[word][i]), 0, &e, &err));
            const void *bytes = tokenizer_token(model_tokenizer(steering_model(steering)), e.ids[at], &n);
            assert_memory_equal(bytes, word ? " general" : " writer", n);
            for (size_t p = e.rows.offsets[at]; p < e.rows.offsets[at + 1]; p++)
                sums[word][e.rows.latents[p]] += (double)e.rows.values[p] / 2;
            encoded_text_free(&e);
        }
    size_t best[2] = {WIDTH, WIDTH};
    for (int word = 0; word < 2; word++)
        for (size_t i = 0; i < WIDTH; i++)
            if (sums[word][i] > 0 && sums[!word][i] == 0 &&
                (best[word] == WIDTH || sums[word][i] > sums[word][best[word]]))
                best[word] = i;
    assert_int_equal(from.latent, best[0]);
    assert_int_equal(to.latent, best[1]);
    assert_near("activation", 0, from.activation, sums[0][best[0]], 1e-4);
    assert_near("activation", 1, to.activation, sums[1][best[1]], 1e-4);
    assert_int_equal(find_latents(test_store, saes[0], prompts, 3, "Tokyo", "Paris", &from, &to, &err),
                     STATUS_REFUSED);
    assert_says("no prompt has 'Tokyo'");
    assert_int_equal(find_latents(test_store, saes[0], prompts, 3, " writer", " writer", &from, &to, &err),
                     STATUS_REFUSED);
    assert_says("no latent fires");
    assert_int_equal(find_latents(test_store, saes[0], prompts, 3, "", "x", &from, &to, &err),
                     STATUS_REFUSED);
    assert_int_equal(find_latents(test_store, saes[2], prompts, 3, " writer", " general", &from, &to, &err),
                     STATUS_REFUSED);
    assert_says("reads no text");
}

static void test_member_mean(void **state)
{
    (void)state;
    struct error err = {0};
    struct sae *base, *meta;
    struct sparse_rows f = {0};
    float *rows = xcalloc(WIDTH * D, sizeof *rows);
    double mean, sum = 0;
    size_t n = 0, j = (size_t)golden_cases[4].edits[0].latent;
    assert_ok(sae_open(txn, saes[0], &base, &err));
    assert_ok(sae_open(txn, saes[2], &meta, &err));
    for (size_t i = 0; i < WIDTH; i++) {
        const float *row = sae_decoder_row(base, i);
        double norm = sqrt(vec_norm2(row, D));
        for (size_t k = 0; k < D; k++)
            rows[i * D + k] = (float)((double)row[k] / norm);
    }
    assert_ok(sae_encode(meta, rows, WIDTH, &f, &err));
    for (size_t p = 0; p < f.offsets[WIDTH]; p++)
        if (f.latents[p] == j) {
            sum += (double)f.values[p];
            n++;
        }
    assert_true(n > 1);
    assert_ok(mean_member_activation(txn, base, meta, j, &mean, &err));
    assert_near("mean", j, mean, sum / (double)n, 1e-6);
    sparse_rows_free(&f);
    sae_free(base);
    sae_free(meta);
    free(rows);
}

/* ---- What is refused. ---- */

static void refuse(const struct steer_edit *edits, size_t n, enum steer_method method, const char *says)
{
    struct error err = {0};
    assert_int_equal(steering_set(steering, edits, n, method, STEER_EVERYWHERE, &err), STATUS_REFUSED);
    assert_says(says);
}

static void test_refused(void **state)
{
    (void)state;
    struct error err = {0};
    double x;
    const struct steer_edit two_hooks[] = {{saes[0], 0, 1, STEER_ADD, 1, NULL},
                                           {other_hook, 0, 1, STEER_ADD, 1, NULL}};
    const struct steer_edit twice[] = {{saes[0], 0, 1, STEER_SCALE, 2, NULL},
                                       {saes[0], 0, 1, STEER_REMOVE, 0, NULL}};
    refuse(&(struct steer_edit){saes[0], 0, WIDTH, STEER_ADD, 1, NULL}, 1, STEER_ADDITIVE,
           "plain has latents 0 to 95");
    refuse(&(struct steer_edit){narrow, 0, 1, STEER_ADD, 1, NULL}, 1, STEER_ADDITIVE, "narrow has d_in 16");
    refuse(two_hooks, 2, STEER_ADDITIVE, "one hook at a time");
    refuse(twice, 2, STEER_ADDITIVE, "changed twice");
    refuse(&(struct steer_edit){meta_of_meta, 0, 1, STEER_SCALE, 1, NULL}, 1, STEER_ADDITIVE,
           "meta-SAE of a meta-SAE");
    refuse(&(struct steer_edit){saes[0], 0, 1, STEER_ADD, 1e39, NULL}, 1, STEER_ADDITIVE, "too large");
    refuse(&(struct steer_edit){saes[0], 0, 1, STEER_ROW, 0, NULL}, 1, STEER_ORTHOGONAL,
           "cannot be replaced");
    refuse(&(struct steer_edit){model, 0, 1, STEER_ADD, 1, NULL}, 1, STEER_ADDITIVE, "not an SAE");
    /* A refused set leaves no edits. */
    double next[VOCABULARY];
    assert_ok(steering_next(steering, prompt.ids, prompt.n, 1, next, &err));
    assert_memory_equal(next, baseline, sizeof next);
    uint32_t *long_prompt = xcalloc(200, sizeof *long_prompt);
    assert_int_equal(steering_next(steering, long_prompt, 129, 0, next, &err), STATUS_REFUSED);
    assert_says("lm takes 128");
    assert_int_equal(steering_next(steering, long_prompt, 0, 0, next, &err), STATUS_REFUSED);
    assert_says("empty");
    assert_int_equal(steering_answer(steering, long_prompt, 128, long_prompt, 2, 0, &x, &err),
                     STATUS_REFUSED);
    assert_int_equal(steering_answer(steering, long_prompt, 5, long_prompt, 0, 0, &x, &err), STATUS_REFUSED);
    assert_says("answer is empty");
    long_prompt[0] = VOCABULARY;
    assert_int_equal(steering_next(steering, long_prompt, 3, 0, next, &err), STATUS_REFUSED);
    free(long_prompt);
}

static void test_rows_refused(void **state)
{
    (void)state;
    struct error err = {0};
    struct sae *base, *meta;
    float row[D];
    assert_ok(sae_open(txn, saes[0], &base, &err));
    assert_ok(sae_open(txn, saes[2], &meta, &err));
    struct row_change unknown = {META_WIDTH, 1, 1};
    struct row_edit e = {&unknown, 1, 0, 0};
    assert_int_equal(edit_row(txn, base, meta, 1, &e, row, &err), STATUS_REFUSED);
    assert_says("no meta-latent 24");
    e.n = 0;
    assert_int_equal(edit_row(txn, base, meta, WIDTH, &e, row, &err), STATUS_REFUSED);
    assert_says("no latent 96");
    /* A meta-SAE without a bias, and nothing active: no row is left. */
    memset(meta->b_dec, 0, D * sizeof *meta->b_dec);
    for (size_t j = 0; j < META_WIDTH; j++)
        meta->threshold[j] = 1e9F;
    assert_int_equal(edit_row(txn, base, meta, 1, &e, row, &err), STATUS_REFUSED);
    assert_says("nothing is left");
    sae_free(base);
    sae_free(meta);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),       cmocka_unit_test(test_rows),
        cmocka_unit_test(test_identities),   cmocka_unit_test(test_brute_force),
        cmocka_unit_test(test_generation),   cmocka_unit_test(test_stops_at_eos),
        cmocka_unit_test(test_joint),        cmocka_unit_test(test_find),
        cmocka_unit_test(test_member_mean),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_rows_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
