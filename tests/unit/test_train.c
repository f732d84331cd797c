/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Training: against a float64 reference, resumed, folded, refused. */
#include "config.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/sae/architectures.h"
#include "saescope/sae/train.h"
#include "saescope/sae/trainer.h"
#include "tests/support/support.h"
#include "train_batchtopk_golden.h"

/* As numbers() in tests/reference/train_batchtopk.py: multiples of 2^-23 in [-1, 1). */
static double number(uint64_t seed, uint64_t stream, uint64_t i)
{
    uint64_t z = i + (seed * 1000003 + stream) * 0x9E3779B97F4A7C15u + 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (double)(z >> 40) / 8388608.0 - 1.0;
}

static void golden_batch(uint64_t seed, uint64_t step, float *x)
{
    for (uint64_t r = 0; r < GOLDEN_BATCH; r++) {
        for (uint64_t i = 0; i < GOLDEN_D_IN; i++) {
            double sum = GOLDEN_NOISE * number(seed, 5, (step * GOLDEN_BATCH + r) * GOLDEN_D_IN + i) + 0.5;
            for (uint64_t j = 0; j < GOLDEN_PRESENT; j++) {
                uint64_t at = (step * GOLDEN_BATCH + r) * GOLDEN_PRESENT + j;
                uint64_t which = (uint64_t)floor((number(seed, 3, at) + 1) / 2 * GOLDEN_DIRECTIONS);
                sum += (number(seed, 4, at) + 1) * number(seed, 2, which * GOLDEN_D_IN + i);
            }
            x[r * GOLDEN_D_IN + i] = (float)sum;
        }
    }
}

static struct sae *golden_start(uint64_t seed)
{
    struct sae *sae;
    struct error err;
    assert_ok(sae_new(&architecture_batchtopk, GOLDEN_D_IN, GOLDEN_D_SAE, &sae, &err));
    for (uint64_t i = 0; i < GOLDEN_D_IN * GOLDEN_D_SAE; i++) {
        sae->owned_W_dec[i] = (float)number(seed, 0, i);
        sae->owned_W_enc[i] = (float)(0.25 * number(seed, 1, i));
    }
    return sae;
}

static void golden_options(struct train_options *o)
{
    train_options_default(o);
    o->width = GOLDEN_D_SAE;
    o->k = GOLDEN_K;
    o->batch = GOLDEN_BATCH;
    o->steps = GOLDEN_STEPS;
    o->lr = GOLDEN_LR;
    o->aux_k = GOLDEN_AUX_K;
    o->dead_after = GOLDEN_DEAD_AFTER;
}

/* ‖P − P_ref‖ ≤ 1e-3 ‖P_ref‖ and ≤ 2e-2 ‖P_ref − P_0‖ */
static void check_tensor(const char *name, const float *p, const double *reference, const float *start,
                         size_t n)
{
    double off = 0, size = 0, moved = 0;
    for (size_t i = 0; i < n; i++) {
        off += (p[i] - reference[i]) * (p[i] - reference[i]);
        size += reference[i] * reference[i];
        moved += (start[i] - reference[i]) * (start[i] - reference[i]);
    }
    print_message("# %s: off by %.2g of its size, %.2g of its way\n", name, sqrt(off / size),
                  sqrt(off / moved));
    assert_true(sqrt(off) <= 1e-3 * sqrt(size));
    assert_true(sqrt(off) <= 2e-2 * sqrt(moved));
}

