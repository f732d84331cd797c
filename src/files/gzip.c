/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Streams of bytes, gzip (RFC 1952) or plain: zlib's streams over descriptors. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef HAVE_ZLIB
#define ZLIB_CONST
#include <zlib.h>
#endif

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/files/gzip.h"

#define BUFFER_BYTES ((size_t)64 << 10)
#define WINDOW_GZIP  (15 + 16) /* zlib's largest window, with gzip's header and trailer */

int gzip_supported(void)
{
#ifdef HAVE_ZLIB
    return 1;
#else
    return 0;
#endif
}

/* ---- Reading. ---- */

struct gzip_reader {
    int fd;
    char *shown; /* path, displayable */
    uint64_t position, size;
    int at_end; /* of the file */
    int compressed;
    int in_member;     /* between a gzip header's first byte and its trailer's last */
    unsigned char *in; /* [BUFFER_BYTES]; of it [from, to) is not used yet */
    size_t from, to;
    struct strbuf lines; /* read ahead for lines; of it `taken` bytes are given out */
    size_t taken;
#ifdef HAVE_ZLIB
    z_stream z;
#endif
};

/* More of the file behind what is there. */
static int fill(struct gzip_reader *r, struct error *err)
{
    if (r->from) {
        memmove(r->in, r->in + r->from, r->to - r->from);
        r->to -= r->from;
        r->from = 0;
    }
    while (!r->at_end && r->to < BUFFER_BYTES) {
        ssize_t n = read(r->fd, r->in + r->to, BUFFER_BYTES - r->to);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_system(err, STATUS_REFUSED, errno, "%s: cannot read", r->shown);
        r->at_end = n == 0;
        r->to += (size_t)n;
        r->position += (uint64_t)n;
        if (n > 0)
            break;
    }
    return STATUS_OK;
}

static int looks_compressed(const struct gzip_reader *r)
{
    return r->to - r->from >= 2 && r->in[r->from] == 0x1f && r->in[r->from + 1] == 0x8b;
}

static int begin_reading(struct gzip_reader *r, struct error *err)
{
    struct stat st;
    int status = STATUS_OK;
    if (fstat(r->fd, &st))
        return error_system(err, STATUS_REFUSED, errno, "%s: cannot read", r->shown);
    if (S_ISDIR(st.st_mode))
        return error_set(err, STATUS_REFUSED, "%s: is a directory, not a file", r->shown);
    if (S_ISREG(st.st_mode))
        r->size = (uint64_t)st.st_size;
    while (!status && r->to < 2 && !r->at_end)
        status = fill(r, err);
    if (status || !looks_compressed(r))
        return status;
#ifdef HAVE_ZLIB
    if (inflateInit2(&r->z, WINDOW_GZIP) != Z_OK)
        return error_set(err, STATUS_FAILED, "not enough memory to inflate %s", r->shown);
    r->compressed = r->in_member = 1;
    return STATUS_OK;
#else
    return error_set(err, STATUS_REFUSED,
                     "%s: is gzip, and this program was built without zlib: unpack it first (gzip -d)",
                     r->shown);
#endif
}

int gzip_reader_open(const char *path, struct gzip_reader **out, struct error *err)
{
    int standard = strcmp(path, "-") == 0;
    struct gzip_reader *r = xcalloc(1, sizeof(*r));
    *out = NULL;
    r->shown = standard ? xstrdup("standard input") : displayable_string(path);
    r->in = xmalloc(BUFFER_BYTES);
    r->fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    int status = r->fd < 0 ? error_system(err, STATUS_REFUSED, errno, "%s: cannot open", r->shown)
                           : begin_reading(r, err);
    if (status) {
        gzip_reader_close(r);
        return status;
    }
    *out = r;
    return STATUS_OK;
}

void gzip_reader_close(struct gzip_reader *r)
{
    if (!r)
        return;
#ifdef HAVE_ZLIB
    if (r->compressed)
        inflateEnd(&r->z);
#endif
    if (r->fd > STDIN_FILENO)
        close(r->fd);
    strbuf_free(&r->lines);
    free(r->in);
    free(r->shown);
    free(r);
}

static int read_plain(struct gzip_reader *r, void *bytes, size_t n, size_t *got, struct error *err)
{
    int status = r->from == r->to ? fill(r, err) : STATUS_OK;
    *got = r->to - r->from < n ? r->to - r->from : n;
    memcpy(bytes, r->in + r->from, *got);
    r->from += *got;
    return status;
}

