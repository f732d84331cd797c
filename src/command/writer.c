/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A command's result as text, JSON or TSV. JSON is one text on one line. Text tables hold back their first
 * TABLE_MEASURED rows to find the columns' widths; later rows are printed as they come.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/writer.h"

#define DEPTH_MAX      16
#define COLUMNS_MAX    32
#define TABLE_MEASURED 100
#define PLAIN_WIDTH    24 /* least width of names outside tables */

struct cell {
    char *text; /* displayable, or TSV-escaped */
    int number; /* right-aligned */
};

struct table {
    const struct writer_column *columns;
    size_t n;
    struct cell *held; /* [n_held, n] */
    size_t n_held;
    size_t widths[COLUMNS_MAX];
    int measured;
    int n_rows;
};

/* A value outside tables: "name  value" in text, a column of the one row in TSV. */
struct plain {
    char *name, *text;
};

struct writer {
    enum writer_format format;
    int (*sink)(void *arg, const char *bytes, size_t n);
    void *arg;
    int sink_failed;
    struct strbuf out; /* not yet given to the sink; all of it in JSON */
    int json_only, own_text;
    size_t depth;
    int any[DEPTH_MAX]; /* JSON: this level has a member */
    size_t table_depth; /* depth of the table's rows; 0: in no table */
    size_t skip_depth;  /* text, TSV: object or array below which nothing is printed; 0: none */
    struct table table;
    struct cell row[COLUMNS_MAX];
    struct plain *plain; /* held back until it is known how wide their names are */
    size_t n_plain;
    int had_table;
};

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

static void table_free(struct table *t)
{
    for (size_t i = 0; i < t->n_held * t->n; i++)
        free(t->held[i].text);
    free(t->held);
    memset(t, 0, sizeof *t);
}

static void row_clear(struct writer *w)
{
    for (size_t i = 0; i < COLUMNS_MAX; i++) {
        free(w->row[i].text);
        w->row[i] = (struct cell){NULL, 0};
    }
}

static void plain_clear(struct writer *w)
{
    for (size_t i = 0; i < w->n_plain; i++) {
        free(w->plain[i].name);
        free(w->plain[i].text);
    }
    free(w->plain);
    w->plain = NULL;
    w->n_plain = 0;
}

void writer_free(struct writer *w)
{
    if (!w)
        return;
    plain_clear(w);
    table_free(&w->table);
    row_clear(w);
    strbuf_free(&w->out);
    free(w);
}

enum writer_format writer_format(const struct writer *w)
{
    return w->format;
}

static void flush(struct writer *w)
{
    if (w->out.length == 0)
        return;
    if (!w->sink_failed && w->sink(w->arg, w->out.data, w->out.length) != 0)
        w->sink_failed = 1;
    strbuf_reset(&w->out);
}

static void plain_as_text(struct writer *w)
{
    size_t widest = PLAIN_WIDTH;
    for (size_t i = 0; i < w->n_plain; i++) {
        size_t width = display_width(w->plain[i].name, strlen(w->plain[i].name));
        widest = width > widest ? width : widest;
    }
    for (size_t i = 0; i < w->n_plain; i++) {
        size_t width = display_width(w->plain[i].name, strlen(w->plain[i].name));
        strbuf_addf(&w->out, "%s%*s %s\n", w->plain[i].name, (int)(widest - width), "", w->plain[i].text);
    }
    plain_clear(w);
}

static void plain_as_tsv(struct writer *w)
{
    for (size_t i = 0; i < w->n_plain; i++)
        strbuf_addf(&w->out, "%s%s", i ? "\t" : "", w->plain[i].name);
    strbuf_addc(&w->out, '\n');
    for (size_t i = 0; i < w->n_plain; i++)
        strbuf_addf(&w->out, "%s%s", i ? "\t" : "", w->plain[i].text);
    strbuf_addc(&w->out, '\n');
    plain_clear(w);
}

static void reset(struct writer *w)
{
    plain_clear(w);
    w->had_table = 0;
    table_free(&w->table);
    row_clear(w);
    strbuf_reset(&w->out);
    w->json_only = w->own_text = 0;
    w->depth = w->table_depth = w->skip_depth = 0;
    memset(w->any, 0, sizeof w->any);
}