static void follows_the_reference(void **state)
{
    (void)state;
    struct train_options o;
    struct trainer *t;
    struct error err;
    double loss = 0;
    size_t aux_steps = 0;
    float *x = xmalloc(GOLDEN_BATCH * GOLDEN_D_IN * sizeof *x);
    struct sae *start = golden_start(GOLDEN_SEED);
    golden_options(&o);
    assert_ok(trainer_new(&o, GOLDEN_D_IN, start, &t, &err));
    for (uint64_t step = 0; step < GOLDEN_STEPS; step++) {
        golden_batch(GOLDEN_SEED, step, x);
        assert_ok(trainer_step(t, x, &loss, &err));
        if (step == 0)
            assert_true(fabs(loss - GOLDEN_FIRST_LOSS) < 1e-5 * GOLDEN_FIRST_LOSS);
        aux_steps += trainer_dead(t) > 0;
    }
    trainer_finish(t);
    assert_int_equal(aux_steps, GOLDEN_AUX_STEPS);
    assert_true(aux_steps >= 30);
    assert_true(fabs(loss - GOLDEN_LAST_LOSS) < 1e-3 * GOLDEN_LAST_LOSS);
    assert_true(fabs(trainer_threshold(t) - GOLDEN_THETA) < 1e-3 * GOLDEN_THETA);
    const struct sae *sae = trainer_sae(t);
    check_tensor("W_enc", sae->owned_W_enc, golden_w_enc, start->owned_W_enc, GOLDEN_D_IN * GOLDEN_D_SAE);
    check_tensor("W_dec", sae->owned_W_dec, golden_w_dec, start->owned_W_dec, GOLDEN_D_IN * GOLDEN_D_SAE);
    check_tensor("b_dec", sae->b_dec, golden_b_dec, start->b_dec, GOLDEN_D_IN);
    trainer_free(t);
    sae_free(start);
    free(x);
}

/* The clip that never clips goes the other way through the code, to the same bits; a small one takes effect.
 */
static void clips(void **state)
{
    (void)state;
    const double limits[3] = {0, 1e5, 1e-6};
    struct trainer *t[3];
    struct error err;
    float *x = xmalloc(GOLDEN_BATCH * GOLDEN_D_IN * sizeof *x);
    struct sae *start = golden_start(1);
    for (int i = 0; i < 3; i++) {
        struct train_options o;
        double loss;
        golden_options(&o);
        o.clip = limits[i];
        assert_ok(trainer_new(&o, GOLDEN_D_IN, start, &t[i], &err));
        for (uint64_t step = 0; step < 10; step++) {
            golden_batch(1, step, x);
            assert_ok(trainer_step(t[i], x, &loss, &err));
        }
    }
    size_t bytes = GOLDEN_D_IN * GOLDEN_D_SAE * sizeof(float);
    assert_memory_equal(t[0]->sae->owned_W_enc, t[1]->sae->owned_W_enc, bytes);
    assert_memory_equal(t[0]->sae->owned_W_dec, t[1]->sae->owned_W_dec, bytes);
    assert_memory_not_equal(t[0]->sae->owned_W_enc, t[2]->sae->owned_W_enc, bytes);
    double squares = 0; /* v = 0.01 Σ 0.99^j g², and every step's ‖g‖ is at most 1e-6 */
    for (size_t i = 0; i < GOLDEN_D_IN * GOLDEN_D_SAE; i++)
        squares += (double)t[2]->v_enc[i];
    assert_true(squares > 0 && squares <= 0.01 * 10 * 1e-12);
    for (int i = 0; i < 3; i++)
        trainer_free(t[i]);
    sae_free(start);
    free(x);
}

/* ---- Selection, on pre-activations that are small whole numbers: ties everywhere. ---- */

static int before(const struct scan_pair *a, const struct scan_pair *b)
{
    if (a->value != b->value)
        return a->value > b->value;
    return a->row != b->row ? a->row < b->row : a->latent < b->latent;
}

static int compare_pairs(const void *a, const void *b)
{
    return before(a, b) ? -1 : before(b, a);
}

