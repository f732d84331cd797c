/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Meta-SAEs for the screens: one on two SAEs, one on one of these, and one on that meta-SAE. All rows are
 * unit vectors and mixtures 0.6, 0.8 of two (set_row) of the same directions, encoders are decoders and every
 * bias is -0.1, so that the activation on a row is the product of the rows less 0.1: on itself 0.9, of a
 * mixture on its parts 0.5 and 0.7.
 */
#ifndef SAESCOPE_TESTS_META_STORE_H
#define SAESCOPE_TESTS_META_STORE_H

#include "latent_store.h"

#define META_HOOK "blocks.3.hook_resid_pre" /* of their own, so that they are no relatives of the others */
#define META_STEP 5

static void put_meta_labels(struct store *s, artifact_id sae, const char *const *texts, size_t n)
{
    struct label labels[8];
    assert_true(n <= ARRAY_LENGTH(labels));
    for (size_t i = 0; i < n; i++)
        labels[i] = (struct label){i, LABEL_AUTO, texts[i], strlen(texts[i])};
    made_ok(store_put_labels(s, sae, labels, n, &made), "labels");
}

static artifact_id make_meta_base(struct store *s, const char *name, size_t n, size_t mixtures_from,
                                  artifact_id model)
{
    return make_sae(s, name, n, META_STEP, mixtures_from, -1,
                    object("{\"kind\":\"sae\",\"hook\":\"" META_HOOK
                           "\",\"center_activations\":false,\"context_size\":32,"
                           "\"prepend_bos\":true,\"source\":\"test\",\"references\":{\"model\":%llu}}",
                           model, 0, 0));
}

/* On one SAE, or on two. */
static artifact_id make_meta(struct store *s, const char *name, size_t n, size_t mixtures_from,
                             artifact_id base, artifact_id base2)
{
    static const char of_one[] =
        "{\"kind\":\"meta\",\"hook\":null,\"source\":\"test\",\"references\":{\"base\":%llu}}",
                      of_two[] = "{\"kind\":\"meta\",\"hook\":null,\"source\":\"test\","
                                 "\"references\":{\"base\":%llu,\"base2\":%llu}}";
    artifact_id id = make_sae(s, name, n, META_STEP, mixtures_from, -0.1f,
                              object(base2 ? of_two : of_one, base, base2, 0));
    made_ok(index_meta_run(s, id, NULL, &made), name);
    return id;
}

static void meta_store_make(const char *path)
{
    static const char *const of_left[] = {"physics", "chemistry",          "Germany",         "France",
                                          "plants",  "physical chemistry", "German chemists", "Alsace"};
    static const char *const of_right[] = {"science of matter", "substances", "Central Europe",
                                           "chemist, chemists"};
    static const char *const of_meta[] = {"physics", "chemistry", "Germany", "physics and chemistry"};
    struct store_options options = {.path = path};
    struct store *s;
    struct store_txn *t;
    struct artifact model;
    made_ok(store_open(&options, &s, &made), path);
    made_ok(store_begin(s, &t, &made), path);
    made_ok(store_find(t, ARTIFACT_MODEL, "lm", &model, &made), "lm");
    store_end(t);
    artifact_id left = make_meta_base(s, "left", 8, 5, model.id),
                right = make_meta_base(s, "right", 6, 3, model.id);
    put_meta_labels(s, left, of_left, ARRAY_LENGTH(of_left));
    put_meta_labels(s, right, of_right, ARRAY_LENGTH(of_right));
    artifact_id meta = make_meta(s, "left-meta", 5, 3, left, 0);
    artifact_id top = make_meta(s, "left-meta-meta", 3, 3, meta, 0);
    artifact_id joint = make_meta(s, "both-meta", 4, 4, left, right);
    put_meta_labels(s, meta, of_meta, ARRAY_LENGTH(of_meta));
    put_meta_labels(s, top, of_meta, 2);
    put_meta_labels(s, joint, of_meta, 3);
    store_close(s);
}

#endif
