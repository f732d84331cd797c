/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files to documents: lines, whole files, or a member of JSON lines. Only what is not yet a whole line is
 * held; a long line or file goes on in parts, cut where its tokens do not change.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/json.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
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

enum form { FORM_UNKNOWN, FORM_LINES, FORM_WHOLE, FORM_JSON_LINES };

struct source {
    const char *path;
    const struct text_import *options;
    struct text_sink *sink;
    int fd;
    enum form form;
    struct strbuf held;
    size_t searched; /* of held: has no line's end, and no place to cut */
    int in_document; /* parts of the document that held goes on with were given already */
    size_t line;     /* JSON lines: counted from 1 */
};

static int ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

/* By the name, else by the first byte that is no blank. */
static enum form find_form(const struct source *src)
{
    if (ends_with(src->path, ".jsonl") || ends_with(src->path, ".ndjson"))
        return FORM_JSON_LINES;
    if (src->options->document_a_file)
        return FORM_WHOLE;
    if (ends_with(src->path, ".txt"))
        return FORM_LINES;
    const char *text = strbuf_string(&src->held);
    size_t at = 0;
    while (at < src->held.length && strchr(" \t\r\n", text[at]))
        at++;
    return text[at] == '{' ? FORM_JSON_LINES : FORM_LINES;
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

static int give_member(struct source *src, const char *line, size_t n, int hidden, struct error *err)
{
    const char *field = src->options->field ? src->options->field : "text";
    char *where = xasprintf("%s: line %zu", src->path, src->line);
    json *object = json_parse(line, n, where, err);
    const json *member = object ? json_get(object, field) : NULL;
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

static int read_all(struct source *src, struct error *err)
{
    char *buffer = xmalloc(READ_BYTES);
    int status = STATUS_OK;
    while (!status) {
        ssize_t n = read(src->fd, buffer, READ_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            status = error_system(err, STATUS_REFUSED, errno, "%s", src->path);
        if (n <= 0)
            break;
        text_sink_count_bytes(src->sink, (size_t)n);
        strbuf_add(&src->held, buffer, (size_t)n);
        if (src->form == FORM_UNKNOWN)
            src->form = find_form(src);
        status = give_held(src, err);
    }
    free(buffer);
    if (status || (!src->held.length && !src->in_document))
        return status;
    if (src->form == FORM_JSON_LINES)
        return give_json_line(src, src->held.data, src->held.length, err);
    return give_text(src, src->held.data, src->held.length, 1, err);
}

int text_source_read(const char *path, const struct text_import *options, struct text_sink *sink,
                     struct error *err)
{
    struct source src = {.path = path, .options = options, .sink = sink, .held = STRBUF_INIT};
    src.fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (src.fd < 0)
        return error_system(err, STATUS_REFUSED, errno, "%s", path);
    int status = read_all(&src, err);
    if (src.fd != STDIN_FILENO)
        close(src.fd);
    strbuf_free(&src.held);
    return status;
}
