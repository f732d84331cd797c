/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The store that streams and the index are tested with. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "index_fixture.h"

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

int set_up_fixture(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));

    *state = f;
    set_up_threads(NULL);
    char *text = test_path("text.txt");
    f->store = open_store("store");
    f->model = import_demo_model(f->store, "lm");
    write_text(text, 200);
    f->text = import_test_text(f->store, text);
    free(text);
    return 0;
}

int tear_down_fixture(void **state)
{
    struct fixture *f = *state;

    store_close(f->store);
    free(f);
    return tear_down_threads(NULL);
}

struct stream_options fixture_stream(const struct fixture *f)
{
    return (struct stream_options){.model = f->model,
                                   .text = f->text,
                                   .hook = FIXTURE_HOOK,
                                   .context_size = FIXTURE_LENGTH,
                                   .prepend_bos = 1};
}

float *read_everything(const struct fixture *f, size_t *n_contexts, uint8_t **counted, uint32_t **ids,
                       size_t *width)
{
    struct error err = {0};
    struct stream_options o = fixture_stream(f);
    struct stream *st;
    float *x;

    assert_ok(stream_open(f->store, &o, &st, &err));
    *n_contexts = stream_contexts(st);
    *width = stream_width(st);
    x = xreallocarray(NULL, *n_contexts * FIXTURE_LENGTH * *width, sizeof(*x));
    *counted = xmalloc(*n_contexts * FIXTURE_LENGTH);
    *ids = xreallocarray(NULL, *n_contexts * FIXTURE_LENGTH, sizeof(**ids));
    for (uint32_t i = 0; i < *n_contexts; i++) {
        struct stream_batch b;

        assert_ok(stream_at(st, &i, 1, &b, &err));
        assert_int_equal(b.n_tokens, FIXTURE_LENGTH);
        memcpy(x + i * FIXTURE_LENGTH * *width, b.activations, FIXTURE_LENGTH * *width * sizeof(*x));
        memcpy(*counted + i * FIXTURE_LENGTH, b.counted, FIXTURE_LENGTH);
        memcpy(*ids + i * FIXTURE_LENGTH, b.ids, FIXTURE_LENGTH * sizeof(**ids));
    }
    stream_close(st);
    return x;
}
