/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A whole training run: scale, steps, checkpoints, folding, held-out numbers. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/sae/trainer.h"

enum { SCALE_BATCHES = 16, CHECKPOINT_SECONDS = 180, ROW_BLOCK = 128 };

struct run_state {
    struct training_run run;
    struct batch_source *source;
    struct monitor *monitor;
    const struct train_options *o;   /* the first SAE's: what is common is there */
    float *x;                        /* [batch, d] */
    double rate, explained_variance; /* moving averages */
    double last_checkpoint;
};

/* STATUS_OK, STATUS_CHECKPOINTED or cancelled. */
static int ask(struct run_state *s, struct error *err)
{
    switch (monitor_ask(s->monitor)) {
    case MONITOR_CHECKPOINT:
        return STATUS_CHECKPOINTED;
    case MONITOR_CANCEL:
        return error_set(err, STATUS_FAILED, "cancelled");
    case MONITOR_GO_ON:
        break;
    }
    return STATUS_OK;
}

/* s = √d / mean ‖x‖ over the first batches. */
static int measure_scale(struct run_state *s, struct error *err)
{
    size_t d = s->source->d_in, batch = s->o->batch;
    uint64_t n = s->o->steps < SCALE_BATCHES ? s->o->steps : SCALE_BATCHES;
    double sum = 0;
    for (uint64_t b = 0; b < n; b++) {
        monitor_step(s->monitor, "measuring", 0, 0);
        int status = ask(s, err);
        if (!status)
            status = s->source->next(s->source, s->x, batch, err);
        if (status)
            return status;
        for (size_t r = 0; r < batch; r++) {
            double squares = 0;
            for (size_t i = 0; i < d; i++)
                squares += (double)s->x[r * d + i] * s->x[r * d + i];
            sum += sqrt(squares);
        }
    }
    double mean = sum / ((double)n * (double)batch);
    if (!isfinite(mean) || mean <= 0)
        return error_set(err, STATUS_FAILED, "the rows to train on have a mean norm of %g", mean);
    s->run.scale = sqrt((double)d) / mean;
    return s->source->seek(s->source, 0, err);
}

/* Rows to training units. */
static void scale_block(size_t block, size_t worker, void *arg)
{
    (void)worker;
    const struct run_state *s = arg;
    size_t d = s->source->d_in, first = block * ROW_BLOCK;
    size_t last = first + ROW_BLOCK < s->o->batch ? first + ROW_BLOCK : s->o->batch;
    const float scale = (float)s->run.scale;
    for (size_t i = first * d; i < last * d; i++)
        s->x[i] *= scale;
}

static void to_training_units(struct run_state *s, const struct sae *layer_norm)
{
    if (layer_norm)
        sae_encoder_input(layer_norm, s->x, s->o->batch, s->x);
    else if (s->run.scale != 1)
        parallel_for((s->o->batch + ROW_BLOCK - 1) / ROW_BLOCK, scale_block, s);
}

static void report(struct run_state *s)
{
    struct progress p;
    double n = (double)s->run.n, explained_variance = 0;
    progress_init(&p);
    p.phase = "training";
    p.unit = "rows/s";
    p.step = s->run.step;
    p.steps = s->o->steps;
    p.rate = s->rate;
    p.loss = p.l0 = p.dead = 0;
    for (size_t i = 0; i < s->run.n; i++) {
        const struct trainer *t = s->run.trainers[i];
        p.loss += t->loss / n;
        p.l0 += t->l0 / n;
        p.dead += (double)t->dead / (double)t->o.width / n;
        explained_variance += t->explained_variance / n;
    }
    if (isnan(s->explained_variance))
        s->explained_variance = explained_variance;
    else if (isfinite(explained_variance))
        s->explained_variance += 0.05 * (explained_variance - s->explained_variance);
    p.explained_variance = s->explained_variance;
    monitor_report(s->monitor, &p);
}

static int checkpoint(struct run_state *s, struct error *err)
{
    if (!s->monitor || !s->monitor->work_dir)
        return STATUS_OK;
    s->last_checkpoint = clock_seconds();
    return checkpoint_write(&s->run, s->monitor->work_dir, err);
}

static int one_step(struct run_state *s, const struct sae *layer_norm, struct error *err)
{
    double start = clock_seconds();
    int status = s->source->next(s->source, s->x, s->o->batch, err);
    if (status)
        return status;
    to_training_units(s, layer_norm);
    for (size_t i = 0; i < s->run.n && !status; i++) {
        double loss;
        /* Within a step there is nothing to go on from: a checkpoint waits, cancelling does not. */
        parallel_watch(s->monitor);
        status = trainer_step(s->run.trainers[i], s->x, &loss, err);
        parallel_watch(NULL);
    }
    if (status)
        return status;
    s->run.step++;
    double seconds = clock_seconds() - start, rate = (double)s->o->batch / (seconds > 1e-9 ? seconds : 1e-9);
    s->run.seconds += seconds;
    s->rate = isnan(s->rate) ? rate : s->rate + 0.1 * (rate - s->rate);
    report(s);
    return STATUS_OK;
}

