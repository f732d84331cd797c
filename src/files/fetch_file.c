/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files: what is there of one is hashed and kept, the rest is asked for with Range, again and again while
 * bytes come. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/files/fetch_internal.h"

#define HASH_PIECE     ((size_t)1 << 20)
#define PROGRESS_BYTES 65536 /* a try that brought less counts as one without progress */
#define RATE_SECONDS   2.0

struct getting {
    struct fetch *fetch;
    const struct file_fetch *file;
    int fd;
    uint64_t have, asked; /* bytes that are there; where the current request begins */
    uint64_t in_response; /* bytes of the current one that were written */
    int restarted;        /* the part that was there at first was thrown away */
    int wrong;            /* what is there is known to be no part of the file */
    struct digest *digest;
};

static int file_failed(const struct getting *g, const char *what, struct error *err)
{
    int number = errno;
    char *shown = displayable_string(g->file->path);
    error_system(err, STATUS_FAILED, number, "%s: %s", shown, what);
    free(shown);
    return STATUS_FAILED;
}

/* ---- Progress. ---- */

static void count(struct getting *g, int64_t bytes)
{
    struct fetch *f = g->fetch;
    if (!f->progress)
        return;
    f->progress->step += (uint64_t)bytes;
    double now = clock_seconds();
    if (f->rate_since <= 0 || now < f->rate_since || f->progress->step < f->rate_bytes) {
        f->rate_since = now;
        f->rate_bytes = f->progress->step;
    } else if (now - f->rate_since >= RATE_SECONDS ||
               (isnan(f->progress->rate) && now - f->rate_since > 0.2)) {
        f->progress->rate = (double)(f->progress->step - f->rate_bytes) / 1e6 / (now - f->rate_since);
        f->rate_since = now;
        f->rate_bytes = f->progress->step;
    }
    monitor_report(f->monitor, f->progress);
}

/* So that the rate falls when nothing comes. */
static void tick(void *arg)
{
    count(arg, 0);
}

/* ---- What is there already. ---- */

static int new_digest(struct getting *g, struct error *err)
{
    digest_free(g->digest);
    g->digest = NULL;
    return g->file->digest == DIGEST_NONE ? STATUS_OK
                                          : digest_start(g->file->digest, g->file->size, &g->digest, err);
}

static int start_over(struct getting *g, struct error *err)
{
    if (ftruncate(g->fd, 0) || lseek(g->fd, 0, SEEK_SET) < 0)
        return file_failed(g, "cannot be emptied", err);
    count(g, -(int64_t)g->have);
    g->have = g->asked = g->in_response = 0;
    g->restarted = 1;
    g->wrong = 0;
    return new_digest(g, err);
}

static int hash_start(struct getting *g, struct error *err)
{
    char *piece = xmalloc(HASH_PIECE);
    int status = STATUS_OK;
    uint64_t at = 0;
    while (status == STATUS_OK && at < g->have) {
        size_t wanted = g->have - at < HASH_PIECE ? (size_t)(g->have - at) : HASH_PIECE;
        ssize_t n = read(g->fd, piece, wanted);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            status = file_failed(g, "cannot be read", err);
            break;
        }
        if (g->digest)
            digest_add(g->digest, piece, (size_t)n);
        at += (uint64_t)n;
        count(g, n);
        status = monitor_check(g->fetch->monitor, err);
    }
    free(piece);
    return status;
}

