/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files to documents: lines, whole files, or a member of JSON lines, compressed or not; or files of tokens.
 * Only what is not yet a whole line is held; a long line or file goes on in parts, cut where its tokens do
 * not change.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/json.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/files/gzip.h"
#include "saescope/model/text_internal.h"
#include "saescope/model/tokenizer_internal.h"

#define READ_BYTES ((size_t)256 << 10)
#define HELD_MAX   ((size_t)1 << 30) /* of a JSON line, or of text without a place to cut */

/* ---- Which files. ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_path(struct text_sources *sources, char *path, uint64_t bytes)
{
    sources->paths = xreallocarray(sources->paths, sources->n + 1, sizeof(*sources->paths));
    sources->paths[sources->n++] = path;
    sources->bytes += bytes;
    return STATUS_OK;
}

static int find_in_directory(const char *path, struct text_sources *out, struct error *err)
{
    DIR *dir = opendir(path);
    if (!dir)
        return error_system(err, STATUS_REFUSED, errno, "%s", path);
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        struct stat st;
        if (entry->d_name[0] == '.')
            continue;
        char *file = path_join(path, entry->d_name);
        if (stat(file, &st) == 0 && S_ISREG(st.st_mode))
            add_path(out, file, (uint64_t)st.st_size);
        else
            free(file);
    }
    closedir(dir);
    if (!out->n)
        return error_set(err, STATUS_REFUSED, "%s: no files in this directory", path);
    qsort(out->paths, out->n, sizeof(*out->paths), compare_names);
    return STATUS_OK;
}

int text_sources_find(const char *path, struct text_sources *out, struct error *err)
{
    struct stat st;
    *out = (struct text_sources){NULL, 0, 0};
    if (!strcmp(path, "-"))
        return add_path(out, xstrdup(path), 0);
    if (stat(path, &st))
        return error_system(err, STATUS_REFUSED, errno, "%s", path);
    if (!S_ISDIR(st.st_mode))
        return add_path(out, xstrdup(path), S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0);
    int status = find_in_directory(path, out, err);
    if (status)
        text_sources_free(out);
    return status;
}

void text_sources_free(struct text_sources *sources)
{
    for (size_t i = 0; i < sources->n; i++)
        free(sources->paths[i]);
    free(sources->paths);
    *sources = (struct text_sources){NULL, 0, 0};
}

/* ---- One file. ---- */

enum form { FORM_UNKNOWN, FORM_LINES, FORM_WHOLE, FORM_JSON_LINES, FORM_TOKENS, FORM_ARRAY };

struct source {
    const char *path;
    const struct text_import *options;
    struct text_sink *sink;
    struct gzip_reader *reader;
    struct token_stream *tokens; /* FORM_TOKENS */
    enum form form;
    struct strbuf held;
    size_t searched; /* of held: has no line's end, and no place to cut */
    int in_document; /* parts of the document that held goes on with were given already */
    size_t line;     /* JSON lines: counted from 1 */
};

/* Whether the name ends so, or so and ".gz". */
static int is_named(const struct source *src, const char *end)
{
    size_t n = strlen(src->path), m = strlen(end);
    if (string_ends_with(src->path, ".gz"))
        n -= 3;
    return n >= m && !memcmp(src->path + n - m, end, m);
}

/* By the first bytes, the name, else by the first byte that is no blank. */
static enum form find_form(const struct source *src)
{
    const char *text = strbuf_string(&src->held);
    if (src->held.length >= 6 && !memcmp(text, "\x93NUMPY", 6))
        return FORM_ARRAY;
    if (src->options->token_type || is_named(src, ".bin"))
        return FORM_TOKENS;
    if (is_named(src, ".jsonl") || is_named(src, ".ndjson"))
        return FORM_JSON_LINES;
    if (src->options->document_a_file)
        return FORM_WHOLE;
    if (is_named(src, ".txt"))
        return FORM_LINES;
    size_t at = 0;
    while (at < src->held.length && strchr(" \t\r\n", text[at]))
        at++;
    return text[at] == '{' ? FORM_JSON_LINES : FORM_LINES;
}

