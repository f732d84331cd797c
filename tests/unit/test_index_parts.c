/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What an index is made with: the spool, a latent's statistics, labels. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/auto_label.h"
#include "saescope/analysis/index_select.h"
#include "saescope/analysis/spool.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "tests/support/support.h"

static struct error err;

/* ---- The spool: more triples than its chunks hold, read back in ranges. ---- */
static void test_spool(void **state)
{
    enum { N = 1500000, LATENTS = 700 };
    uint32_t *latents = xreallocarray(NULL, N, sizeof(*latents));
    struct spool *sp;
    struct rng r;

    (void)state;
    assert_ok(spool_open(test_directory, LATENTS, &sp, &err));
    rng_seed(&r, 1, 0);
    for (uint32_t i = 0; i < N; i++) {
        /* Half of them of one latent. */
        latents[i] = i % 2 ? 13 : (uint32_t)rng_below(&r, LATENTS);
        assert_ok(spool_add(sp, latents[i], i, (float)i, &err));
    }
    for (size_t first = 0; first < LATENTS; first += 140) {
        size_t n = LATENTS - first < 140 ? LATENTS - first : 140, offsets[141] = {0}, next[140];
        uint32_t *places;
        float *activations;

        for (size_t i = 0; i < n; i++) {
            next[i] = offsets[i];
            offsets[i + 1] = offsets[i] + spool_counts(sp)[first + i];
        }
        places = xreallocarray(NULL, offsets[n], sizeof(*places));
        activations = xreallocarray(NULL, offsets[n], sizeof(*activations));
        assert_ok(spool_read(sp, first, n, offsets, places, activations, NULL, &err));
        for (uint32_t i = 0; i < N; i++)
            if (latents[i] >= first && latents[i] - first < n) {
                size_t at = next[latents[i] - first]++;

                assert_int_equal(places[at], i);
                assert_true(activations[at] == (float)i);
            }
        for (size_t i = 0; i < n; i++)
            assert_int_equal(next[i], offsets[i + 1]);
        free(places);
        free(activations);
    }
    spool_close(sp);
    free(latents);
}

/* ---- Histograms at their edges, as numpy.histogram has them. ---- */
static void test_histogram_edges(void **state)
{
    const float values[] = {1, 1, 2, 51, 50, 26, 25.999F};
    const uint32_t places[] = {0, 1, 2, 3, 4, 5, 6};
    const struct firings f = {7, places, values}, same = {2, places, values}, none = {0, NULL, NULL};
    struct firing_statistics s;

    (void)state;
    firing_statistics(&f, &s);
    assert_int_equal(s.histogram[0], 2);
    assert_int_equal(s.histogram[1], 1);
    assert_int_equal(s.histogram[24], 1);
    assert_int_equal(s.histogram[25], 1);
    assert_int_equal(s.histogram[49], 2);
    firing_statistics(&same, &s);
    assert_int_equal(s.histogram[49], 2);
    assert_true(s.mean == 1);
    firing_statistics(&none, &s);
    assert_true(s.max == 0 && s.min == 0 && s.mean == 0);
}

/* ---- Labels. ---- */
struct labelled_text {
    struct word_table *table;
    uint32_t *ids, *words;
    size_t n;
};

static char *label_of(const struct labelled_text *x, const char *token, float other)
{
    uint32_t *places = xreallocarray(NULL, x->n, sizeof(*places));
    float *activations = xreallocarray(NULL, x->n, sizeof(*activations));
    struct firings f = {0, places, activations};
    struct strbuf label = STRBUF_INIT;
    struct tokenizer *tok;
    char *folder = shipped_file("wordnet-lm");

    assert_ok(tokenizer_read_folder(folder, &tok, &err));
    free(folder);
    for (size_t i = 0; i < x->n; i++) {
        size_t n;
        const char *bytes = tokenizer_token(tok, x->ids[i], &n);
        int hit = n == strlen(token) && !memcmp(bytes, token, n);

        if (!hit && !(other > 0 && i % 7 == 0))
            continue;
        places[f.n] = (uint32_t)i;
        activations[f.n++] = hit ? 5 : other;
    }
    label_from_firings(x->table, &f, x->ids, x->words, x->n, &label);
    tokenizer_free(tok);
    free(places);
    free(activations);
    return strbuf_detach(&label);
}

