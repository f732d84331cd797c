/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A writer's back ends for text and TSV. Text tables hold back their first TABLE_MEASURED rows to find the
 * columns' widths; later rows are printed as they come.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/writer_parts.h"

#define TABLE_MEASURED 100
#define PLAIN_WIDTH    24 /* least width of names outside tables */

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
        w->row[i] = (struct cell){NULL};
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

void writer_clear_held(struct writer *w)
{
    plain_clear(w);
    table_free(&w->table);
    row_clear(w);
}

/* ---- Values outside tables ---- */

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

void writer_put_plain(struct writer *w)
{
    if (w->format == WRITE_TEXT)
        plain_as_text(w);
    else if (w->format == WRITE_TSV && w->n_plain > 0 && !w->had_table)
        plain_as_tsv(w);
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

/* ---- Values ---- */

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

char *writer_cell_text(const struct writer *w, const void *bytes, size_t n)
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

int writer_in_row(const struct writer *w)
{
    return w->table_depth > 0 && w->depth == w->table_depth;
}

const char *writer_column_format(const struct writer *w, const char *name)
{
    size_t i;
    const struct writer_column *c = writer_in_row(w) ? find_column(w, name, &i) : NULL;
    return c ? c->format : NULL;
}

void writer_put(struct writer *w, const char *name, char *text)
{
    size_t i;
    if (w->json_only || w->skip_depth) {
        free(text);
    } else if (writer_in_row(w)) {
        if (find_column(w, name, &i)) {
            free(w->row[i].text);
            w->row[i] = (struct cell){text};
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
        headings[i] = (struct cell){text};
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
    if (w->format == WRITE_JSON) {
        writer_begin_array(w, name);
        return;
    }
    writer_descend(w);
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
    if (writer_in_row(w))
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
    if (writer_in_row(w)) {
        if (w->format == WRITE_TSV)
            end_tsv_row(w);
        else
            end_text_row(w);
        row_clear(w);
        if (w->out.length > 1 << 16)
            writer_flush(w);
    }
    writer_end_object(w);
}

void writer_end_table(struct writer *w)
{
    if (w->format == WRITE_JSON) {
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
