/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the back ends of a writer share: writer.c, which is the tree and JSON, and writer_text.c, text and TSV. */
#ifndef SAESCOPE_COMMAND_WRITER_PARTS_H
#define SAESCOPE_COMMAND_WRITER_PARTS_H

#include "saescope/command/writer.h"

#define DEPTH_MAX   16
#define COLUMNS_MAX 32

struct cell {
    char *text; /* displayable, or TSV-escaped */
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

/* ---- writer.c ---- */
void writer_flush(struct writer *w); /* what is in `out`, to the sink */
void writer_descend(struct writer *w);

/* ---- writer_text.c; none of it for JSON. ---- */
void writer_put(struct writer *w, const char *name, char *text); /* a value; takes text over */
char *writer_cell_text(const struct writer *w, const void *bytes, size_t n);  /* displayable, or TSV-escaped; malloc'd */
/* The declared format of the column that the value of this name goes to; NULL: none, or it goes to no column. */
const char *writer_column_format(const struct writer *w, const char *name);
int writer_in_row(const struct writer *w); /* directly in a table's row */
void writer_put_plain(struct writer *w);   /* prints the plain values that are held back */
void writer_clear_held(struct writer *w);  /* plain values, the row and the table */

#endif
