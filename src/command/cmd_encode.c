/* SPDX-License-Identifier: GPL-3.0-or-later */
/* encode, tokenize: a text's tokens and the latents that fire on them. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"

#define TEXT_BYTES_MAX    ((size_t)64 << 20)
#define LATENTS_IN_A_LINE 6

/* "text", and "bytes" in hex when it is not complete UTF-8. */
static void write_token(struct writer *out, const void *bytes, size_t n)
{
    writer_bytes(out, "text", bytes, n);
    if (utf8_valid(bytes, n))
        return;
    struct strbuf hex = STRBUF_INIT;
    for (size_t i = 0; i < n; i++)
        strbuf_addf(&hex, "%02x", ((const unsigned char *)bytes)[i]);
    writer_string(out, "bytes", strbuf_string(&hex));
    strbuf_free(&hex);
}

/* TEXT, or the file that --file names. */
static int read_text(struct context *ctx, const struct invocation *inv, size_t argument, struct strbuf *text,
                     struct error *err)
{
    const char *word = invocation_argument(inv, argument), *file = invocation_option(inv, "file");
    if ((word != NULL) == (file != NULL))
        return error_set(err, STATUS_USAGE, "%s takes TEXT or --file FILE", inv->command->name);
    if (word) {
        strbuf_adds(text, word);
        return STATUS_OK;
    }
    char *path = context_path(ctx, file);
    int status = file_read(path, TEXT_BYTES_MAX, text, err);
    free(path);
    return status;
}

/* ---- encode ---- */

/* The pairs of a row by activation, strongest first; ties: the lower latent. */
struct pair {
    uint32_t latent;
    float activation;
};

static int by_activation(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    if (x->activation != y->activation)
        return x->activation < y->activation ? 1 : -1;
    return x->latent > y->latent ? 1 : -1;
}

static struct pair *sorted_pairs(const struct sparse_rows *rows, size_t row, size_t *n)
{
    size_t first = rows->offsets[row];
    *n = rows->offsets[row + 1] - first;
    struct pair *pairs = xcalloc(*n + 1, sizeof *pairs);
    for (size_t i = 0; i < *n; i++)
        pairs[i] = (struct pair){rows->latents[first + i], rows->values[first + i]};
    qsort(pairs, *n, sizeof *pairs, by_activation);
    return pairs;
}

static void encode_line(struct writer *out, struct store_txn *t, artifact_id sae, size_t position,
                        const void *bytes, size_t n, const struct pair *pairs, size_t n_pairs)
{
    struct strbuf token = STRBUF_INIT, rest = STRBUF_INIT;
    displayable(&token, bytes, n);
    for (size_t i = 0; i < n_pairs && i < LATENTS_IN_A_LINE; i++) {
        struct label label;
        strbuf_addf(&rest, "  %u:%.2f", pairs[i].latent, (double)pairs[i].activation);
        if (i < 2 && store_label(t, sae, pairs[i].latent, &label, NULL) == STATUS_OK && label.text) {
            strbuf_adds(&rest, " (");
            displayable(&rest, label.text, label.n);
            strbuf_addc(&rest, ')');
        }
    }
    if (n_pairs > LATENTS_IN_A_LINE)
        strbuf_addf(&rest, "  and %zu more", n_pairs - LATENTS_IN_A_LINE);
    size_t width = display_width(strbuf_string(&token), token.length);
    int missing = rest.length > 0 && width < 14 ? (int)(14 - width) : 0;
    writer_line(out, "%4zu  %s%*s%s", position, strbuf_string(&token), missing, "", strbuf_string(&rest));
    strbuf_free(&token);
    strbuf_free(&rest);
}

static void write_encoded(struct writer *out, struct store_txn *t, artifact_id sae, const struct model *m,
                          const struct encoded_text *e)
{
    writer_begin_array(out, "tokens");
    for (size_t i = 0; i < e->n_tokens; i++) {
        size_t n, n_pairs;
        const void *bytes = tokenizer_token(model_tokenizer(m), e->ids[i], &n);
        struct pair *pairs = sorted_pairs(&e->rows, i, &n_pairs);
        writer_begin_object(out, NULL);
        writer_integer(out, "position", (long long)i);
        writer_integer(out, "id", e->ids[i]);
        write_token(out, bytes, n);
        writer_integer(out, "l0", (long long)n_pairs);
        writer_begin_array(out, "latents");
        for (size_t k = 0; k < n_pairs; k++) {
            writer_begin_object(out, NULL);
            writer_integer(out, "latent", pairs[k].latent);
            writer_real(out, "activation", pairs[k].activation);
            writer_end_object(out);
        }
        writer_end_array(out);
        writer_end_object(out);
        encode_line(out, t, sae, i, bytes, n, pairs, n_pairs);
        free(pairs);
    }
    writer_end_array(out);
}

/* TSV: a row for each latent that fires on a token. */
static void encoded_table(struct writer *out, const struct model *m, const struct encoded_text *e)
{
    static const struct writer_column columns[] = {{"position", NULL, NULL, 0},
                                                   {"id", NULL, NULL, 0},
                                                   {"text", NULL, NULL, 1},
                                                   {"latent", NULL, NULL, 0},
                                                   {"activation", NULL, NULL, 0}};
    writer_begin_table(out, "tokens", columns, ARRAY_LENGTH(columns));
    for (size_t i = 0; i < e->n_tokens; i++) {
        size_t n, n_pairs;
        const void *bytes = tokenizer_token(model_tokenizer(m), e->ids[i], &n);
        struct pair *pairs = sorted_pairs(&e->rows, i, &n_pairs);
        for (size_t k = 0; k < n_pairs; k++) {
            writer_begin_row(out);
            writer_integer(out, "position", (long long)i);
            writer_integer(out, "id", e->ids[i]);
            writer_bytes(out, "text", bytes, n);
            writer_integer(out, "latent", pairs[k].latent);
            writer_real(out, "activation", pairs[k].activation);
            writer_end_row(out);
        }
        free(pairs);
    }
    writer_end_table(out);
}

