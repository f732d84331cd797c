/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the index keeps on disk while it is made, in files that are unlinked as soon as they are open: the active
 * (latent, place, activation) triples of an SAE, and the tokens of the contexts that were read. A place is context ·
 * length + position, counted from the first context read.
 */
#ifndef SAESCOPE_ANALYSIS_SPOOL_H
#define SAESCOPE_ANALYSIS_SPOOL_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/monitor.h"

/* A file in `directory` without a name. */
int unlinked_file(const char *directory, int *fd, struct error *err);

/* Triples, in chunks that belong to ranges of latents each; 8 MiB of memory and 4 bytes a latent. */
struct spool;
int spool_open(const char *directory, size_t d_sae, struct spool **out, struct error *err);
void spool_close(struct spool *sp);
/* Places ascend within a latent. */
int spool_add(struct spool *sp, uint32_t latent, uint32_t place, float activation, struct error *err);
const uint32_t *spool_counts(const struct spool *sp); /* [d_sae]: triples of each latent */
/*
 * The triples of latents [first, first + n), grouped by latent and in the order they were added: latent i's are
 * [offsets[i], offsets[i+1]), offsets[n + 1] as spool_counts says, offsets[0] = 0.
 */
int spool_read(struct spool *sp, size_t first, size_t n, const size_t *offsets, uint32_t *places, float *activations,
               struct monitor *m, struct error *err);

/* An array of u32, or of other numbers of four bytes, that grows on disk and is then mapped. */
struct array_spool {
    int fd;
    size_t n;             /* numbers */
    const uint32_t *data; /* after array_spool_map */
};
int array_spool_open(struct array_spool *a, const char *directory, struct error *err);
int array_spool_add(struct array_spool *a, const void *x, size_t n, struct error *err);
int array_spool_map(struct array_spool *a, struct error *err);
void array_spool_close(struct array_spool *a); /* of one that is all zeros, too */

#endif