/* To the last step; STATUS_CHECKPOINTED when asked to stop on the way. */
static int all_steps(struct run_state *s, const struct sae *layer_norm, struct error *err)
{
    s->last_checkpoint = clock_seconds();
    while (s->run.step < s->o->steps) {
        int status = ask(s, err);
        if (!status)
            status = one_step(s, layer_norm, err);
        if (status == STATUS_CHECKPOINTED) {
            int written = checkpoint(s, err);
            return written ? written : status;
        }
        if (!status && clock_seconds() - s->last_checkpoint > CHECKPOINT_SECONDS)
            status = checkpoint(s, err);
        if (status)
            return status;
    }
    return checkpoint(s, err);
}

/* The hook's units: b_dec and θ over the scale; W_enc and W_dec stay, and activations come out in the model's
 * units. */
static void fold(struct trainer *t, double scale)
{
    struct sae *sae = t->sae;
    trainer_finish(t);
    for (size_t i = 0; i < t->d_in; i++)
        sae->b_dec[i] = (float)(sae->b_dec[i] / scale);
    for (size_t i = 0; sae->threshold && i < t->o.width; i++)
        sae->threshold[i] = (float)(t->theta / scale);
    if (t->o.normalization == TRAIN_NORMALIZE_LAYER_NORM)
        sae->normalization = NORMALIZE_LAYER_NORM;
}

static int conclude(struct run_state *s, struct sae **saes, struct train_result *results, struct error *err)
{
    size_t n = s->run.n;
    struct held_out *held = xcalloc(n, sizeof *held);
    for (size_t i = 0; i < n; i++) {
        fold(s->run.trainers[i], s->run.scale);
        held[i].sae = s->run.trainers[i]->sae;
    }
    int status = held_out_evaluate(held, n, s->source, s->monitor, err);
    for (size_t i = 0; i < n; i++) {
        struct trainer *t = s->run.trainers[i];
        results[i] = (struct train_result){
            .steps = s->run.step,
            .rows = s->run.step * s->o->batch,
            .loss = t->loss,
            .l0 = held[i].l0,
            .explained_variance = held[i].explained_variance,
            .seconds = s->run.seconds,
            .rows_per_second =
                (double)(s->run.step * s->o->batch) / (s->run.seconds > 0 ? s->run.seconds : 1),
        };
        for (size_t j = 0; j < t->o.width; j++)
            results[i].dead += t->silent[j] >= t->o.dead_after && !held[i].fired[j];
        free(held[i].fired);
        saes[i] = NULL;
        if (!status) {
            saes[i] = t->sae;
            t->sae = NULL;
        }
    }
    free(held);
    return status;
}

static int check_common(const struct train_options *o, size_t n, struct error *err)
{
    for (size_t i = 1; i < n; i++)
        if (o[i].batch != o[0].batch || o[i].steps != o[0].steps || o[i].normalization != o[0].normalization)
            return error_set(err, STATUS_USAGE,
                             "SAEs that are trained together share batch, steps and normalisation");
    return n ? STATUS_OK : error_set(err, STATUS_USAGE, "there is no SAE to train");
}

/* Memory, the checkpoint or the scale; then the source stands where the next step begins. */
static int begin(struct run_state *s, const struct train_options *options, struct error *err)
{
    size_t n_values, d = s->source->d_in;
    int found = 0, status = STATUS_OK;
    for (size_t i = 0; i < s->run.n && !status; i++)
        status = trainer_new(&options[i], d, NULL, &s->run.trainers[i], err);
    if (status)
        return status;
    if (size_multiply(s->o->batch, d, &n_values) ||
        !(s->x = array_alloc(n_values, sizeof *s->x, "a training batch", err)))
        return STATUS_FAILED;
    if (s->monitor && s->monitor->work_dir)
        status = checkpoint_read(&s->run, s->monitor->work_dir, &found, err);
    if (status)
        return status;
    if (found)
        return s->source->seek(s->source, s->run.step * s->o->batch, err);
    return s->o->normalization == TRAIN_NORMALIZE_AVERAGE ? measure_scale(s, err) : STATUS_OK;
}

int train_run(const struct train_options *options, size_t n_saes, struct batch_source *source,
              struct monitor *m, struct sae **saes, struct train_result *results, struct error *err)
{
    int status = check_common(options, n_saes, err);
    if (status)
        return status;
    struct run_state s = {
        .run = {.trainers = xcalloc(n_saes, sizeof *s.run.trainers), .n = n_saes, .scale = 1},
        .source = source,
        .monitor = m,
        .o = options,
        .rate = NAN,
        .explained_variance = NAN,
    };
    /* Only its normalisation is used. */
    const struct sae normalizer = {.d_in = source->d_in, .normalization = NORMALIZE_LAYER_NORM};
    status = begin(&s, options, err);
    if (!status)
        status =
            all_steps(&s, options->normalization == TRAIN_NORMALIZE_LAYER_NORM ? &normalizer : NULL, err);
    if (!status)
        status = conclude(&s, saes, results, err);
    for (size_t i = 0; i < n_saes; i++)
        trainer_free(s.run.trainers[i]);
    free(s.run.trainers);
    free(s.x);
    return status;
}
