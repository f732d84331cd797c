/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where the training loop gets its rows from: a model's activations over a text, rows of decoders, a file.
 */
#ifndef SAESCOPE_BASE_BATCH_SOURCE_H
#define SAESCOPE_BASE_BATCH_SOURCE_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/error.h"

/*
 * next and seek may return STATUS_CHECKPOINTED (base/monitor.h) when the source was asked to stop while it made rows; a
 * seek puts it right again.
 */
struct batch_source {
    size_t d_in;
    /* Writes exactly n rows [n, d_in] to x, shuffled; goes round its data as often as asked. */
    int (*next)(struct batch_source *s, float *x, size_t n, struct error *err);
    /* Goes to where it would be after `rows` rows from a fresh start with the same seed: what comes next is the same. */
    int (*seek)(struct batch_source *s, uint64_t rows, struct error *err);
    /* The n-th held-out chunk: up to `capacity` rows that next() never serves, unshuffled; *n = 0 at the end. */
    int (*held_out)(struct batch_source *s, size_t chunk, float *x, size_t capacity, size_t *n, struct error *err);
    void (*close)(struct batch_source *s);
};

#endif