static void selects_with_ties(void **state)
{
    (void)state;
    enum { N = 300, WIDTH = 600, K = 7 };
    struct sae *sae;
    struct error err;
    struct selection s = {0};
    struct sparse_rows rows = {0};
    float *x = xcalloc(N, sizeof *x), smallest = 0;
    struct scan_pair *all = xcalloc((size_t)N * WIDTH, sizeof *all);
    unsigned char *kept = xcalloc((size_t)N * WIDTH, 1);
    assert_ok(sae_new(&architecture_batchtopk, 1, WIDTH, &sae, &err));
    for (uint64_t i = 0; i < WIDTH; i++)
        sae->owned_W_enc[i] = (float)floor(8 * number(9, 0, i));
    for (int round = 0; round < 3; round++) { /* the third round's bound is far too high */
        const size_t wanted = (size_t)N * K;
        size_t n = 0;
        for (uint64_t r = 0; r < N; r++)
            x[r] = round == 2 ? (float)(r % 2) : (float)floor(4 + 4 * number(9, 1, r + (uint64_t)round * N));
        for (uint32_t r = 0; r < N; r++)
            for (uint32_t i = 0; i < WIDTH; i++)
                all[n++] = (struct scan_pair){r, i, x[r] * sae->owned_W_enc[i]};
        qsort(all, n, sizeof *all, compare_pairs);
        memset(kept, 0, (size_t)N * WIDTH);
        for (size_t i = 0; i < wanted; i++)
            kept[(size_t)all[i].row * WIDTH + all[i].latent] = 1;
        assert_true(all[wanted - 1].value == all[wanted].value);
        assert_ok(selection_of_batch(&s, sae, x, N, K, &rows, &smallest, &err));
        assert_int_equal(rows.offsets[N], wanted);
        assert_true(smallest == all[wanted - 1].value);
        for (size_t r = 0; r < N; r++) {
            for (size_t i = rows.offsets[r]; i < rows.offsets[r + 1]; i++) {
                assert_int_equal(kept[r * WIDTH + rows.latents[i]], 1);
                assert_true(rows.values[i] == x[r] * sae->owned_W_enc[rows.latents[i]]);
                if (i > rows.offsets[r])
                    assert_true(rows.latents[i] > rows.latents[i - 1]);
            }
        }
    }
    /* Fewer positive ones than k·n: all of them. */
    memset(x, 0, N * sizeof *x);
    x[N - 1] = 1;
    assert_ok(selection_of_batch(&s, sae, x, N, K, &rows, &smallest, &err));
    size_t positive = 0;
    for (size_t i = 0; i < WIDTH; i++)
        positive += sae->owned_W_enc[i] > 0;
    assert_int_equal(rows.offsets[N], positive);
    assert_int_equal(rows.offsets[N - 1], 0);
    selection_free(&s);
    sparse_rows_free(&rows);
    sae_free(sae);
    free(x);
    free(all);
    free(kept);
}

/* ---- Runs. ---- */

enum { RUN_BATCH = 96, RUN_D = 16, RUN_STEPS = 60 };

/* Rows at a place in an endless stream; held-out ones far from it. */
struct stream_source {
    struct batch_source source;
    uint64_t at;
};

static void stream_row(uint64_t number_of_row, float *x)
{
    for (uint64_t i = 0; i < RUN_D; i++) {
        double sum = 3 + 0.2 * number(77, 5, number_of_row * RUN_D + i);
        for (uint64_t j = 0; j < 2; j++) {
            uint64_t which = (uint64_t)floor((number(77, 3, number_of_row * 2 + j) + 1) * 10);
            sum += 2 * (number(77, 4, number_of_row * 2 + j) + 1) * number(77, 2, which * RUN_D + i);
        }
        x[i] = (float)sum;
    }
}

static int stream_next(struct batch_source *source, float *x, size_t n, struct error *err)
{
    (void)err;
    struct stream_source *s = (struct stream_source *)source;
    for (size_t r = 0; r < n; r++)
        stream_row(s->at++, x + r * RUN_D);
    return STATUS_OK;
}

static int stream_seek(struct batch_source *source, uint64_t rows, struct error *err)
{
    (void)err;
    ((struct stream_source *)source)->at = rows;
    return STATUS_OK;
}

static int stream_held_out(struct batch_source *source, size_t chunk, float *x, size_t capacity, size_t *n,
                           struct error *err)
{
    (void)source;
    (void)err;
    *n = chunk < 3 ? (capacity < 200 ? capacity : 200) : 0;
    for (size_t r = 0; r < *n; r++)
        stream_row(1000000 + chunk * 200 + r, x + r * RUN_D);
    return STATUS_OK;
}

static struct stream_source new_source(void)
{
    return (struct stream_source){
        .source = {.d_in = RUN_D, .next = stream_next, .seek = stream_seek, .held_out = stream_held_out}};
}

struct test_monitor {
    struct monitor monitor;
    uint64_t stop_at; /* asks for a checkpoint from this step on, 0: never */
    enum monitor_request request;
    uint64_t step;
    double explained_variance;
};

