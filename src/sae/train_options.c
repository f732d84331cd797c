/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Hyperparameters: defaults, checks, JSON. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/sae/architectures.h"
#include "saescope/sae/train.h"

static const char *const normalization_names[] = {
    [TRAIN_NORMALIZE_NONE] = "none",
    [TRAIN_NORMALIZE_AVERAGE] = "average",
    [TRAIN_NORMALIZE_LAYER_NORM] = "layer_norm",
};

const char *train_normalization_name(enum training_normalization n)
{
    return normalization_names[n];
}

int train_normalization_find(const char *name, enum training_normalization *out, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LENGTH(normalization_names); i++) {
        if (strcmp(name, normalization_names[i]) == 0) {
            *out = (enum training_normalization)i;
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_USAGE, "--normalize is none, average or layer_norm");
}

/* The BatchTopK paper's settings (Bussmann et al. 2024). */
void train_options_default(struct train_options *o)
{
    *o = (struct train_options){
        .architecture = &architecture_batchtopk,
        .width = 4096,
        .k = 32,
        .lr = 3e-4,
        .beta1 = 0.9,
        .beta2 = 0.99,
        .epsilon = 1e-8,
        .batch = 4096,
        .steps = 1000,
        .aux_k = 512,
        .aux_coefficient = 1.0 / 32,
        .dead_after = 5,
        .normalization = TRAIN_NORMALIZE_AVERAGE,
    };
}

json *train_options_json(const struct train_options *o)
{
    json *j = json_new_object();
    json_set(j, "architecture", json_new_string(o->architecture->name));
    json_set(j, "width", json_new_integer((long long)o->width));
    json_set(j, "k", json_new_integer((long long)o->k));
    json_set(j, "lr", json_new_real(o->lr));
    json_set(j, "beta1", json_new_real(o->beta1));
    json_set(j, "beta2", json_new_real(o->beta2));
    json_set(j, "epsilon", json_new_real(o->epsilon));
    json_set(j, "batch", json_new_integer((long long)o->batch));
    json_set(j, "steps", json_new_integer((long long)o->steps));
    json_set(j, "warmup", json_new_integer((long long)o->warmup));
    json_set(j, "decay", json_new_real(o->decay));
    json_set(j, "aux_k", json_new_integer((long long)o->aux_k));
    json_set(j, "aux_coefficient", json_new_real(o->aux_coefficient));
    json_set(j, "dead_after", json_new_integer((long long)o->dead_after));
    json_set(j, "clip", json_new_real(o->clip));
    json_set(j, "normalization", json_new_string(train_normalization_name(o->normalization)));
    json_set(j, "seed", json_new_integer((long long)o->seed));
    if (o->frozen_decoder)
        json_set(j, "frozen_decoder", json_new_boolean(1));
    return j;
}

static uint64_t count_member(const json *training, const char *key, uint64_t fallback)
{
    long long n = json_get_integer(training, key, -1);
    return n >= 0 ? (uint64_t)n : fallback;
}

int train_options_read(const json *training, struct train_options *o, struct error *err)
{
    const char *architecture = json_get_string(training, "architecture", NULL);
    const char *normalization = json_get_string(training, "normalization", NULL);
    if (architecture && !(o->architecture = sae_architecture_find(architecture, err)))
        return STATUS_REFUSED;
    if (normalization && train_normalization_find(normalization, &o->normalization, err))
        return STATUS_REFUSED;
    o->width = (size_t)count_member(training, "width", o->width);
    o->k = (size_t)count_member(training, "k", o->k);
    o->lr = json_get_number(training, "lr", o->lr);
    o->beta1 = json_get_number(training, "beta1", o->beta1);
    o->beta2 = json_get_number(training, "beta2", o->beta2);
    o->epsilon = json_get_number(training, "epsilon", o->epsilon);
    o->batch = (size_t)count_member(training, "batch", o->batch);
    o->steps = count_member(training, "steps", o->steps);
    o->warmup = count_member(training, "warmup", o->warmup);
    o->decay = json_get_number(training, "decay", o->decay);
    o->aux_k = (size_t)count_member(training, "aux_k", o->aux_k);
    o->aux_coefficient = json_get_number(training, "aux_coefficient", o->aux_coefficient);
    o->dead_after = count_member(training, "dead_after", o->dead_after);
    o->clip = json_get_number(training, "clip", o->clip);
    o->seed = count_member(training, "seed", o->seed);
    o->frozen_decoder = json_get_boolean(training, "frozen_decoder", 0);
    return STATUS_OK;
}

static int in_range(double x, double low, double high)
{
    return isfinite(x) && x >= low && x <= high;
}

int train_options_check(const struct train_options *o, size_t d_in, struct error *err)
{
    size_t elements;
    if (!o->architecture->trains)
        return error_set(err, STATUS_USAGE, "training of %s SAEs is not supported: use batchtopk or topk",
                         o->architecture->name);
    if (o->width == 0 || o->width > INT32_MAX || d_in == 0 || size_multiply(o->width * 4, d_in, &elements))
        return error_set(err, STATUS_USAGE, "a width of %zu cannot be trained", o->width);
    if (o->k == 0 || o->k > o->width)
        return error_set(err, STATUS_USAGE, "k is %zu, but must lie between 1 and the width, %zu", o->k,
                         o->width);
    if (o->batch == 0 || o->batch > INT32_MAX || size_multiply(o->batch * 4, d_in, &elements))
        return error_set(err, STATUS_USAGE, "a batch of %zu rows cannot be", o->batch);
    if (o->steps == 0)
        return error_set(err, STATUS_USAGE, "there are no steps to train");
    if (!in_range(o->lr, 0, 1e3) || !in_range(o->beta1, 0, 0.9999999) || !in_range(o->beta2, 0, 0.9999999) ||
        !in_range(o->epsilon, 1e-30, 1))
        return error_set(err, STATUS_USAGE, "the learning rate or Adam's constants are out of range");
    if (!in_range(o->decay, 0, 1) || !in_range(o->aux_coefficient, 0, 1e6) || !in_range(o->clip, 0, 1e30))
        return error_set(err, STATUS_USAGE, "decay, auxiliary coefficient or clip is out of range");
    if (o->dead_after == 0)
        return error_set(err, STATUS_USAGE, "a latent is dead after at least 1 silent batch");
    return STATUS_OK;
}
