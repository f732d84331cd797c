/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A store with a stitch that was never computed: its columns are written down as the header of a stitch documents them. The
 * SAEs are manifests alone. 12 latents on the small side, 40 on the large one; 30 inserts, 5 swaps, 2 removes.
 */
#ifndef SAESCOPE_TESTS_STITCH_STORE_H
#define SAESCOPE_TESTS_STITCH_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/stitch.h"
#include "saescope/base/json.h"
#include "saescope/base/memory.h"

#define STITCH_SMALL  12
#define STITCH_LARGE  40
#define STITCH_STEPS  37
#define STITCH_TOKENS 1000
#define STITCH_D_IN   8
#define STITCH_SPLIT  0.75 /* latents from FIRST_PARTNER on are over it */
#define FIRST_PARTNER 30

struct made_stitch {
    uint32_t fired[STITCH_LARGE], nearest[STITCH_LARGE], large_step[STITCH_LARGE], small_step[STITCH_SMALL];
    float max_cosine[STITCH_LARGE];
    double delta[STITCH_LARGE];
    uint8_t classes[STITCH_LARGE], kinds[STITCH_STEPS + 1];
    double l0[STITCH_STEPS + 1], mse[STITCH_STEPS + 1], ev[STITCH_STEPS + 1], ce[STITCH_STEPS + 1];
};

static struct error stitch_error;

static void stitch_ok(int status, const char *what)
{
    if (status != STATUS_OK)
        fail_msg("%s: %s", what, stitch_error.message);
}

/* Cosines rise evenly; the lower half is novel, but for every ninth latent; every tenth fires too rarely. */
static void fill_latents(struct made_stitch *m)
{
    for (uint32_t i = 0; i < STITCH_LARGE; i++) {
        m->max_cosine[i] = 0.05f + 0.0235f * (float)i;
        m->nearest[i] = i % STITCH_SMALL;
        m->fired[i] = i % 10 == 7 ? 5 + i / 10 : 20 + 37 * i;
        int novel = (i < 24) != (i % 9 == 4);
        m->delta[i] = novel ? -(double)((40 - i) * (40 - i)) / 16 : (double)(i * i) / 64 + 0.25;
        m->classes[i] = m->fired[i] < STITCH_FIRED_MIN ? LATENT_UNDECIDED
                        : novel                        ? LATENT_NOVEL
                                                       : LATENT_RECONSTRUCTION;
    }
}

/* Inserts in ascending Δ, then the partners of two neighbouring small latents at a time, then small latents 4 and 5. */
static void fill_steps(struct made_stitch *m)
{
    for (uint32_t i = 0; i < FIRST_PARTNER; i++) {
        m->large_step[i] = 1;
        for (uint32_t j = 0; j < FIRST_PARTNER; j++)
            m->large_step[i] += m->delta[j] < m->delta[i] || (!(m->delta[i] < m->delta[j]) && j < i);
    }
    for (uint32_t i = FIRST_PARTNER; i < STITCH_LARGE; i++) {
        m->large_step[i] = 31 + (i - FIRST_PARTNER) / 2;
        m->small_step[m->nearest[i]] = m->large_step[i];
    }
    m->small_step[4] = 36;
    m->small_step[5] = 37;
}

static void fill_path(struct made_stitch *m)
{
    for (uint32_t k = 0; k <= STITCH_STEPS; k++) {
        uint32_t inserts = k < 30 ? k : 30, later = k - inserts;
        m->kinds[k] = k == 0 ? STEP_START : k <= 30 ? STEP_INSERT : k <= 35 ? STEP_SWAP : STEP_REMOVE;
        m->l0[k] = 10 + 0.375 * inserts - 0.875 * later;
        m->ev[k] = 0.625 + 0.25 * inserts / (inserts + 10.0) - (later > 5 ? 0.03125 * (later - 5) : 0);
        m->mse[k] = (1 - m->ev[k]) / 16;
        m->ce[k] = k % 9 == 0 || k == STITCH_STEPS ? 5 - 2 * m->ev[k] : NAN;
    }
}

static void made_stitch_fill(struct made_stitch *m)
{
    memset(m, 0, sizeof *m);
    fill_latents(m);
    fill_steps(m);
    fill_path(m);
}

