/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The two halves of a text's import: cutting files into documents, and documents' tokens into the store. */
#ifndef SAESCOPE_MODEL_TEXT_INTERNAL_H
#define SAESCOPE_MODEL_TEXT_INTERNAL_H

#include "saescope/model/text.h"

struct text_sink;

/* Next bytes of a document; `starts`: of a new one. A document's parts end where tokenizer_may_cut() says. */
int text_sink_add(struct text_sink *sink, const void *bytes, size_t n, int starts, struct error *err);
const struct tokenizer *text_sink_tokenizer(const struct text_sink *sink);
/* For progress: bytes of the sources that were read. */
void text_sink_count_bytes(struct text_sink *sink, size_t n);

struct text_sources {
    char **paths;
    size_t n;
    uint64_t bytes; /* 0: not known */
};
/* The file, or the directory's files by name; STATUS_REFUSED when there are none. */
int text_sources_find(const char *path, struct text_sources *out, struct error *err);
void text_sources_free(struct text_sources *sources);
int text_source_read(const char *path, const struct text_import *options, struct text_sink *sink,
                     struct error *err);

#endif
