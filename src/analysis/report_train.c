/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Baselines of a meta-SAE that are trained as it was: an encoder for the nearest latents, and permuted
 * columns. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/activations.h"
#include "saescope/analysis/report_parts.h"
#include "saescope/base/memory.h"
#include "saescope/sae/train.h"

/* The hyperparameters on record; NULL, or why there is nothing to train with. */
static const char *read_training(const struct report_work *w, struct train_options *o)
{
    const struct sae *meta = w->rows.meta;
    train_options_default(o);
    if (!w->training || train_options_read(w->training, o, NULL))
        return "baselines that train are left out: no training of the meta-SAE is on record";
    o->width = meta->d_sae;
    o->steps = w->o->steps ? w->o->steps : o->steps;
    o->frozen_decoder = 0;
    if (meta->b_enc || !meta->apply_b_dec_to_input || o->normalization != TRAIN_NORMALIZE_NONE ||
        train_options_check(o, meta->d_in, NULL))
        return "baselines that train are left out: the meta-SAE is of another form than those that are "
               "trained here";
    return NULL;
}

/* The rows as the meta-SAE saw them in training. */
static int open_source(const struct report_work *w, uint64_t seed, struct batch_source **out,
                       struct error *err)
{
    const struct meta_bases *bases = &w->rows.bases;
    int status = decoder_source_open(w->store, bases->ids, bases->n, w->rows.raw, seed, out, err);
    if (!status && json_get_boolean(w->training, "alive", 0))
        status =
            decoder_source_leave_out(*out, w->store, json_get_number(w->training, "alive_density", 0), err);
    if (!status && !strcmp(json_get_string(w->training, "weight", ""), "frequency"))
        status = decoder_source_weigh(*out, w->store, err);
    return status;
}

/* ---- Nearest latents with an encoder of their own. ---- */

static int fit_encoder(struct report_work *w, struct trainer *t, const struct train_options *o,
                       struct batch_source *source, struct error *err)
{
    float *x = array_alloc(o->batch, w->rows.d_in * sizeof(float), "a training batch", err);
    int status = x ? STATUS_OK : STATUS_FAILED;
    for (uint64_t step = 0; !status && step < o->steps; step++) {
        double loss;
        status = source->next(source, x, o->batch, err);
        if (!status)
            status = trainer_step(t, x, &loss, err);
        if (!status)
            status = monitor_go_on(w->monitor, "fitting encoders", step + 1, o->steps, err);
    }
    free(x);
    return status;
}

static int refit(struct report_work *w, const struct hook_sae *sae, const struct train_options *recorded,
                 struct batch_source *source, struct error *err)
{
    struct train_options o = *recorded;
    struct sae *start = NULL;
    struct trainer *t = NULL;
    double error, terms;
    o.frozen_decoder = 1;
    int status = source->seek(source, 0, err);
    if (!status)
        status = report_nearest_decoder(w, sae->artifact.id, &start, err);
    if (!status)
        status = trainer_new(&o, w->rows.d_in, start, &t, err);
    sae_free(start);
    if (!status)
        status = fit_encoder(w, t, &o, source, err);
    if (!status)
        status = report_measure(w, "fitting encoders", trainer_sae(t), &error, &terms, err);
    if (!status)
        report_add_baseline(w, BASELINE_REFITTED, sae, error, terms);
    trainer_free(t);
    return status;
}

/* ---- Permuted columns. ---- */

/* Over the permuted rows, which have the mean and the variance of the rows themselves. */
static int permuted(struct report_work *w, const struct train_options *o, struct batch_source *source,
                    struct error *err)
{
    struct sae *sae = NULL;
    struct train_result result;
    int status = source->seek(source, 0, err);
    decoder_source_permute(source, o->seed);
    if (!status)
        status = train_run(o, 1, source, w->monitor, &sae, &result, err);
    if (!status)
        report_add_baseline(w, BASELINE_PERMUTED, NULL, (1 - result.explained_variance) * w->total,
                            result.l0 * (double)w->n);
    sae_free(sae);
    return status;
}

int report_trained(struct report_work *w, struct error *err)
{
    struct train_options o;
    struct batch_source *source = NULL;
    w->out->note = read_training(w, &o);
    if (w->out->note)
        return STATUS_OK;
    int status = open_source(w, o.seed, &source, err);
    for (size_t i = 0; !status && i < w->n_saes; i++)
        if (report_is_smaller(w, &w->saes[i]))
            status = refit(w, &w->saes[i], &o, source, err);
    if (!status)
        status = permuted(w, &o, source, err);
    if (source)
        source->close(source);
    return status;
}