static void watch(struct monitor *m, const struct progress *p)
{
    struct test_monitor *t = (struct test_monitor *)m;
    if (strcmp(p->phase, "training") == 0) {
        t->step = p->step;
        t->explained_variance = p->explained_variance;
    }
}

static enum monitor_request request(struct monitor *m)
{
    struct test_monitor *t = (struct test_monitor *)m;
    return t->stop_at && t->step >= t->stop_at ? t->request : MONITOR_GO_ON;
}

static struct test_monitor new_monitor(const char *work_dir, uint64_t stop_at, enum monitor_request what)
{
    return (struct test_monitor){.monitor = {.report = watch, .ask = request, .work_dir = work_dir},
                                 .stop_at = stop_at,
                                 .request = what};
}

static void run_options(struct train_options o[2], enum training_normalization normalization)
{
    for (int i = 0; i < 2; i++) {
        train_options_default(&o[i]);
        o[i].width = i ? 80 : 48;
        o[i].k = i ? 4 : 3;
        o[i].batch = RUN_BATCH;
        o[i].steps = RUN_STEPS;
        o[i].lr = 3e-3;
        o[i].warmup = 5;
        o[i].decay = 0.2;
        o[i].seed = 5 + (uint64_t)i;
        o[i].normalization = normalization;
    }
    o[1].architecture = &architecture_topk;
}

static void check_same(const struct sae *a, const struct sae *b)
{
    size_t bytes = a->d_in * a->d_sae * sizeof(float);
    assert_memory_equal(a->owned_W_enc, b->owned_W_enc, bytes);
    assert_memory_equal(a->owned_W_dec, b->owned_W_dec, bytes);
    assert_memory_equal(a->b_dec, b->b_dec, a->d_in * sizeof(float));
    if (a->threshold)
        assert_memory_equal(a->threshold, b->threshold, a->d_sae * sizeof(float));
}

static void resumes_bit_for_bit(void **state)
{
    (void)state;
    struct train_options o[2];
    struct train_result whole[2], resumed[2];
    struct sae *a[2], *b[2];
    struct error err;
    run_options(o, TRAIN_NORMALIZE_AVERAGE);
    struct stream_source source = new_source();
    assert_ok(train_run(o, 2, &source.source, NULL, a, whole, &err));
    for (uint64_t stop = 7; stop <= 31; stop += 24) { /* stopped twice, by a new source each time */
        struct stream_source again = new_source();
        struct test_monitor m = new_monitor(test_directory, stop, MONITOR_CHECKPOINT);
        assert_int_equal(train_run(o, 2, &again.source, &m.monitor, b, resumed, &err), STATUS_CHECKPOINTED);
        assert_int_equal(m.step, stop);
    }
    struct stream_source last = new_source();
    struct test_monitor m = new_monitor(test_directory, 0, MONITOR_GO_ON);
    assert_ok(train_run(o, 2, &last.source, &m.monitor, b, resumed, &err));
    for (int i = 0; i < 2; i++) {
        check_same(a[i], b[i]);
        assert_true(whole[i].loss == resumed[i].loss);
        assert_true(whole[i].explained_variance == resumed[i].explained_variance);
        assert_int_equal(resumed[i].steps, RUN_STEPS);
        assert_int_equal(resumed[i].rows, RUN_STEPS * RUN_BATCH);
        assert_int_equal(whole[i].dead, resumed[i].dead);
        sae_free(b[i]);
    }
    /* Another run's checkpoint, and a damaged one, are refused. */
    o[0].lr = 1e-3;
    struct stream_source other = new_source();
    assert_int_equal(train_run(o, 2, &other.source, &m.monitor, b, resumed, &err), STATUS_REFUSED);
    o[0].lr = 3e-3;
    char *path = test_path("training.checkpoint");
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, -1000, SEEK_END), 0);
    assert_int_equal(fputc(fgetc(file) ^ 1, file) == EOF, 0);
    fclose(file);
    assert_int_equal(train_run(o, 2, &other.source, &m.monitor, b, resumed, &err), STATUS_REFUSED);
    assert_int_equal(truncate(path, 2000), 0);
    assert_int_equal(train_run(o, 2, &other.source, &m.monitor, b, resumed, &err), STATUS_REFUSED);
    assert_int_equal(unlink(path), 0);
    free(path);
    sae_free(a[0]);
    sae_free(a[1]);
}