int writer_commit(struct writer *w, struct error *err)
{
    if (w->format == WRITE_JSON && w->out.length > 0)
        strbuf_addc(&w->out, '\n');
    if (w->format == WRITE_TEXT)
        plain_as_text(w);
    else if (w->format == WRITE_TSV && w->n_plain > 0 && !w->had_table)
        plain_as_tsv(w);
    flush(w);
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

static void descend(struct writer *w)
{
    if (w->depth + 1 < DEPTH_MAX)
        w->depth++;
    w->any[w->depth] = 0;
}

/* ---- Cells of tables, and plain values, for text and TSV ---- */

/* Bytes of the character at s that TSV prints as they are; 0: a control character's or invalid ones. */
static size_t printed_bytes(const char *s, size_t n)
{
    unsigned char c = (unsigned char)*s;
    size_t length = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (c < 0x20 || c == 0x7f || length > n || !utf8_valid(s, length))
        return 0;
    return c == 0xc2 && (unsigned char)s[1] < 0xa0 ? 0 : length; /* C1 */
}

static void tsv_escape(struct strbuf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        const char *escape = s[i] == '\t'   ? "\\t"
                             : s[i] == '\n' ? "\\n"
                             : s[i] == '\r' ? "\\r"
                             : s[i] == '\\' ? "\\\\"
                                            : NULL;
        size_t length = printed_bytes(s + i, n - i);
        if (escape)
            strbuf_adds(b, escape);
        else if (length)
            strbuf_add(b, s + i, length);
        else
            strbuf_addf(b, "\\x%02x", (unsigned char)s[i]);
        i += length ? length : 1;
    }
}

static char *cell_text(const struct writer *w, const void *bytes, size_t n)
{
    struct strbuf b = STRBUF_INIT;
    if (w->format == WRITE_TSV)
        tsv_escape(&b, bytes, n);
    else
        displayable(&b, bytes, n);
    return strbuf_detach(&b);
}

static const struct writer_column *find_column(const struct writer *w, const char *name, size_t *i)
{
    for (*i = 0; name && *i < w->table.n; ++*i)
        if (strcmp(w->table.columns[*i].name, name) == 0)
            return &w->table.columns[*i];
    return NULL;
}

static int in_row(const struct writer *w)
{
    return w->table_depth > 0 && w->depth == w->table_depth;
}

/* A value for text or TSV; takes text over. */
static void put_value(struct writer *w, const char *name, char *text, int number)
{
    size_t i;
    if (w->json_only || w->skip_depth) {
        free(text);
    } else if (in_row(w)) {
        if (find_column(w, name, &i)) {
            free(w->row[i].text);
            w->row[i] = (struct cell){text, number};
        } else {
            free(text);
        }
    } else {
        /* What is deeper has no place in TSV's row. */
        if (name && (w->format == WRITE_TEXT ? !w->own_text : w->depth <= 1)) {
            w->plain = xreallocarray(w->plain, w->n_plain + 1, sizeof *w->plain);
            w->plain[w->n_plain++] = (struct plain){xstrdup(name), text};
            return;
        }
        if (w->format == WRITE_TEXT && !w->own_text)
            strbuf_addf(&w->out, "%s\n", text);
        free(text);
    }
}

/* What is inside a value of a row has no cell of its own. */
static void skip_below_row(struct writer *w)
{
    if (w->table_depth && !w->skip_depth && w->depth > w->table_depth)
        w->skip_depth = w->depth;
}

void writer_begin_object(struct writer *w, const char *name)
{
    if (writes_json(w)) {
        json_separator(w, name);
        strbuf_addc(&w->out, '{');
    }
    descend(w);
    skip_below_row(w);
}

void writer_end_object(struct writer *w)
{
    if (writes_json(w))
        strbuf_addc(&w->out, '}');
    if (w->skip_depth == w->depth)
        w->skip_depth = 0;
    if (w->depth > 0)
        w->depth--;
}

