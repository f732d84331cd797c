/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where a command's result goes. A handler describes its result once, as a tree of named values and tables, and the
 * back end prints it: text for people, one JSON text on one line, TSV, or rows for the TUI. In JSON the tree is printed as it is;
 * text and TSV print what the handler marked for them:
 *   - a table (array of objects whose columns are declared) is printed with aligned columns, or as TSV with a header;
 *   - a value outside tables is printed in text as "name  value" unless the handler writes its own lines with
 *     writer_line, which only the text back end prints; in TSV, when there is no table, the outermost such values
 *     are one row.
 * Rows are written as they come; nothing is held back but the widths of a text table's first screenful.
 * A failing command writes nothing: JSON is buffered until writer_commit.
 */
#ifndef SAESCOPE_COMMAND_WRITER_H
#define SAESCOPE_COMMAND_WRITER_H

#include <stddef.h>
#include <stdio.h>
#include "saescope/base/json.h"
#include "saescope/base/strbuf.h"

enum writer_format { WRITE_TEXT, WRITE_JSON, WRITE_TSV };

struct writer;
/* sink gets the bytes; returns non-zero when they can't be written (a closed pipe). */
struct writer *writer_new(enum writer_format format, int (*sink)(void *arg, const char *bytes, size_t n), void *arg);
struct writer *writer_to_file(enum writer_format format, FILE *f);
void writer_free(struct writer *w);
enum writer_format writer_format(const struct writer *w);
int writer_commit(struct writer *w, struct error *err); /* ends the result; error when the sink failed */
void writer_discard(struct writer *w);                  /* the command failed */

/* ---- The tree. `name` is NULL inside arrays and at the root. ---- */
void writer_begin_object(struct writer *w, const char *name);
void writer_end_object(struct writer *w);
void writer_begin_array(struct writer *w, const char *name);
void writer_end_array(struct writer *w);
void writer_string(struct writer *w, const char *name, const char *s);              /* NULL: null */
void writer_bytes(struct writer *w, const char *name, const void *bytes, size_t n); /* text from data */
void writer_integer(struct writer *w, const char *name, long long n);
void writer_real(struct writer *w, const char *name, double x);
void writer_boolean(struct writer *w, const char *name, int b);
void writer_null(struct writer *w, const char *name);
void writer_json(struct writer *w, const char *name, const json *value);
/* A member that only JSON gets (the others skip it with all below it). */
void writer_json_only(struct writer *w, int on);

/* ---- Tables: arrays of objects with declared columns. In a row, write each column's value with the calls above
 * under its name, in the declared order; values under other names go to JSON only. ---- */
struct writer_column {
    const char *name;    /* of the member, and TSV's header */
    const char *heading; /* text's heading; NULL: name */
    const char *format;  /* text's printf format of a real, for example "%.2f"; NULL: by value */
    int left;            /* left-aligned (text values) */
};
void writer_begin_table(struct writer *w, const char *name, const struct writer_column *columns, size_t n);
void writer_begin_row(struct writer *w);
void writer_end_row(struct writer *w);
void writer_end_table(struct writer *w);

/* A line of text for people; the other back ends ignore it. Arguments from data must be displayable already. */
void writer_line(struct writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Text back end: do not print plain values (the handler writes lines of its own). */
void writer_own_text(struct writer *w);

#endif
