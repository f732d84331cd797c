/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A store in a temporary directory with the demo model and a short text: for the tests of streams and of the
 * index. */
#ifndef SAESCOPE_TESTS_INDEX_FIXTURE_H
#define SAESCOPE_TESTS_INDEX_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "saescope/analysis/activations.h"
#include "saescope/base/blas.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "saescope/sae/sae.h"

#define FIXTURE_HOOK   "blocks.2.hook_resid_pre"
#define FIXTURE_LENGTH 64

struct fixture {
    char directory[64];
    struct store *store;
    artifact_id model, text;
};

#define ok(call) assert_fixture_ok((call), #call, &fixture_error, __FILE__, __LINE__)
static struct error fixture_error;

static void assert_fixture_ok(int status, const char *call, const struct error *err, const char *file,
                              int line)
{
    if (status) {
        fprintf(stderr, "%s: %s\n", call, err->message);
        _fail(file, line);
    }
}

/* The first lines of the corpus, some of them three times. */
static void write_text(const char *path, size_t lines)
{
    char *corpus = shipped_file("wordnet.txt");
    FILE *in = fopen(corpus, "r"), *out = fopen(path, "w");
    char line[4096];

    assert_non_null(in);
    assert_non_null(out);
    for (size_t i = 0; i < lines && fgets(line, sizeof(line), in); i++)
        for (int times = i % 10 ? 1 : 3; times > 0; times--)
            fputs(line, out);
    fclose(in);
    fclose(out);
    free(corpus);
}

static int fixture_setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct store_options options = {.create = 1};
    char *store, *text, *model = shipped_file("wordnet-lm");

    blas_start();
    parallel_start(2);
    strcpy(f->directory, "/tmp/saescope-test-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    store = path_join(f->directory, "store");
    text = path_join(f->directory, "text.txt");
    options.path = store;
    ok(store_open(&options, &f->store, &fixture_error));
    struct model_import import = {.directory = model, .name = "lm"};
    ok(model_import_folder(f->store, &import, NULL, &f->model, &fixture_error));
    write_text(text, 200);
    struct text_import imported = {.path = text, .name = "text", .model = "lm"};
    ok(text_import(f->store, &imported, NULL, &f->text, &fixture_error));
    free(store);
    free(text);
    free(model);
    *state = f;
    return 0;
}

static int fixture_teardown(void **state)
{
    struct fixture *f = *state;

    parallel_stop();
    if (!f)
        return 0;
    store_close(f->store);
    remove_tree(f->directory, NULL);
    free(f);
    return 0;
}

static struct stream_options fixture_stream(const struct fixture *f)
{
    return (struct stream_options){.model = f->model,
                                   .text = f->text,
                                   .hook = FIXTURE_HOOK,
                                   .context_size = FIXTURE_LENGTH,
                                   .prepend_bos = 1};
}

static float *read_everything(const struct fixture *f, size_t *n_contexts, uint8_t **counted, uint32_t **ids,
                              size_t *width) __attribute__((unused));

/* Activations of all contexts, one context at a time: [contexts · length, width]. */
static float *read_everything(const struct fixture *f, size_t *n_contexts, uint8_t **counted, uint32_t **ids,
                              size_t *width)
{
    struct stream_options o = fixture_stream(f);
    struct stream *st;
    float *x;

    ok(stream_open(f->store, &o, &st, &fixture_error));
    *n_contexts = stream_contexts(st);
    *width = stream_width(st);
    x = xreallocarray(NULL, *n_contexts * FIXTURE_LENGTH * *width, sizeof(*x));
    *counted = xmalloc(*n_contexts * FIXTURE_LENGTH);
    *ids = xreallocarray(NULL, *n_contexts * FIXTURE_LENGTH, sizeof(**ids));
    for (uint32_t i = 0; i < *n_contexts; i++) {
        struct stream_batch b;

        ok(stream_at(st, &i, 1, &b, &fixture_error));
        assert_int_equal(b.n_tokens, FIXTURE_LENGTH);
        memcpy(x + i * FIXTURE_LENGTH * *width, b.activations, FIXTURE_LENGTH * *width * sizeof(*x));
        memcpy(*counted + i * FIXTURE_LENGTH, b.counted, FIXTURE_LENGTH);
        memcpy(*ids + i * FIXTURE_LENGTH, b.ids, FIXTURE_LENGTH * sizeof(**ids));
    }
    stream_close(st);
    return x;
}

#endif
