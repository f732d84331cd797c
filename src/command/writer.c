/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A command's result: the tree, and JSON, which is one text on one line. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/command/writer_parts.h"

struct writer *writer_new(enum writer_format format, int (*sink)(void *arg, const char *bytes, size_t n),
                          void *arg)
{
    struct writer *w = xcalloc(1, sizeof *w);
    w->format = format;
    w->sink = sink;
    w->arg = arg;
    return w;
}

static int file_sink(void *arg, const char *bytes, size_t n)
{
    return fwrite(bytes, 1, n, arg) != n;
}

struct writer *writer_to_file(enum writer_format format, FILE *f)
{
    return writer_new(format, file_sink, f);
}

void writer_free(struct writer *w)
{
    if (!w)
        return;
    writer_clear_held(w);
    strbuf_free(&w->out);
    free(w);
}

enum writer_format writer_format(const struct writer *w)
{
    return w->format;
}

void writer_flush(struct writer *w)
{
    if (w->out.length == 0)
        return;
    if (!w->sink_failed && w->sink(w->arg, w->out.data, w->out.length) != 0)
        w->sink_failed = 1;
    strbuf_reset(&w->out);
}

static void reset(struct writer *w)
{
    writer_clear_held(w);
    w->had_table = 0;
    strbuf_reset(&w->out);
    w->json_only = w->own_text = 0;
    w->depth = w->table_depth = w->skip_depth = 0;
    memset(w->any, 0, sizeof w->any);
}

int writer_commit(struct writer *w, struct error *err)
{
    if (w->format == WRITE_JSON && w->out.length > 0)
        strbuf_addc(&w->out, '\n');
    writer_put_plain(w);
    writer_flush(w);
    reset(w);
    if (w->sink_failed)
        return error_set(err, STATUS_FAILED, "the output cannot be written");
    return STATUS_OK;
}

void writer_discard(struct writer *w)
{
    reset(w);
}

/* ---- JSON ---- */

static int writes_json(const struct writer *w)
{
    return w->format == WRITE_JSON;
}

static void json_separator(struct writer *w, const char *name)
{
    if (w->depth > 0 && w->any[w->depth])
        strbuf_addc(&w->out, ',');
    w->any[w->depth] = 1;
    if (name) {
        json_dump_string(&w->out, name, strlen(name));
        strbuf_addc(&w->out, ':');
    }
}

void writer_descend(struct writer *w)
{
    if (w->depth + 1 < DEPTH_MAX)
        w->depth++;
    w->any[w->depth] = 0;
}

/* What is inside a value of a row has no cell of its own. */
static void skip_below_row(struct writer *w)
{
    if (w->table_depth && !w->skip_depth && w->depth > w->table_depth)
        w->skip_depth = w->depth;
}

static void begin(struct writer *w, const char *name, char bracket)
{
    if (writes_json(w)) {
        json_separator(w, name);
        strbuf_addc(&w->out, bracket);
    }
    writer_descend(w);
    skip_below_row(w);
}

static void end(struct writer *w, char bracket)
{
    if (writes_json(w))
        strbuf_addc(&w->out, bracket);
    if (w->skip_depth == w->depth)
        w->skip_depth = 0;
    if (w->depth > 0)
        w->depth--;
}

void writer_begin_object(struct writer *w, const char *name)
{
    begin(w, name, '{');
}

void writer_end_object(struct writer *w)
{
    end(w, '}');
}

void writer_begin_array(struct writer *w, const char *name)
{
    begin(w, name, '[');
}

void writer_end_array(struct writer *w)
{
    end(w, ']');
}

void writer_string(struct writer *w, const char *name, const char *s)
{
    if (s)
        writer_bytes(w, name, s, strlen(s));
    else
        writer_null(w, name);
}

void writer_bytes(struct writer *w, const char *name, const void *bytes, size_t n)
{
    if (writes_json(w)) {
        json_separator(w, name);
        json_dump_string(&w->out, bytes, n);
    } else {
        writer_put(w, name, writer_cell_text(w, bytes, n));
    }
}

void writer_integer(struct writer *w, const char *name, long long n)
{
    if (writes_json(w)) {
        json_separator(w, name);
        strbuf_addf(&w->out, "%lld", n);
    } else if (w->format == WRITE_TSV) {
        writer_put(w, name, xasprintf("%lld", n));
    } else {
        struct strbuf b = STRBUF_INIT;
        const char *format = writer_column_format(w, name);
        /* A latent's own number is an address, not an amount. */
        if (format && strcmp(format, "%d") == 0)
            strbuf_addf(&b, "%lld", n);
        else
            strbuf_add_grouped(&b, n);
        writer_put(w, name, strbuf_detach(&b));
    }
}

void writer_real(struct writer *w, const char *name, double x)
{
    if (writes_json(w)) {
        json_separator(w, name);
        json_dump_real(&w->out, x);
        return;
    }
    const char *format = writer_column_format(w, name);
    if (!isfinite(x))
        writer_put(w, name, xstrdup(w->format == WRITE_TSV ? "" : "-"));
    else if (w->format == WRITE_TSV)
        writer_put(w, name, xasprintf("%.9g", x));
    else
        writer_put(w, name, xasprintf(format ? format : "%.5g", x));
}

void writer_boolean(struct writer *w, const char *name, int b)
{
    if (writes_json(w)) {
        json_separator(w, name);
        strbuf_adds(&w->out, b ? "true" : "false");
    } else {
        writer_put(w, name, xstrdup(w->format == WRITE_TSV ? (b ? "true" : "false") : (b ? "yes" : "no")));
    }
}

void writer_null(struct writer *w, const char *name)
{
    if (writes_json(w)) {
        json_separator(w, name);
        strbuf_adds(&w->out, "null");
    } else {
        writer_put(w, name, xstrdup(w->format == WRITE_TSV ? "" : "-"));
    }
}

void writer_json(struct writer *w, const char *name, const json *value)
{
    if (writes_json(w)) {
        json_separator(w, name);
        json_dump(value, &w->out);
    } else if (json_is_string(value)) {
        writer_bytes(w, name, json_string(value, ""), json_string_length(value));
    } else if (json_is_boolean(value)) {
        writer_boolean(w, name, json_boolean(value, 0));
    } else if (json_is_integer(value)) {
        writer_integer(w, name, json_integer(value, 0));
    } else if (json_is_number(value)) {
        writer_real(w, name, json_number(value, 0));
    } else if (json_is_null(value)) {
        writer_null(w, name);
    } else if (json_is_object(value) && !writer_in_row(w)) {
        for (size_t i = 0; i < json_length(value); i++) {
            /* Members of a named object as "training.k". */
            char *path = xasprintf("%s%s%s", name ? name : "", name ? "." : "", json_key_at(value, i));
            writer_json(w, path, json_value_at(value, i));
            free(path);
        }
    } else {
        struct strbuf b = STRBUF_INIT;
        json_dump(value, &b);
        writer_put(w, name, writer_cell_text(w, strbuf_string(&b), b.length));
        strbuf_free(&b);
    }
}

void writer_json_only(struct writer *w, int on)
{
    w->json_only = on;
}
