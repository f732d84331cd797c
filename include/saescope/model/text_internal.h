/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The parts of a text's import: cutting files into documents, reading token files, and documents' tokens into the store. */
#ifndef SAESCOPE_MODEL_TEXT_INTERNAL_H
#define SAESCOPE_MODEL_TEXT_INTERNAL_H

#include "saescope/model/text.h"

struct text_sink;

/* Next bytes of a document; `starts`: of a new one. A document's parts end where tokenizer_may_cut() says. */
int text_sink_add(struct text_sink *sink, const void *bytes, size_t n, int starts, struct error *err);
/* Tokens of a file that has them, below the vocabulary's size; `starts`: a new document. BOS and EOS are left out, and what
 * follows them is another document. */
int text_sink_add_tokens(struct text_sink *sink, const uint32_t *ids, size_t n, int starts, struct error *err);
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

/* Numbers of two or four bytes (options->token_type, else as the vocabulary needs), given as they are read. */
struct token_stream;
int token_stream_open(const char *path, const struct text_import *options, struct text_sink *sink,
                      struct token_stream **out, struct error *err);
int token_stream_add(struct token_stream *s, const void *bytes, size_t n, struct error *err);
int token_stream_end(const struct token_stream *s, struct error *err); /* STATUS_REFUSED within a token */
void token_stream_close(struct token_stream *s);                       /* NULL is fine */

/* A NumPy array of tokens; each row of a matrix starts a document. */
int text_read_array(const char *path, struct text_sink *sink, struct error *err);

#endif
