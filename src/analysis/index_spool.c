/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The index's files. The spool is one file of fixed-size chunks; a chunk has triples of one range of latents
 * ("bucket"), and which bucket it belongs to is kept in memory. The last, unfilled chunk of each bucket stays
 * in memory.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <fcntl.h>
#include "saescope/analysis/spool.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"

#define BUCKETS       256
#define CHUNK_TRIPLES 2730 /* 32 KiB */

struct triple {
    uint32_t latent, place;
    float activation;
};

struct spool {
    int fd;
    size_t d_sae, latents_per_bucket;
    uint32_t *counts;
    struct triple *buffers; /* [BUCKETS, CHUNK_TRIPLES] */
    size_t fill[BUCKETS];
    uint16_t *chunks; /* bucket of each chunk on disk */
    size_t n_chunks, chunk_capacity;
};

int unlinked_file(const char *directory, int *fd, struct error *err)
{
    char *path = path_join(directory, "spool-XXXXXX");
    int status = STATUS_OK;

    *fd = mkostemp(path, O_CLOEXEC);
    if (*fd < 0)
        status = error_system(err, STATUS_FAILED, errno, "cannot make a file in %s", directory);
    else
        unlink(path);
    free(path);
    return status;
}

static int write_at(int fd, const void *data, size_t n, uint64_t offset, struct error *err)
{
    const char *p = data;

    while (n) {
        ssize_t done = pwrite(fd, p, n, (off_t)offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return error_system(err, STATUS_FAILED, done ? errno : ENOSPC,
                                "cannot write a temporary file");
        p += done;
        offset += (uint64_t)done;
        n -= (size_t)done;
    }
    return STATUS_OK;
}

static int read_at(int fd, void *data, size_t n, uint64_t offset, struct error *err)
{
    char *p = data;

    while (n) {
        ssize_t done = pread(fd, p, n, (off_t)offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return error_system(err, STATUS_FAILED, done ? errno : EIO,
                                "cannot read a temporary file");
        p += done;
        offset += (uint64_t)done;
        n -= (size_t)done;
    }
    return STATUS_OK;
}

int spool_open(const char *directory, size_t d_sae, struct spool **out, struct error *err)
{
    struct spool *sp = xcalloc(1, sizeof(*sp));
    int status;

    *out = NULL;
    sp->d_sae = d_sae;
    sp->latents_per_bucket = d_sae / BUCKETS + 1;
    status = unlinked_file(directory, &sp->fd, err);
    if (!status) {
        sp->counts = array_zeroed(d_sae, sizeof(*sp->counts), "counts", err);
        sp->buffers = array_alloc(BUCKETS * CHUNK_TRIPLES, sizeof(*sp->buffers), "the index's buffers", err);
        status = sp->counts && sp->buffers ? STATUS_OK : STATUS_FAILED;
    }
    if (status)
        spool_close(sp);
    else
        *out = sp;
    return status;
}

void spool_close(struct spool *sp)
{
    if (!sp)
        return;
    if (sp->fd >= 0)
        close(sp->fd);
    free(sp->counts);
    free(sp->buffers);
    free(sp->chunks);
    free(sp);
}

static int flush_bucket(struct spool *sp, size_t bucket, struct error *err)
{
    const size_t bytes = CHUNK_TRIPLES * sizeof(struct triple);

    if (sp->n_chunks == sp->chunk_capacity) {
        sp->chunk_capacity = sp->chunk_capacity ? 2 * sp->chunk_capacity : 1024;
        sp->chunks = xreallocarray(sp->chunks, sp->chunk_capacity, sizeof(*sp->chunks));
    }
    sp->chunks[sp->n_chunks] = (uint16_t)bucket;
    sp->fill[bucket] = 0;
    return write_at(sp->fd, sp->buffers + bucket * CHUNK_TRIPLES, bytes, (uint64_t)sp->n_chunks++ * bytes,
                    err);
}

int spool_add(struct spool *sp, uint32_t latent, uint32_t place, float activation, struct error *err)
{
    size_t bucket = latent / sp->latents_per_bucket;

    sp->buffers[bucket * CHUNK_TRIPLES + sp->fill[bucket]++] = (struct triple){latent, place, activation};
    sp->counts[latent]++;
    return sp->fill[bucket] == CHUNK_TRIPLES ? flush_bucket(sp, bucket, err) : STATUS_OK;
}

const uint32_t *spool_counts(const struct spool *sp)
{
    return sp->counts;
}

/* Puts the triples of latents [first, first + n) where `next` says, which moves on. */
static void distribute(const struct triple *x, size_t count, size_t first, size_t n, size_t *next,
                       uint32_t *places, float *activations)
{
    for (size_t i = 0; i < count; i++) {
        size_t at;

        if (x[i].latent < first || x[i].latent - first >= n)
            continue;
        at = next[x[i].latent - first]++;
        places[at] = x[i].place;
        activations[at] = x[i].activation;
    }
}

int spool_read(struct spool *sp, size_t first, size_t n, const size_t *offsets, uint32_t *places,
               float *activations, struct monitor *m, struct error *err)
{
    size_t low = first / sp->latents_per_bucket, high = n ? (first + n - 1) / sp->latents_per_bucket : low;
    size_t *next = array_alloc(n + 1, sizeof(*next), "offsets", err);
    struct triple *chunk = next ? array_alloc(CHUNK_TRIPLES, sizeof(*chunk), "a chunk", err) : NULL;
    int status = chunk ? STATUS_OK : STATUS_FAILED;

    if (chunk)
        memcpy(next, offsets, n * sizeof(*next));
    for (size_t i = 0, read = 0; i < sp->n_chunks && !status; i++) {
        if (sp->chunks[i] < low || sp->chunks[i] > high)
            continue;
        status = read_at(sp->fd, chunk, CHUNK_TRIPLES * sizeof(*chunk),
                         (uint64_t)i * CHUNK_TRIPLES * sizeof(*chunk), err);
        if (!status)
            distribute(chunk, CHUNK_TRIPLES, first, n, next, places, activations);
        if (!status && ++read % 256 == 0)
            status = monitor_check(m, err);
    }
    for (size_t i = low; i <= high && !status; i++)
        distribute(sp->buffers + i * CHUNK_TRIPLES, sp->fill[i], first, n, next, places, activations);
    free(chunk);
    free(next);
    return status;
}

int array_spool_open(struct array_spool *a, const char *directory, struct error *err)
{
    memset(a, 0, sizeof(*a));
    return unlinked_file(directory, &a->fd, err);
}

int array_spool_add(struct array_spool *a, const void *x, size_t n, struct error *err)
{
    int status = write_at(a->fd, x, n * sizeof(*a->data), (uint64_t)a->n * sizeof(*a->data), err);

    if (!status)
        a->n += n;
    return status;
}

int array_spool_map(struct array_spool *a, struct error *err)
{
    void *data;

    if (!a->n)
        return STATUS_OK;
    data = mmap(NULL, a->n * sizeof(*a->data), PROT_READ, MAP_SHARED, a->fd, 0);
    if (data == MAP_FAILED)
        return error_system(err, STATUS_FAILED, errno, "cannot map a temporary file");
    a->data = data;
    return STATUS_OK;
}

void array_spool_close(struct array_spool *a)
{
    union {
        const uint32_t *mapped;
        void *memory;
    } data = {a->data};

    if (a->data)
        munmap(data.memory, a->n * sizeof(*a->data));
    if (a->fd > 0)
        close(a->fd);
    memset(a, 0, sizeof(*a));
}