#ifdef HAVE_ZLIB
/* At the end of a member: another one, or the end of the file. */
static int next_member(struct gzip_reader *r, struct error *err)
{
    int status = STATUS_OK;
    while (!status && r->to - r->from < 2 && !r->at_end)
        status = fill(r, err);
    if (status || r->from == r->to)
        return status;
    if (!looks_compressed(r))
        return error_set(err, STATUS_REFUSED, "%s: other bytes follow the compressed data", r->shown);
    if (inflateReset(&r->z) != Z_OK)
        return error_set(err, STATUS_FAILED, "%s: cannot inflate", r->shown);
    r->in_member = 1;
    return STATUS_OK;
}

static int read_compressed(struct gzip_reader *r, void *bytes, size_t n, size_t *got, struct error *err)
{
    uInt room = n < UINT_MAX ? (uInt)n : UINT_MAX;
    r->z.next_out = bytes;
    r->z.avail_out = room;
    while (r->z.avail_out == room) {
        int status = r->in_member ? STATUS_OK : next_member(r, err);
        if (!status && r->in_member && r->from == r->to)
            status = fill(r, err);
        if (status)
            return status;
        if (!r->in_member)
            break; /* the end */
        if (r->from == r->to)
            return error_set(err, STATUS_REFUSED, "%s: the compressed data ends too early", r->shown);
        r->z.next_in = r->in + r->from;
        r->z.avail_in = (uInt)(r->to - r->from);
        int code = inflate(&r->z, Z_NO_FLUSH);
        r->from = r->to - r->z.avail_in;
        if (code == Z_STREAM_END)
            r->in_member = 0;
        else if (code == Z_MEM_ERROR)
            return error_set(err, STATUS_FAILED, "not enough memory to inflate %s", r->shown);
        else if (code != Z_OK && code != Z_BUF_ERROR)
            return error_set(err, STATUS_REFUSED, "%s: the compressed data is damaged (%s)", r->shown,
                             r->z.msg ? r->z.msg : "no gzip data");
    }
    *got = room - r->z.avail_out;
    return STATUS_OK;
}
#endif

int gzip_reader_read(struct gzip_reader *r, void *bytes, size_t n, size_t *got, struct error *err)
{
    *got = 0;
#ifdef HAVE_ZLIB
    if (r->compressed)
        return read_compressed(r, bytes, n, got, err);
#endif
    return read_plain(r, bytes, n, got, err);
}

int gzip_reader_line(struct gzip_reader *r, size_t max, struct strbuf *out, int *end, struct error *err)
{
    struct strbuf *lines = &r->lines;
    size_t searched = r->taken, got = 1;
    char *piece = NULL;
    const char *line_end = NULL;
    int status = STATUS_OK;

    strbuf_reset(out);
    *end = 0;
    for (;;) {
        if (lines->length > searched)
            line_end = memchr(lines->data + searched, '\n', lines->length - searched);
        size_t length = line_end ? (size_t)(line_end - lines->data) - r->taken : lines->length - r->taken;
        if (!status && length > max)
            status = error_set(err, STATUS_REFUSED, "%s: a line is longer than %zu bytes", r->shown, max);
        if (status || line_end || !got)
            break;
        searched = lines->length;
        if (r->taken > BUFFER_BYTES) {
            memmove(lines->data, lines->data + r->taken, lines->length - r->taken);
            lines->length -= r->taken;
            searched -= r->taken;
            r->taken = 0;
        }
        if (!piece)
            piece = xmalloc(BUFFER_BYTES);
        status = gzip_reader_read(r, piece, BUFFER_BYTES, &got, err);
        strbuf_add(lines, piece, got);
    }
    free(piece);
    if (status)
        return status;
    size_t length = line_end ? (size_t)(line_end - lines->data) - r->taken : lines->length - r->taken;
    *end = !line_end && length == 0;
    strbuf_add(out, length ? lines->data + r->taken : "", length);
    r->taken += length + (line_end != NULL);
    if (out->length && out->data[out->length - 1] == '\r')
        out->data[--out->length] = '\0';
    return STATUS_OK;
}

uint64_t gzip_reader_position(const struct gzip_reader *r)
{
    return r->position;
}

uint64_t gzip_reader_size(const struct gzip_reader *r)
{
    return r->size;
}

/* ---- Writing. ---- */

struct gzip_writer {
    int fd;
    int compressed;
    char *path, *temporary, *shown;
    uint64_t size;
    unsigned char *buffer; /* [BUFFER_BYTES]; the first `held` are not written yet */
    size_t held;
#ifdef HAVE_ZLIB
    z_stream z;
#endif
};