void writer_begin_array(struct writer *w, const char *name)
{
    if (writes_json(w)) {
        json_separator(w, name);
        strbuf_addc(&w->out, '[');
    }
    descend(w);
    skip_below_row(w);
}

void writer_end_array(struct writer *w)
{
    if (writes_json(w))
        strbuf_addc(&w->out, ']');
    if (w->skip_depth == w->depth)
        w->skip_depth = 0;
    if (w->depth > 0)
        w->depth--;
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
        put_value(w, name, cell_text(w, bytes, n), 0);
    }
}

void writer_integer(struct writer *w, const char *name, long long n)
{
    if (writes_json(w)) {
        json_separator(w, name);
        strbuf_addf(&w->out, "%lld", n);
    } else if (w->format == WRITE_TSV) {
        put_value(w, name, xasprintf("%lld", n), 1);
    } else {
        struct strbuf b = STRBUF_INIT;
        size_t i;
        /* A latent's own number is an address, not an amount. */
        const struct writer_column *c = in_row(w) ? find_column(w, name, &i) : NULL;
        if (c && c->format && strcmp(c->format, "%d") == 0)
            strbuf_addf(&b, "%lld", n);
        else
            strbuf_add_grouped(&b, n);
        put_value(w, name, strbuf_detach(&b), 1);
    }
}

void writer_real(struct writer *w, const char *name, double x)
{
    size_t i;
    if (writes_json(w)) {
        json_separator(w, name);
        json_dump_real(&w->out, x);
        return;
    }
    const struct writer_column *c = in_row(w) ? find_column(w, name, &i) : NULL;
    if (!isfinite(x))
        put_value(w, name, xstrdup(w->format == WRITE_TSV ? "" : "-"), 1);
    else if (w->format == WRITE_TSV)
        put_value(w, name, xasprintf("%.9g", x), 1);
    else
        put_value(w, name, xasprintf(c && c->format ? c->format : "%.5g", x), 1);
}

void writer_boolean(struct writer *w, const char *name, int b)
{
    if (writes_json(w)) {
        json_separator(w, name);
        strbuf_adds(&w->out, b ? "true" : "false");
    } else {
        put_value(w, name, xstrdup(w->format == WRITE_TSV ? (b ? "true" : "false") : (b ? "yes" : "no")), 0);
    }
}

void writer_null(struct writer *w, const char *name)
{
    if (writes_json(w)) {
        json_separator(w, name);
        strbuf_adds(&w->out, "null");
    } else {
        put_value(w, name, xstrdup(w->format == WRITE_TSV ? "" : "-"), 0);
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
    } else if (json_is_object(value) && !in_row(w)) {
        for (size_t i = 0; i < json_length(value); i++) {
            /* Members of a named object as "training.k". */
            char *path = xasprintf("%s%s%s", name ? name : "", name ? "." : "", json_key_at(value, i));
            writer_json(w, path, json_value_at(value, i));
            free(path);
        }
    } else {
        struct strbuf b = STRBUF_INIT;
        json_dump(value, &b);
        put_value(w, name, cell_text(w, strbuf_string(&b), b.length), 0);
        strbuf_free(&b);
    }
}

void writer_json_only(struct writer *w, int on)
{
    w->json_only = on;
}

void writer_own_text(struct writer *w)
{
    w->own_text = 1;
}

void writer_line(struct writer *w, const char *format, ...)
{
    if (w->format != WRITE_TEXT)
        return;
    plain_as_text(w);
    va_list args;
    va_start(args, format);
    strbuf_vaddf(&w->out, format, args);
    va_end(args);
    strbuf_addc(&w->out, '\n');
}

/* ---- Tables ---- */

static void pad(struct strbuf *b, size_t n)
{
    while (n-- > 0)
        strbuf_addc(b, ' ');
}

static void print_cells(struct writer *w, const struct cell *cells)
{
    size_t start = w->out.length;
    for (size_t i = 0; i < w->table.n; i++) {
        const char *text = cells[i].text ? cells[i].text : "";
        size_t width = display_width(text, strlen(text));
        size_t missing = width < w->table.widths[i] ? w->table.widths[i] - width : 0;
        if (i > 0)
            strbuf_adds(&w->out, "  ");
        if (w->table.columns[i].left) {
            strbuf_adds(&w->out, text);
            pad(&w->out, i + 1 < w->table.n ? missing : 0);
        } else {
            pad(&w->out, missing);
            strbuf_adds(&w->out, text);
        }
    }
    while (w->out.length > start && w->out.data[w->out.length - 1] == ' ')
        w->out.data[--w->out.length] = '\0';
    strbuf_addc(&w->out, '\n');
}

