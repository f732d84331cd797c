/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A store with the demo's model, and texts imported into it. */
#ifndef TESTS_UNIT_TEXT_FIXTURE_H
#define TESTS_UNIT_TEXT_FIXTURE_H

#include "saescope/model/text.h"
#include "tests/support/support.h"

extern struct store *text_store;
extern artifact_id text_model_id; /* "lm" */
extern struct model *text_model;

int set_up_text(void **state);
int tear_down_text(void **state);

/* What a text holds. */
struct held {
    uint32_t *tokens;
    uint64_t *documents; /* [n_documents + 1] */
    size_t n_tokens, n_documents;
};
struct held read_text(artifact_id text);
void held_free(struct held *held);

struct document {
    const char *bytes;
    size_t n;
};
/* The text's documents are the given ones' tokens. */
void assert_documents(artifact_id text, const struct document *documents, size_t n);

char *write_text(const char *name, const char *text);
/* As "text", in place of the one before. */
artifact_id import_text(const char *path, const char *field, int document_a_file);
void assert_text_refused(const char *path, const char *says);

#endif
