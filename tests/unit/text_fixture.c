/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "tests/unit/text_fixture.h"

struct store *text_store;
artifact_id text_model_id;
struct model *text_model;

int set_up_text(void **state)
{
    struct error err = {0};
    set_up_threads(state);
    text_store = open_store("store");
    text_model_id = import_demo_model(text_store, "lm");
    struct store_txn *t = begin_reading(text_store);
    assert_ok(model_open(t, text_model_id, &text_model, &err));
    store_end(t);
    return 0;
}

int tear_down_text(void **state)
{
    model_free(text_model);
    store_close(text_store);
    return tear_down_threads(state);
}

/* ---- Imports. ---- */

struct held read_text(artifact_id text)
{
    struct error err = {0};
    struct store_tensor x;
    struct held held;
    struct store_txn *t = begin_reading(text_store);
    assert_ok(store_tensor_open(t, text, "tokens", &x, &err));
    assert_int_equal(x.dtype, DTYPE_U16);
    held.n_tokens = x.shape[0];
    uint16_t *narrow = xcalloc(held.n_tokens, sizeof(*narrow));
    held.tokens = xcalloc(held.n_tokens, sizeof(*held.tokens));
    assert_ok(store_tensor_read(t, &x, 0, held.n_tokens, narrow, &err));
    for (size_t i = 0; i < held.n_tokens; i++)
        held.tokens[i] = narrow[i];
    free(narrow);
    assert_ok(store_tensor_open(t, text, "documents", &x, &err));
    held.n_documents = x.shape[0] - 1;
    held.documents = xcalloc(x.shape[0], sizeof(*held.documents));
    assert_ok(store_tensor_read(t, &x, 0, x.shape[0], held.documents, &err));
    json *manifest = store_manifest(t, text, &err);
    assert_int_equal(json_get_integer(manifest, "tokens", -1), held.n_tokens);
    assert_int_equal(json_get_integer(manifest, "documents", -1), held.n_documents);
    assert_int_equal(json_get_integer(json_get(manifest, "references"), "model", -1), text_model_id);
    json_free(manifest);
    store_end(t);
    return held;
}

void held_free(struct held *held)
{
    free(held->tokens);
    free(held->documents);
}

/* The text's documents are the given ones' tokens. */
void assert_documents(artifact_id text, const struct document *documents, size_t n)
{
    struct error err = {0};
    struct held held = read_text(text);
    struct encoder *e = encoder_new(model_tokenizer(text_model));
    struct token_list ids = {0};
    assert_int_equal(held.n_documents, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(held.documents[i], ids.n);
        assert_ok(encoder_encode(e, documents[i].bytes, documents[i].n, 1, &ids, &err));
    }
    assert_int_equal(held.documents[n], ids.n);
    assert_int_equal(held.n_tokens, ids.n);
    assert_memory_equal(held.tokens, ids.ids, ids.n * sizeof(uint32_t));
    token_list_free(&ids);
    encoder_free(e);
    held_free(&held);
}

char *write_text(const char *name, const char *text)
{
    return write_test_file(name, text, strlen(text));
}

artifact_id import_text(const char *path, const char *field, int document_a_file)
{
    struct error err = {0};
    struct text_import options = {.path = path,
                                  .name = "text",
                                  .model = "lm",
                                  .field = field,
                                  .document_a_file = document_a_file,
                                  .replace = 1};
    artifact_id id = 0;
    assert_ok(text_import(text_store, &options, NULL, &id, &err));
    return id;
}

void assert_text_refused(const char *path, const char *says)
{
    struct error err = {0};
    struct text_import options = {.path = path, .name = "refused", .model = "lm"};
    artifact_id id = 0;
    assert_int_equal(text_import(text_store, &options, NULL, &id, &err), STATUS_REFUSED);
    assert_says(says);
    struct artifact artifact;
    struct store_txn *t = begin_reading(text_store);
    assert_int_equal(store_find(t, ARTIFACT_TEXT, "refused", &artifact, &err), STATUS_REFUSED);
    store_end(t);
}