static const char *heading(const struct writer_column *c)
{
    return c->heading ? c->heading : c->name;
}

/* Text: widths from what is held, then the heading and the held rows. */
static void print_held(struct writer *w)
{
    struct table *t = &w->table;
    struct cell headings[COLUMNS_MAX];
    t->measured = 1;
    for (size_t i = 0; i < t->n; i++) {
        char *text = xstrdup(heading(&t->columns[i]));
        headings[i] = (struct cell){text, 0};
        t->widths[i] = display_width(text, strlen(text));
        for (size_t r = 0; r < t->n_held; r++) {
            const char *s = t->held[r * t->n + i].text;
            size_t width = s ? display_width(s, strlen(s)) : 0;
            if (width > t->widths[i])
                t->widths[i] = width;
        }
    }
    if (t->n_held > 0)
        print_cells(w, headings);
    for (size_t i = 0; i < t->n; i++)
        free(headings[i].text);
    for (size_t r = 0; r < t->n_held; r++)
        print_cells(w, &t->held[r * t->n]);
    for (size_t i = 0; i < t->n_held * t->n; i++)
        free(t->held[i].text);
    free(t->held);
    t->held = NULL;
    t->n_held = 0;
}

void writer_begin_table(struct writer *w, const char *name, const struct writer_column *columns, size_t n)
{
    if (writes_json(w)) {
        writer_begin_array(w, name);
        return;
    }
    descend(w);
    if (w->json_only || w->table_depth)
        return;
    if (w->format == WRITE_TEXT)
        plain_as_text(w);
    else if (w->had_table)
        strbuf_addc(&w->out, '\n'); /* an empty line between tables */
    w->had_table = 1;
    table_free(&w->table);
    w->table.columns = columns;
    w->table.n = n < COLUMNS_MAX ? n : COLUMNS_MAX;
    w->table_depth = w->depth + 1;
    if (w->format == WRITE_TSV) {
        for (size_t i = 0; i < w->table.n; i++)
            strbuf_addf(&w->out, "%s%s", i ? "\t" : "", columns[i].name);
        strbuf_addc(&w->out, '\n');
    }
}

void writer_begin_row(struct writer *w)
{
    writer_begin_object(w, NULL);
    if (in_row(w))
        row_clear(w);
}

static void end_tsv_row(struct writer *w)
{
    for (size_t i = 0; i < w->table.n; i++)
        strbuf_addf(&w->out, "%s%s", i ? "\t" : "", w->row[i].text ? w->row[i].text : "");
    strbuf_addc(&w->out, '\n');
}

static void end_text_row(struct writer *w)
{
    struct table *t = &w->table;
    if (t->measured) {
        print_cells(w, w->row);
        return;
    }
    t->held = xreallocarray(t->held, (t->n_held + 1) * t->n, sizeof *t->held);
    memcpy(&t->held[t->n_held * t->n], w->row, t->n * sizeof *t->held);
    memset(w->row, 0, sizeof w->row);
    if (++t->n_held == TABLE_MEASURED)
        print_held(w);
}

void writer_end_row(struct writer *w)
{
    if (in_row(w)) {
        if (w->format == WRITE_TSV)
            end_tsv_row(w);
        else
            end_text_row(w);
        row_clear(w);
        if (w->out.length > 1 << 16)
            flush(w);
    }
    writer_end_object(w);
}

void writer_end_table(struct writer *w)
{
    if (writes_json(w)) {
        writer_end_array(w);
        return;
    }
    if (w->table_depth == w->depth + 1) {
        if (w->format == WRITE_TEXT && !w->table.measured)
            print_held(w);
        table_free(&w->table);
        row_clear(w);
        w->table_depth = 0;
    }
    w->depth--;
}