static int run_encode(struct context *ctx, const struct invocation *inv, struct writer *out,
                      struct error *err)
{
    struct store_txn *t = NULL;
    struct artifact a;
    struct sae_facts facts = {0};
    struct model *m = NULL;
    struct encoded_text e = {0};
    struct strbuf text = STRBUF_INIT;
    int status = read_text(ctx, inv, 1, &text, err);
    if (status == STATUS_OK)
        status = store_begin(ctx->store, &t, err);
    if (status == STATUS_OK)
        status = store_find(t, ARTIFACT_SAE, invocation_argument(inv, 0), &a, err);
    if (status == STATUS_OK)
        status = encode_text(ctx->store, a.id, strbuf_string(&text), text.length, invocation_flag(inv, "bos"),
                             &e, err);
    if (status == STATUS_OK)
        status = sae_facts_read(t, a.id, &facts, err);
    if (status == STATUS_OK)
        status = model_open(t, facts.model, &m, err);
    if (status == STATUS_OK) {
        writer_own_text(out);
        writer_begin_object(out, NULL);
        writer_string(out, "sae", a.name);
        writer_boolean(out, "truncated", e.truncated);
        if (writer_format(out) == WRITE_TSV)
            encoded_table(out, m, &e);
        else
            write_encoded(out, t, a.id, m, &e);
        writer_end_object(out);
        if (e.truncated)
            writer_line(out, "%s", "the text was cut at the model's context length");
    }
    model_free(m);
    sae_facts_free(&facts);
    encoded_text_free(&e);
    store_end(t);
    strbuf_free(&text);
    return status;
}

#define FILE_OPTION                                                                                          \
    {                                                                                                        \
        .name = "file", .type = WORD_FILE, .value = "F",                                                     \
        .help = "read the text from a file (- is standard input)"                                            \
    }

static const struct argument_spec encode_arguments[] = {
    {.name = "SAE", .type = WORD_SAE}, {.name = "TEXT", .type = WORD_WORD, .optional = 1}, {.name = NULL}};
static const struct option_spec encode_options[] = {
    {.name = "bos", .type = WORD_FLAG, .help = "give the latents at BOS as well"},
    FILE_OPTION,
    {.name = NULL},
};
const struct command encode_command = {
    .name = "encode",
    .group = GROUP_EXPLORE,
    .summary = "run a text through model and SAE: the latents that fire on each token",
    .arguments = encode_arguments,
    .options = encode_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_encode,
};

/* ---- tokenize ---- */

static void write_tokens(struct writer *out, const struct tokenizer *tok, const struct token_list *tokens)
{
    static const struct writer_column columns[] = {{"id", NULL, "%d", 0}, {"text", NULL, NULL, 1}};
    writer_begin_table(out, "tokens", columns, ARRAY_LENGTH(columns));
    for (size_t i = 0; i < tokens->n; i++) {
        size_t n;
        const void *bytes = tokenizer_token(tok, tokens->ids[i], &n);
        writer_begin_row(out);
        writer_integer(out, "id", tokens->ids[i]);
        write_token(out, bytes, n);
        writer_end_row(out);
    }
    writer_end_table(out);
}

static int run_tokenize(struct context *ctx, const struct invocation *inv, struct writer *out,
                        struct error *err)
{
    struct store_txn *t = NULL;
    struct artifact a;
    struct tokenizer *tok = NULL;
    struct encoder *encoder = NULL;
    struct token_list tokens = {0};
    struct strbuf text = STRBUF_INIT;
    int status = read_text(ctx, inv, 1, &text, err);
    if (status == STATUS_OK)
        status = store_begin(ctx->store, &t, err);
    if (status == STATUS_OK)
        status = store_find(t, ARTIFACT_MODEL, invocation_argument(inv, 0), &a, err);
    if (status == STATUS_OK)
        status = tokenizer_open(t, a.id, &tok, err);
    if (status == STATUS_OK) {
        encoder = encoder_new(tok);
        status = encoder_encode(encoder, strbuf_string(&text), text.length, 1, &tokens, err);
    }
    if (status == STATUS_OK) {
        writer_own_text(out);
        writer_begin_object(out, NULL);
        writer_string(out, "model", a.name);
        write_tokens(out, tok, &tokens);
        writer_end_object(out);
    }
    token_list_free(&tokens);
    encoder_free(encoder);
    tokenizer_free(tok);
    store_end(t);
    strbuf_free(&text);
    return status;
}

static const struct argument_spec tokenize_arguments[] = {{.name = "MODEL", .type = WORD_MODEL},
                                                          {.name = "TEXT", .type = WORD_WORD, .optional = 1},
                                                          {.name = NULL}};
static const struct option_spec tokenize_options[] = {FILE_OPTION, {.name = NULL}};
const struct command tokenize_command = {
    .name = "tokenize",
    .group = GROUP_EXPLORE,
    .summary = "cut a text into a model's tokens",
    .description = "No BOS is added.",
    .arguments = tokenize_arguments,
    .options = tokenize_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_tokenize,
};