/* Σ‖x−x̂‖², Σ‖x−x̄‖² and active pairs over the held-out rows, in double and by definition. */
static void check_held_out(const struct sae *sae, const struct train_result *result)
{
    enum { N = 600 };
    double mean[RUN_D] = {0}, variance = 0, error = 0;
    size_t active = 0;
    float x[RUN_D];
    for (uint64_t r = 0; r < N; r++) {
        stream_row(1000000 + r, x);
        for (int i = 0; i < RUN_D; i++)
            mean[i] += x[i] / (double)N;
    }
    for (uint64_t r = 0; r < N; r++) {
        double x_hat[RUN_D];
        stream_row(1000000 + r, x);
        for (int i = 0; i < RUN_D; i++)
            x_hat[i] = sae->b_dec[i];
        for (size_t latent = 0; latent < sae->d_sae; latent++) {
            const float *enc = sae_encoder_row(sae, latent), *dec = sae_decoder_row(sae, latent);
            double p = 0;
            for (int i = 0; i < RUN_D; i++)
                p += (double)enc[i] * ((double)x[i] - (double)sae->b_dec[i]);
            if (p <= sae->threshold[latent])
                continue;
            active++;
            for (int i = 0; i < RUN_D; i++)
                x_hat[i] += p * dec[i];
        }
        for (int i = 0; i < RUN_D; i++) {
            error += (x[i] - x_hat[i]) * (x[i] - x_hat[i]);
            variance += (x[i] - mean[i]) * (x[i] - mean[i]);
        }
    }
    assert_true(fabs(result->l0 - (double)active / N) < 0.01);
    assert_true(fabs(result->explained_variance - (1 - error / variance)) < 1e-3);
}

static void folds_the_scale(void **state)
{
    (void)state;
    struct train_options o[2];
    struct train_result result;
    struct sae *sae;
    struct error err;
    run_options(o, TRAIN_NORMALIZE_AVERAGE);
    o[0].steps = 1500;
    struct stream_source source = new_source();
    struct test_monitor m = new_monitor(NULL, 0, MONITOR_GO_ON);
    assert_ok(train_run(o, 1, &source.source, &m.monitor, &sae, &result, &err));
    for (size_t i = 0; i < sae->d_sae; i++) {
        assert_true(fabs(sqrt(vec_norm2(sae_decoder_row(sae, i), RUN_D)) - 1) < 1e-5);
        assert_true(sae->threshold[i] == sae->threshold[0] && sae->threshold[i] > 0);
    }
    assert_int_equal(sae->k, o[0].k);
    check_held_out(sae, &result);
    print_message("# held out: l0 %.2f, explained variance %.3f; on batches %.3f\n", result.l0,
                  result.explained_variance, m.explained_variance);
    /* The threshold lets through about k, and the batches' number is that of held-out rows, nearly. */
    assert_true(fabs(result.l0 - (double)o[0].k) < 0.4);
    assert_true(result.explained_variance > 0.75);
    assert_true(fabs(result.explained_variance - m.explained_variance) < 0.05);
    sae_free(sae);
}

static void trains_normalized_rows(void **state)
{
    (void)state;
    struct train_options o[2];
    struct train_result result[2];
    struct sae *saes[2];
    struct error err;
    run_options(o, TRAIN_NORMALIZE_LAYER_NORM);
    o[0].steps = o[1].steps = 300;
    struct stream_source source = new_source();
    assert_ok(train_run(o, 2, &source.source, NULL, saes, result, &err));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(saes[i]->normalization, NORMALIZE_LAYER_NORM);
        assert_true(result[i].explained_variance > 0.7 && result[i].explained_variance < 1);
        sae_free(saes[i]);
    }
    assert_true(result[1].l0 <= 4);
}

