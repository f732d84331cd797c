/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files of bytes from start to end, gzip or not. The reader tells gzip by its first two bytes, never by its name, and
 * inflates as it is asked, so that memory does not grow with the file; checksums and lengths are checked. The writer
 * writes beside the file and renames at its end. Built without zlib, both refuse gzip and read and write the rest.
 *
 * Not thread-safe: one thread a reader or writer at a time.
 */
#ifndef SAESCOPE_FILES_GZIP_H
#define SAESCOPE_FILES_GZIP_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/error.h"
#include "saescope/base/strbuf.h"

struct gzip_reader;

/* "-" is standard input. STATUS_REFUSED when it cannot be opened, is a directory, or is gzip and cannot be read. */
int gzip_reader_open(const char *path, struct gzip_reader **out, struct error *err);
void gzip_reader_close(struct gzip_reader *r); /* NULL is fine */
/* Up to n (> 0) bytes; *got 0 is the end. STATUS_REFUSED for data that is damaged or ends too early. */
int gzip_reader_read(struct gzip_reader *r, void *bytes, size_t n, size_t *got, struct error *err);
/*
 * The next line, in place of what out held, without its LF or CRLF; *end is set (and out empty) after the last one. A last
 * line needs no LF. STATUS_REFUSED for a line of more than max bytes. Not to be mixed with gzip_reader_read.
 */
int gzip_reader_line(struct gzip_reader *r, size_t max, struct strbuf *out, int *end, struct error *err);
/* For progress: bytes taken of the file, and its size (0: not known). */
uint64_t gzip_reader_position(const struct gzip_reader *r);
uint64_t gzip_reader_size(const struct gzip_reader *r);

/* Whether gzip can be read and written. */
int gzip_supported(void);

struct gzip_writer;

/* compress 0: plain bytes. The same bytes always make the same file. */
int gzip_writer_open(const char *path, int compress, struct gzip_writer **out, struct error *err);
int gzip_writer_write(struct gzip_writer *w, const void *bytes, size_t n, struct error *err);
/* Ends the file, syncs it and gives it its name. Frees w in any case; *size (may be NULL): of the file. */
int gzip_writer_finish(struct gzip_writer *w, uint64_t *size, struct error *err);
void gzip_writer_abandon(struct gzip_writer *w); /* nothing is left of it; NULL is fine */

#endif