static artifact_id publish_text(struct store *s, enum artifact_kind kind, const char *name, char *manifest)
{
    artifact_id id;
    json *m = json_parse(manifest, strlen(manifest), name, &stitch_error);
    assert_non_null(m);
    free(manifest);
    stitch_ok(store_create(s, kind, name, 0, &id, &stitch_error), name);
    stitch_ok(store_publish(s, id, m, &stitch_error), name);
    return id;
}

/* l0 0: not trained here. */
static artifact_id publish_sae(struct store *s, const char *name, size_t d_sae, artifact_id model, double l0, double ev)
{
    char *training = l0 > 0 ? xasprintf("\"training\":{\"l0\":%g,\"explained_variance\":%g},", l0, ev) : xstrdup("");
    artifact_id id = publish_text(
        s, ARTIFACT_SAE, name,
        xasprintf("{\"kind\":\"sae\",\"architecture\":\"jumprelu\",\"d_in\":%d,\"d_sae\":%zu,%s"
                  "\"hook\":\"blocks.1.hook_resid_pre\",\"references\":{\"model\":%llu}}",
                  STITCH_D_IN, d_sae, training, (unsigned long long)model));
    free(training);
    return id;
}

/* An SAE that `stitch st --step` saved. */
static void publish_step(struct store *s, const char *name, artifact_id model, int step)
{
    publish_text(s, ARTIFACT_SAE, name,
                 xasprintf("{\"kind\":\"sae\",\"architecture\":\"jumprelu\",\"d_in\":%d,\"d_sae\":44,"
                           "\"hook\":\"blocks.1.hook_resid_pre\",\"source\":{\"stitch\":\"st\",\"step\":%d},"
                           "\"references\":{\"model\":%llu}}",
                           STITCH_D_IN, step, (unsigned long long)model));
}

static void put_stitch_column(struct store *s, artifact_id id, const char *name, enum dtype dtype, size_t n,
                              const void *values)
{
    struct tensor x = {.dtype = dtype, .ndim = 1, .shape = {n}, .data = values};
    stitch_ok(store_tensor_put(s, id, name, &x, &stitch_error), name);
}

static artifact_id publish_stitch(struct store *s, const struct made_stitch *m, artifact_id small, artifact_id large,
                                  artifact_id text)
{
    artifact_id id;
    stitch_ok(store_create(s, ARTIFACT_STITCH, "st", 0, &id, &stitch_error), "st");
    put_stitch_column(s, id, "fired", DTYPE_U32, STITCH_LARGE, m->fired);
    put_stitch_column(s, id, "max_cosine", DTYPE_F32, STITCH_LARGE, m->max_cosine);
    put_stitch_column(s, id, "nearest", DTYPE_U32, STITCH_LARGE, m->nearest);
    put_stitch_column(s, id, "delta", DTYPE_F64, STITCH_LARGE, m->delta);
    put_stitch_column(s, id, "class", DTYPE_U8, STITCH_LARGE, m->classes);
    put_stitch_column(s, id, "large_step", DTYPE_U32, STITCH_LARGE, m->large_step);
    put_stitch_column(s, id, "small_step", DTYPE_U32, STITCH_SMALL, m->small_step);
    put_stitch_column(s, id, "step_kind", DTYPE_U8, STITCH_STEPS + 1, m->kinds);
    put_stitch_column(s, id, "step_l0", DTYPE_F64, STITCH_STEPS + 1, m->l0);
    put_stitch_column(s, id, "step_mse", DTYPE_F64, STITCH_STEPS + 1, m->mse);
    put_stitch_column(s, id, "step_ev", DTYPE_F64, STITCH_STEPS + 1, m->ev);
    put_stitch_column(s, id, "step_ce", DTYPE_F64, STITCH_STEPS + 1, m->ce);
    char *manifest = xasprintf(
        "{\"tokens\":%d,\"d_in\":%d,\"n_small\":%d,\"n_large\":%d,\"n_steps\":%d,"
        "\"novel_fraction\":0.5,\"ci\":[0.375,0.625],\"thresholds\":{\"small\":null,\"large\":null},"
        "\"options\":{\"threshold\":%g,\"decoder_bias\":\"small\",\"order\":\"helpful\"},"
        "\"references\":{\"small\":%llu,\"large\":%llu,\"text\":%llu}}",
        STITCH_TOKENS, STITCH_D_IN, STITCH_SMALL, STITCH_LARGE, STITCH_STEPS, STITCH_SPLIT, (unsigned long long)small,
        (unsigned long long)large, (unsigned long long)text);
    json *parsed = json_parse(manifest, strlen(manifest), "st", &stitch_error);
    assert_non_null(parsed);
    free(manifest);
    stitch_ok(store_publish(s, id, parsed, &stitch_error), "st");
    return id;
}