static void stops_and_refuses(void **state)
{
    (void)state;
    struct train_options o[2];
    struct train_result result[2];
    struct sae *saes[2];
    struct error err;
    struct stream_source source = new_source();
    run_options(o, TRAIN_NORMALIZE_AVERAGE);
    struct test_monitor m = new_monitor(NULL, 3, MONITOR_CANCEL);
    assert_int_equal(train_run(o, 2, &source.source, &m.monitor, saes, result, &err), STATUS_FAILED);
    assert_string_equal(err.message, "cancelled");
    assert_int_equal(m.step, 3);
    o[1].batch = 32;
    assert_int_equal(train_run(o, 2, &source.source, NULL, saes, result, &err), STATUS_USAGE);
    o[1].architecture = &architecture_jumprelu;
    assert_int_equal(train_options_check(&o[1], RUN_D, &err), STATUS_USAGE);
    o[0].k = o[0].width + 1;
    assert_int_equal(train_options_check(&o[0], RUN_D, &err), STATUS_USAGE);
    run_options(o, TRAIN_NORMALIZE_NONE);
    o[0].lr = NAN;
    assert_int_equal(train_options_check(&o[0], RUN_D, &err), STATUS_USAGE);
    /* A row that is not finite. */
    struct trainer *t;
    float x[RUN_BATCH * RUN_D];
    double loss;
    o[0].lr = 1e-3;
    assert_ok(stream_next(&source.source, x, RUN_BATCH, &err));
    assert_ok(trainer_new(&o[0], RUN_D, NULL, &t, &err));
    assert_ok(trainer_step(t, x, &loss, &err));
    x[100] = INFINITY;
    assert_int_equal(trainer_step(t, x, &loss, &err), STATUS_FAILED);
    assert_says("diverged");
    trainer_free(t);
}

/* Cancelled at any place of a step, also where dead latents learn, a run ends; its last checkpoint is as good
 * as it was. */
static void is_cancelled_within_a_step(void **state)
{
    (void)state;
    struct train_options o[2];
    struct train_result whole[2], resumed[2];
    struct sae *a[2], *b[2];
    struct error err;
    run_options(o, TRAIN_NORMALIZE_NONE);
    o[0].steps = o[1].steps = 30;
    o[0].dead_after = o[1].dead_after = 1;
    struct stream_source source = new_source();
    assert_ok(train_run(o, 2, &source.source, NULL, a, whole, &err));
    struct test_monitor m = new_monitor(test_directory, 10, MONITOR_CHECKPOINT);
    source = new_source();
    assert_int_equal(train_run(o, 2, &source.source, &m.monitor, b, resumed, &err), STATUS_CHECKPOINTED);
    m = new_monitor(test_directory, 0, MONITOR_GO_ON);
    m.monitor.cancelled = cancelled_later;
    int looks = 0, within = 0;
    for (m.step = 10; m.step < 12; looks++) {
        uint64_t before = m.step = 10;
        looks_before_cancel = looks;
        source = new_source();
        assert_int_equal(train_run(o, 2, &source.source, &m.monitor, b, resumed, &err), STATUS_FAILED);
        assert_string_equal(err.message, "cancelled");
        within += m.step == before;
    }
    assert_true(within > 10);
    looks_before_cancel = INT_MAX;
    source = new_source();
    assert_ok(train_run(o, 2, &source.source, &m.monitor, b, resumed, &err));
    for (int i = 0; i < 2; i++) {
        check_same(a[i], b[i]);
        assert_true(whole[i].loss == resumed[i].loss);
        assert_true(whole[i].dead > 0);
        sae_free(a[i]);
        sae_free(b[i]);
    }
    char *path = test_path("training.checkpoint");
    assert_int_equal(unlink(path), 0);
    free(path);
}

/* The default start: unit rows, the encoder the same, b_dec 0; another seed another start. */
static void starts_as_documented(void **state)
{
    (void)state;
    struct train_options o;
    struct trainer *a, *b;
    struct error err;
    train_options_default(&o);
    assert_string_equal(o.architecture->name, "batchtopk");
    assert_true(o.lr == 3e-4 && o.beta1 == 0.9 && o.beta2 == 0.99 && o.aux_coefficient == 1.0 / 32);
    assert_true(o.batch == 4096 && o.aux_k == 512 && o.dead_after == 5);
    o.width = 40;
    o.k = 2;
    assert_ok(trainer_new(&o, 24, NULL, &a, &err));
    o.seed = 1;
    assert_ok(trainer_new(&o, 24, NULL, &b, &err));
    for (size_t i = 0; i < 40; i++)
        assert_true(fabs(vec_norm2(a->sae->owned_W_dec + i * 24, 24) - 1) < 1e-5);
    assert_memory_equal(a->sae->owned_W_dec, a->sae->owned_W_enc, 40 * 24 * sizeof(float));
    assert_memory_not_equal(a->sae->owned_W_dec, b->sae->owned_W_dec, 40 * 24 * sizeof(float));
    assert_true(vec_norm2(a->sae->b_dec, 24) == 0);
    assert_null(a->sae->b_enc);
    trainer_free(a);
    trainer_free(b);
}