static int open_part(struct getting *g, struct error *err)
{
    struct stat st;
    g->fd = open(g->file->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (g->fd < 0 || fstat(g->fd, &st))
        return file_failed(g, "cannot be made", err);
    if (!S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return file_failed(g, "is no regular file", err);
    }
    int status = new_digest(g, err);
    if (status != STATUS_OK)
        return status;
    if ((uint64_t)st.st_size > g->file->size)
        return start_over(g, err);
    g->have = (uint64_t)st.st_size;
    struct progress *p = g->fetch->progress;
    const char *phase = p ? p->phase : NULL;
    if (p && g->have > 0)
        p->phase = "checking";
    status = hash_start(g, err);
    if (p)
        p->phase = phase;
    g->fetch->rate_since = 0;
    return status;
}

/* ---- What comes. ---- */

static int is_full(int number)
{
    return number == ENOSPC || number == EDQUOT || number == EFBIG;
}

static int write_piece(struct getting *g, const char *bytes, size_t n, struct error *err)
{
    while (n > 0) {
        ssize_t written = write(g->fd, bytes, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            int number = errno;
            file_failed(g, "cannot be written", err);
            if (is_full(number)) {
                struct strbuf there = STRBUF_INIT;
                strbuf_add_bytes(&there, g->have);
                strbuf_adds(&there, " of ");
                strbuf_add_bytes(&there, g->file->size);
                struct error why = *err;
                error_set(err, STATUS_FAILED,
                          "%s: the first %s are kept: make room and pull again to go on from there",
                          why.message, strbuf_string(&there));
                strbuf_free(&there);
            }
            return STATUS_FAILED;
        }
        if (g->digest)
            digest_add(g->digest, bytes, (size_t)written);
        g->have += (uint64_t)written;
        g->in_response += (uint64_t)written;
        g->fetch->received += (uint64_t)written;
        count(g, written);
        bytes += written;
        n -= (size_t)written;
    }
    return STATUS_OK;
}

/* "bytes 100-199/200" begins where it should. */
static int begins_at(const struct http_response *r, uint64_t from)
{
    const char *range = http_header(r, "Content-Range");
    unsigned long long first;
    return range && sscanf(range, "bytes %llu-", &first) == 1 && first == from;
}

static int take_bytes(void *arg, const struct http_response *r, const void *bytes, size_t n,
                      struct error *err)
{
    struct getting *g = arg;
    if (r->status != 200 && r->status != 206)
        return STATUS_OK; /* a redirect's or an error's page */
    if (r->status == 206 && g->in_response == 0 && !begins_at(r, g->asked)) {
        g->wrong = 1;
        return error_set(err, STATUS_FAILED, "%s: the server sent another part than it was asked for",
                         g->file->what);
    }
    if (r->status == 200 && g->in_response == 0 && g->asked > 0) { /* it knows no ranges */
        int status = start_over(g, err);
        if (status != STATUS_OK)
            return status;
    }
    if (n > g->file->size - g->have) {
        g->wrong = 1;
        return error_set(err, STATUS_REFUSED, "%s: longer than the %llu bytes that the Hub says",
                         g->file->what, (unsigned long long)g->file->size);
    }
    return write_piece(g, bytes, n, err);
}

static int came_short(const struct getting *g, struct error *err)
{
    return error_set(err, STATUS_FAILED, "%s: the server sent %llu of %llu bytes", g->file->what,
                     (unsigned long long)g->have, (unsigned long long)g->file->size);
}

/* One request after the other, each for what is missing. */
static int get_rest(struct getting *g, struct http_response *r, struct error *err)
{
    struct http_request q = {.url = g->file->url, .body = take_bytes, .tick = tick, .arg = g};
    unsigned failures = 0;
    while (g->have < g->file->size) {
        uint64_t before = g->have;
        http_response_free(r);
        q.from = g->asked = g->have;
        g->in_response = 0;
        int status = fetch_once(g->fetch, &q, 0, r, err);
        if (status == STATUS_OK && r->status == 416 && g->have > 0) {
            status = start_over(g, err);
            r->transient = status == STATUS_OK;
            if (r->transient)
                status = error_set(err, STATUS_FAILED,
                                   "%s: the server has fewer than the %llu bytes that the Hub says",
                                   g->file->what, (unsigned long long)g->file->size);
        } else if (status == STATUS_OK && (r->status == 200 || r->status == 206)) {
            if (g->have == g->file->size)
                return STATUS_OK;
            status = came_short(g, err);
            r->transient = 1;
        }
        if (!fetch_may_retry(r, status))
            return status;
        failures = g->have >= before + PROGRESS_BYTES ? 1 : failures + 1;
        status = fetch_wait(g->fetch, &q, r, status, failures, err);
        if (status != STATUS_OK)
            return status;
    }
    r->status = 200;
    return STATUS_OK;
}

/* *again: it was wrong, but part of it came from an earlier run, and a whole new one may be right. */
static int check_digest(struct getting *g, int was_resumed, int *again, struct error *err)
{
    char hex[DIGEST_HEX_MAX + 1];
    *again = 0;
    if (!g->digest)
        return STATUS_OK;
    digest_end(g->digest, hex);
    g->digest = NULL;
    if (strcmp(hex, g->file->hex) == 0)
        return STATUS_OK;
    if (was_resumed && !g->restarted) {
        *again = 1;
        return start_over(g, err);
    }
    g->wrong = 1;
    return error_set(err, STATUS_REFUSED,
                     "%s: its %s is %s, not %s as the Hub says: pull again, or tell its owner", g->file->what,
                     g->file->digest == DIGEST_SHA256 ? "SHA-256" : "Git name", hex, g->file->hex);
}

int fetch_file(struct fetch *f, const struct file_fetch *file, struct http_response *r, struct error *err)
{
    struct getting g = {.fetch = f, .file = file, .fd = -1};
    *r = (struct http_response){0};
    int again = 0, status = open_part(&g, err);
    int was_resumed = g.have > 0;
    do {
        if (status == STATUS_OK)
            status = get_rest(&g, r, err);
        int is_whole = status == STATUS_OK && g.have == file->size && (r->status == 200 || r->status == 206);
        if (is_whole)
            status = check_digest(&g, was_resumed, &again, err);
        else
            again = 0;
    } while (status == STATUS_OK && again);
    if (status == STATUS_OK && fsync(g.fd))
        status = file_failed(&g, "cannot be written", err);
    digest_free(g.digest);
    if (g.fd >= 0)
        close(g.fd);
    if (g.wrong)
        unlink(file->path);
    return status;
}