/* What would be imported as noise. */
static int check_container(const struct source *src, struct error *err)
{
    static const struct {
        const char *start, *advice;
    } others[] = {
        {"PAR1", "a Parquet file, which is not read: write JSON lines from it, for instance with "
                 "pandas.read_parquet(FILE).to_json('text.jsonl.gz', orient='records', lines=True)"},
        {"ARROW1", "an Arrow file, which is not read: write JSON lines from it, for instance with "
                   "datasets.Dataset.from_file(FILE).to_json('text.jsonl')"},
        {"\x28\xB5\x2F\xFD", "compressed by zstd, which is not read: decompress it first (zstd -d)"},
        {"\xFD"
         "7zXZ",
         "compressed by xz, which is not read: decompress it first (xz -d)"},
        {"PK\x03\x04", "a zip archive, which is not read: unpack it first"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(others); i++) {
        size_t n = strlen(others[i].start);
        if (src->held.length >= n && !memcmp(src->held.data, others[i].start, n))
            return error_set(err, STATUS_REFUSED, "%s: %s", src->path, others[i].advice);
    }
    return STATUS_OK;
}

/*
 * Bytes that are no UTF-8 have no place in JSON, but texts hold them: each becomes U+10FF00 + byte for the
 * parser and a byte again in what was parsed.
 */
static void hide_invalid(struct strbuf *out, const char *line, size_t n)
{
    for (size_t at = 0; at < n;) {
        size_t length = 1;
        while (length <= 4 && at + length <= n && !utf8_valid(line + at, length))
            length++;
        if (length <= 4 && at + length <= n) {
            strbuf_add(out, line + at, length);
            at += length;
        } else {
            unsigned b = (unsigned char)line[at++];
            const char hidden[4] = {(char)0xF4, (char)0x8F, (char)(0xBC | b >> 6), (char)(0x80 | (b & 0x3F))};
            strbuf_add(out, hidden, 4);
        }
    }
}

static void show_invalid(struct strbuf *out, const char *text, size_t n)
{
    for (size_t at = 0; at < n; at++) {
        const unsigned char *p = (const unsigned char *)text + at;
        if (n - at >= 4 && p[0] == 0xF4 && p[1] == 0x8F && (p[2] == 0xBE || p[2] == 0xBF)) {
            strbuf_addc(out, (char)((p[2] & 3) << 6 | (p[3] & 0x3F)));
            at += 3;
        } else {
            strbuf_addc(out, text[at]);
        }
    }
}

/* The member of that name, or, where it has dots, of an object within. */
static const json *find_member(const json *object, const char *path)
{
    const json *found = json_get(object, path);
    for (const char *dot = strchr(path, '.'); dot && !found; dot = strchr(dot + 1, '.')) {
        char *name = xstrndup(path, (size_t)(dot - path));
        const json *inner = json_get(object, name);
        found = json_is_object(inner) ? find_member(inner, dot + 1) : NULL;
        free(name);
    }
    return found;
}

static int give_member(struct source *src, const char *line, size_t n, int hidden, struct error *err)
{
    const char *field = src->options->field ? src->options->field : "text";
    char *where = xasprintf("%s: line %zu", src->path, src->line);
    json *object = json_parse(line, n, where, err);
    const json *member = object ? find_member(object, field) : NULL;
    struct strbuf bytes = STRBUF_INIT;
    int status = STATUS_OK;
    if (!object)
        status = STATUS_REFUSED;
    else if (!json_is_string(member))
        status = error_set(err, STATUS_REFUSED, "%s: no string \"%s\" (name the text's member with --field)",
                           where, field);
    else if (hidden)
        show_invalid(&bytes, json_string(member, ""), json_string_length(member));
    if (!status && hidden)
        status = text_sink_add(src->sink, bytes.data, bytes.length, 1, err);
    else if (!status && json_string_length(member))
        status = text_sink_add(src->sink, json_string(member, ""), json_string_length(member), 1, err);
    strbuf_free(&bytes);
    json_free(object);
    free(where);
    return status;
}

static int give_json_line(struct source *src, const char *line, size_t n, struct error *err)
{
    if (src->line++ == 0 && n >= 3 && !memcmp(line, "\xEF\xBB\xBF", 3)) {
        line += 3;
        n -= 3;
    }
    size_t blank = 0;
    while (blank < n && strchr(" \t\r", line[blank]))
        blank++;
    if (blank == n)
        return STATUS_OK;
    if (utf8_valid(line, n))
        return give_member(src, line, n, 0, err);
    if (memmem(line, n, "\xF4\x8F\xBE", 3) || memmem(line, n, "\xF4\x8F\xBF", 3))
        return error_set(err, STATUS_REFUSED, "%s: line %zu: invalid UTF-8", src->path, src->line);
    struct strbuf hidden = STRBUF_INIT;
    hide_invalid(&hidden, line, n);
    int status = give_member(src, hidden.data, hidden.length, 1, err);
    strbuf_free(&hidden);
    return status;
}

/* Text of one document, or its rest; `ends`: nothing of it follows. */
static int give_text(struct source *src, const char *text, size_t n, int ends, struct error *err)
{
    int status = n ? text_sink_add(src->sink, text, n, !src->in_document, err) : STATUS_OK;
    src->in_document = !ends && (src->in_document || n);
    return status;
}

static int give_line(struct source *src, const char *line, size_t n, struct error *err)
{
    if (src->form == FORM_JSON_LINES)
        return give_json_line(src, line, n, err);
    if (n && line[n - 1] == '\r')
        n--;
    return give_text(src, line, n, 1, err);
}

/* The last place before which held text from `from` may be cut, among those not searched before; or `from`.
 */
static size_t find_cut(const struct source *src, size_t from)
{
    const uint8_t *bytes = (const uint8_t *)src->held.data + from;
    size_t n = src->held.length - from, searched = src->searched > from ? src->searched - from : 0;
    for (size_t at = n - 1; at > searched; at--)
        if (tokenizer_may_cut(text_sink_tokenizer(src->sink), bytes, n, at))
            return from + at;
    return from;
}

/* Gives what is whole of the held text and keeps the rest. */
static int give_held(struct source *src, struct error *err)
{
    size_t from = 0;
    int status = STATUS_OK;
    const char *held = strbuf_string(&src->held);
    while (!status && src->form != FORM_WHOLE) {
        size_t start = src->searched > from ? src->searched : from;
        const char *lf = memchr(held + start, '\n', src->held.length - start);
        if (!lf)
            break;
        status = give_line(src, held + from, (size_t)(lf - held) - from, err);
        from = (size_t)(lf - held) + 1;
    }
    if (!status && src->form != FORM_JSON_LINES && src->held.length - from >= READ_BYTES) {
        size_t cut = find_cut(src, from);
        if (cut > from)
            status = give_text(src, held + from, cut - from, 0, err);
        from = cut;
    }
    if (status)
        return status;
    src->held.length -= from;
    if (src->held.length)
        memmove(src->held.data, src->held.data + from, src->held.length);
    src->searched = src->held.length;
    if (src->held.length > HELD_MAX)
        return error_set(err, STATUS_REFUSED, "%s: more than 1 GiB without a line's end or a blank",
                         src->path);
    return STATUS_OK;
}

/* What was read for the first time: how to go on. */
static int begin(struct source *src, struct error *err)
{
    src->form = find_form(src);
    if (is_lfs_pointer(strbuf_string(&src->held), src->held.length))
        return error_set(err, STATUS_REFUSED, "%s: " LFS_POINTER, src->path);
    if (src->form == FORM_ARRAY && (!strcmp(src->path, "-") || string_ends_with(src->path, ".gz")))
        return error_set(err, STATUS_REFUSED, "%s: an array is read from an uncompressed file only",
                         src->path);
    if (src->form == FORM_TOKENS)
        return token_stream_open(src->path, src->options, src->sink, &src->tokens, err);
    return check_container(src, err);
}

static int give(struct source *src, struct error *err)
{
    if (src->form != FORM_TOKENS)
        return give_held(src, err);
    int status = token_stream_add(src->tokens, src->held.data, src->held.length, err);
    strbuf_reset(&src->held);
    return status;
}

/* Behind the last byte. */
static int end(struct source *src, struct error *err)
{
    if (src->form == FORM_TOKENS)
        return token_stream_end(src->tokens, err);
    if (!src->held.length && !src->in_document)
        return STATUS_OK;
    if (src->form == FORM_JSON_LINES)
        return give_json_line(src, src->held.data, src->held.length, err);
    return give_text(src, src->held.data, src->held.length, 1, err);
}

static int read_all(struct source *src, struct error *err)
{
    char *buffer = xmalloc(READ_BYTES);
    uint64_t position = 0;
    int status = STATUS_OK;
    while (!status) {
        size_t n;
        status = gzip_reader_read(src->reader, buffer, READ_BYTES, &n, err);
        if (status || !n)
            break;
        strbuf_add(&src->held, buffer, n);
        if (src->form == FORM_UNKNOWN)
            status = begin(src, err);
        if (src->form == FORM_ARRAY)
            break;
        text_sink_count_bytes(src->sink, gzip_reader_position(src->reader) - position);
        position = gzip_reader_position(src->reader);
        if (!status)
            status = give(src, err);
    }
    free(buffer);
    return status || src->form == FORM_UNKNOWN || src->form == FORM_ARRAY ? status : end(src, err);
}

int text_source_read(const char *path, const struct text_import *options, struct text_sink *sink,
                     struct error *err)
{
    struct source src = {.path = path, .options = options, .sink = sink, .held = STRBUF_INIT};
    int status = gzip_reader_open(path, &src.reader, err);
    if (!status)
        status = read_all(&src, err);
    gzip_reader_close(src.reader);
    token_stream_close(src.tokens);
    strbuf_free(&src.held);
    return status || src.form != FORM_ARRAY ? status : text_read_array(path, sink, err);
}