/* A frozen decoder stays bit for bit while the encoder learns; what is learnt is the encoder's alone. */
static void a_frozen_decoder_stays(void **state)
{
    (void)state;
    struct train_options o;
    struct trainer *t;
    struct error err;
    double first = 0, loss = 0;
    float *x = xmalloc(GOLDEN_BATCH * GOLDEN_D_IN * sizeof *x);
    const size_t bytes = GOLDEN_D_IN * GOLDEN_D_SAE * sizeof(float);
    struct sae *start = golden_start(GOLDEN_SEED);
    start->b_dec[1] = 0.25F;
    golden_options(&o);
    o.frozen_decoder = 1;
    assert_ok(trainer_new(&o, GOLDEN_D_IN, start, &t, &err));
    for (uint64_t step = 0; step < GOLDEN_STEPS; step++) {
        golden_batch(GOLDEN_SEED, 0, x);
        assert_ok(trainer_step(t, x, &loss, &err));
        first = step == 0 ? loss : first;
    }
    assert_memory_equal(trainer_sae(t)->owned_W_dec, start->owned_W_dec, bytes);
    assert_memory_equal(trainer_sae(t)->b_dec, start->b_dec, GOLDEN_D_IN * sizeof(float));
    assert_true(memcmp(trainer_sae(t)->owned_W_enc, start->owned_W_enc, bytes) != 0);
    assert_true(loss < 0.9 * first);
    assert_true(trainer_threshold(t) > 0);
    trainer_free(t);
    sae_free(start);
    free(x);
}

/* What a manifest says of a training is enough to train alike. */
static void options_come_back_from_json(void **state)
{
    (void)state;
    struct train_options o, back;
    struct error err;
    golden_options(&o);
    o.architecture = &architecture_topk;
    o.lr = 0.0123;
    o.beta1 = 0.8;
    o.beta2 = 0.95;
    o.epsilon = 1e-7;
    o.warmup = 17;
    o.decay = 0.25;
    o.aux_coefficient = 0.125;
    o.clip = 3;
    o.normalization = TRAIN_NORMALIZE_LAYER_NORM;
    o.seed = 99;
    json *j = train_options_json(&o);
    train_options_default(&back);
    assert_ok(train_options_read(j, &back, &err));
    json *again = train_options_json(&back);
    struct strbuf a = STRBUF_INIT, b = STRBUF_INIT;
    json_dump(j, &a);
    json_dump(again, &b);
    assert_string_equal(strbuf_string(&a), strbuf_string(&b));
    assert_true(back.architecture == &architecture_topk && back.seed == 99 && back.warmup == 17);
    json_set(j, "architecture", json_new_string("nonsense"));
    assert_int_equal(train_options_read(j, &back, &err), STATUS_REFUSED);
    strbuf_free(&a);
    strbuf_free(&b);
    json_free(j);
    json_free(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_reference),       cmocka_unit_test(clips),
        cmocka_unit_test(selects_with_ties),           cmocka_unit_test(resumes_bit_for_bit),
        cmocka_unit_test(is_cancelled_within_a_step),  cmocka_unit_test(folds_the_scale),
        cmocka_unit_test(trains_normalized_rows),      cmocka_unit_test(stops_and_refuses),
        cmocka_unit_test(starts_as_documented),        cmocka_unit_test(a_frozen_decoder_stays),
        cmocka_unit_test(options_come_back_from_json),
    };
    blas_start();
    return cmocka_run_group_tests_name("train", tests, set_up_threads, tear_down_threads);
}