static void free_writer(struct gzip_writer *w)
{
#ifdef HAVE_ZLIB
    if (w->compressed)
        deflateEnd(&w->z);
#endif
    free(w->path);
    free(w->temporary);
    free(w->shown);
    free(w->buffer);
    free(w);
}

int gzip_writer_open(const char *path, int compress, struct gzip_writer **out, struct error *err)
{
    *out = NULL;
    if (compress && !gzip_supported())
        return error_set(err, STATUS_REFUSED, "this program was built without zlib: it cannot write gzip");
    struct gzip_writer *w = xcalloc(1, sizeof(*w));
    w->path = xstrdup(path);
    w->temporary = xasprintf("%s.tmp-%ld", path, (long)getpid());
    w->shown = displayable_string(path);
    w->buffer = xmalloc(BUFFER_BYTES);
    w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    int status =
        w->fd < 0 ? error_system(err, STATUS_FAILED, errno, "%s: cannot create", w->shown) : STATUS_OK;
#ifdef HAVE_ZLIB
    if (!status && compress) {
        if (deflateInit2(&w->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW_GZIP, 8, Z_DEFAULT_STRATEGY) ==
            Z_OK)
            w->compressed = 1;
        else
            status = error_set(err, STATUS_FAILED, "not enough memory to compress %s", w->shown);
    }
#endif
    if (status) {
        gzip_writer_abandon(w);
        return status;
    }
    *out = w;
    return STATUS_OK;
}

static int flush(struct gzip_writer *w, struct error *err)
{
    for (size_t done = 0; done < w->held;) {
        ssize_t n = write(w->fd, w->buffer + done, w->held - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_system(err, STATUS_FAILED, errno, "%s: cannot write", w->shown);
        done += (size_t)n;
    }
    w->size += w->held;
    w->held = 0;
    return STATUS_OK;
}

#ifdef HAVE_ZLIB
/* Compresses what z holds; at the end (Z_FINISH) all of it. */
static int deflate_into(struct gzip_writer *w, int how, struct error *err)
{
    for (;;) {
        w->z.next_out = w->buffer + w->held;
        w->z.avail_out = (uInt)(BUFFER_BYTES - w->held);
        int code = deflate(&w->z, how);
        w->held = BUFFER_BYTES - w->z.avail_out;
        if (code == Z_STREAM_ERROR)
            return error_set(err, STATUS_FAILED, "%s: cannot compress", w->shown);
        if (code == Z_STREAM_END || w->z.avail_out)
            return STATUS_OK;
        int status = flush(w, err);
        if (status)
            return status;
    }
}
#endif

int gzip_writer_write(struct gzip_writer *w, const void *bytes, size_t n, struct error *err)
{
    const unsigned char *from = bytes;
    int status = STATUS_OK;
    while (n && !status) {
        size_t part = n < BUFFER_BYTES ? n : BUFFER_BYTES;
#ifdef HAVE_ZLIB
        if (w->compressed) {
            w->z.next_in = from;
            w->z.avail_in = (uInt)part;
            status = deflate_into(w, Z_NO_FLUSH, err);
            from += part;
            n -= part;
            continue;
        }
#endif
        if (w->held == BUFFER_BYTES)
            status = flush(w, err);
        if (part > BUFFER_BYTES - w->held)
            part = BUFFER_BYTES - w->held;
        memcpy(w->buffer + w->held, from, part);
        w->held += part;
        from += part;
        n -= part;
    }
    return status;
}

int gzip_writer_finish(struct gzip_writer *w, uint64_t *size, struct error *err)
{
    int status = STATUS_OK;
#ifdef HAVE_ZLIB
    if (w->compressed)
        status = deflate_into(w, Z_FINISH, err);
#endif
    if (!status)
        status = flush(w, err);
    if (!status && fsync(w->fd))
        status = error_system(err, STATUS_FAILED, errno, "%s: cannot write", w->shown);
    if (!status && rename(w->temporary, w->path))
        status = error_system(err, STATUS_FAILED, errno, "%s: cannot rename to this name", w->shown);
    if (status) {
        gzip_writer_abandon(w);
        return status;
    }
    if (size)
        *size = w->size;
    close(w->fd);
    free_writer(w);
    return STATUS_OK;
}

void gzip_writer_abandon(struct gzip_writer *w)
{
    if (!w)
        return;
    if (w->fd >= 0) {
        unlink(w->temporary);
        close(w->fd);
    }
    free_writer(w);
}