/* An `evaluate` that is done, as its job is kept. */
static void put_evaluation(struct store *s, artifact_id sae, const char *text, double l0, double ev)
{
    uint64_t job;
    char *record = xasprintf("{\"kind\":\"evaluate\",\"title\":\"evaluate\",\"makes\":[],\"state\":\"done\",\"result\":{"
                             "\"sae_id\":%llu,\"text\":\"%s\",\"metrics\":{\"sparsity\":{\"l0\":%g},"
                             "\"reconstruction_quality\":{\"explained_variance\":%g}}}}",
                             (unsigned long long)sae, text, l0, ev);
    json *parsed = json_parse(record, strlen(record), "record", &stitch_error);
    assert_non_null(parsed);
    free(record);
    stitch_ok(store_job_create(s, parsed, &job, &stitch_error), "evaluation");
}

static void put_stitch_labels(struct store *s, artifact_id small, artifact_id large)
{
    static char texts[STITCH_LARGE][40];
    struct label labels[STITCH_LARGE];
    for (size_t i = 0; i < STITCH_LARGE; i++) {
        snprintf(texts[i], sizeof texts[i], i == 8 ? "\033[31mred\xe2\x80\xae" : i % 5 == 3 ? "physics %zu" : "label of %zu", i);
        labels[i] = (struct label){i, LABEL_AUTO, texts[i], strlen(texts[i])};
    }
    stitch_ok(store_put_labels(s, large, labels, STITCH_LARGE - 1, &stitch_error), "labels"); /* the last has none */
    stitch_ok(store_put_labels(s, small, labels, STITCH_SMALL, &stitch_error), "labels");
}

/* Model lm, text words, SAEs tiny-12, tiny-40, tiny-24 (evaluated on words), other (not measured), stitch st, and st-33, which
 * was saved from it. */
static artifact_id stitch_store_fill(struct store *s, struct made_stitch *m)
{
    artifact_id model = publish_text(
        s, ARTIFACT_MODEL, "lm", xstrdup("{\"kind\":\"model\",\"family\":\"gpt2\",\"layers\":2,\"d_model\":8}"));
    artifact_id text = publish_text(s, ARTIFACT_TEXT, "words",
                                    xasprintf("{\"kind\":\"text\",\"tokens\":5000,\"references\":{\"model\":%llu}}",
                                              (unsigned long long)model));
    artifact_id small = publish_sae(s, "tiny-12", STITCH_SMALL, model, 10.5, 0.625),
                large = publish_sae(s, "tiny-40", STITCH_LARGE, model, 15.125, 0.75),
                middle = publish_sae(s, "tiny-24", 24, model, 1, 0.5);
    publish_sae(s, "other", 64, model, 0, 0);
    put_evaluation(s, middle, "words", 17.5, 0.8125);
    put_evaluation(s, middle, "elsewhere", 3, 0.25);
    put_stitch_labels(s, small, large);
    made_stitch_fill(m);
    publish_step(s, "before", model, 5); /* of an earlier stitch of that name */
    artifact_id id = publish_stitch(s, m, small, large, text);
    publish_step(s, "st-33", model, 33);
    return id;
}

static inline void stitch_store_make(const char *path, struct made_stitch *m)
{
    struct store_options options = {.path = path, .create = 1};
    struct store *s;
    stitch_ok(store_open(&options, &s, &stitch_error), path);
    stitch_store_fill(s, m);
    store_close(s);
}

#endif