static void test_labels(void **state)
{
    static const char text[] =
        "the physicist is a kind of scientist. a kind of lizard. physics is a kind of science. the chemist "
        "is a kind of "
        "scientist. in the year of the biologist, geologist, zoologist, ecologist and the psychologist met a "
        "physicist. "
        "of the people of Rome. the best of the wines of France. of course, of the three of them.";
    struct tokenizer *tok;
    struct encoder *encoder;
    struct token_list list = {NULL, 0, 0};
    struct labelled_text x = {NULL, NULL, NULL, 0};
    char *folder = shipped_file("wordnet-lm"), *label;
    uint8_t *counted;
    size_t ologist = 0;

    (void)state;
    assert_ok(tokenizer_read_folder(folder, &tok, &err));
    free(folder);
    encoder = encoder_new(tok);
    assert_ok(encoder_encode(encoder, text, strlen(text), 0, &list, &err));
    encoder_free(encoder);
    assert_ok(word_table_new(tok, &x.table, &err));
    x.ids = list.ids;
    x.n = list.n;
    x.words = xreallocarray(NULL, x.n, sizeof(*x.words));
    counted = xmalloc(x.n);
    memset(counted, 1, x.n);
    word_table_add(x.table, x.ids, counted, x.n, x.words);
    label = label_of(&x, " kind", 0);
    assert_string_equal(label, "kind");
    free(label);
    /* The word around a piece of it. */
    for (size_t i = 0; i < x.n; i++) {
        size_t n;
        const char *bytes = tokenizer_token(tok, x.ids[i], &n);

        if (n > 4 && !memcmp(bytes, "ologist", n < 7 ? n : 7))
            ologist = i;
    }
    if (ologist) {
        label = label_of(&x, "ologist", 0);
        assert_string_equal(label, "-ologist");
        free(label);
    }
    /* What is everywhere comes after what it fires on strongly. */
    label = label_of(&x, " France", 0.5F);
    assert_true(!strncmp(label, "France", 6));
    free(label);
    label = label_of(&x, "no such token", 0);
    assert_string_equal(label, "");
    free(label);
    word_table_free(x.table);
    tokenizer_free(tok);
    token_list_free(&list);
    free(x.words);
    free(counted);
}

static void test_member_labels(void **state)
{
    static const char *const labels[] = {"physicist, scientist",
                                         "chemist, scientist",
                                         "biologist, Scientist",
                                         "",
                                         "herb, plant",
                                         "tree, plant",
                                         "shrub, plant",
                                         ",",
                                         "a, b"};
    const uint32_t members[] = {1, 0, 2, 3}, one[] = {4}, comma[] = {7}, none[] = {3};
    const float activations[] = {0.9F, 0.5F, 0.4F, 0.3F};
    struct label_words *w = label_words_new();
    struct strbuf label = STRBUF_INIT;

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(labels); i++)
        label_words_add(w, labels[i], strlen(labels[i]));
    label_from_members(w, members, activations, 4, &label);
    assert_string_equal(strbuf_string(&label), "scientist: chemist, physicist, biologist");
    strbuf_reset(&label);
    label_from_members(w, one, activations, 1, &label);
    assert_string_equal(strbuf_string(&label), "herb");
    strbuf_reset(&label);
    label_from_members(w, comma, activations, 1, &label);
    assert_string_equal(strbuf_string(&label), ",");
    strbuf_reset(&label);
    label_from_members(w, none, activations, 1, &label);
    assert_int_equal(label.length, 0);
    strbuf_free(&label);
    label_words_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spool),
        cmocka_unit_test(test_histogram_edges),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_member_labels),
    };

    return cmocka_run_group_tests_name("index parts", tests, set_up_directory, tear_down_directory);
}
