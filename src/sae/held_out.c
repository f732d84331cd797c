/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Trained SAEs on rows that training never saw, all from one pass of the source. */
#include "config.h"

#include <math.h>
#include <stdlib.h>

#include "saescope/base/memory.h"
#include "saescope/sae/trainer.h"

enum { CHUNK_ROWS = 2048, MAX_ROWS = 65536 };

struct sums {
    double *columns; /* [d] Σ x */
    double squares;  /* Σ x² */
    double *errors;  /* [n SAEs] Σ (x − x̂)² */
    size_t *pairs;   /* [n SAEs] active pairs */
    size_t rows;
};

static int add_chunk(struct held_out *h, size_t n_saes, size_t d, const float *x, float *x_hat, size_t n,
                     struct sparse_rows *f, struct sums *sums, struct error *err)
{
    for (size_t r = 0; r < n; r++) {
        for (size_t i = 0; i < d; i++) {
            double value = x[r * d + i];
            sums->columns[i] += value;
            sums->squares += value * value;
        }
    }
    sums->rows += n;
    for (size_t s = 0; s < n_saes; s++) {
        int status = sae_encode(h[s].sae, x, n, f, err);
        if (!status)
            status = sae_decode(h[s].sae, f, x, x_hat, err);
        if (status)
            return status;
        for (size_t i = 0; i < n * d; i++) {
            double error = (double)x[i] - x_hat[i];
            sums->errors[s] += error * error;
        }
        sums->pairs[s] += f->offsets[n];
        for (size_t i = 0; i < f->offsets[n]; i++)
            h[s].fired[f->latents[i]] = 1;
    }
    return STATUS_OK;
}

static int walk(struct held_out *h, size_t n_saes, struct batch_source *source, struct monitor *m,
                struct sums *sums, struct error *err)
{
    size_t d = source->d_in, got;
    int status = STATUS_OK;
    struct sparse_rows f = {0};
    float *x = array_alloc(CHUNK_ROWS * d, sizeof *x, "held-out rows", err);
    float *x_hat = x ? array_alloc(CHUNK_ROWS * d, sizeof *x_hat, "held-out rows", err) : NULL;
    if (!x_hat)
        status = STATUS_FAILED;
    for (size_t chunk = 0; !status && sums->rows < MAX_ROWS; chunk++) {
        enum monitor_request asked = monitor_ask(m);
        if (asked == MONITOR_CHECKPOINT)
            status = STATUS_CHECKPOINTED;
        else if (asked == MONITOR_CANCEL)
            status = error_set(err, STATUS_FAILED, "cancelled");
        else
            status = source->held_out(source, chunk, x, CHUNK_ROWS, &got, err);
        if (status || got == 0)
            break;
        status = add_chunk(h, n_saes, d, x, x_hat, got, &f, sums, err);
        monitor_step(m, "evaluating", sums->rows, 0);
    }
    sparse_rows_free(&f);
    free(x);
    free(x_hat);
    return status;
}

int held_out_evaluate(struct held_out *h, size_t n, struct batch_source *source, struct monitor *m,
                      struct error *err)
{
    struct sums sums = {
        .columns = xcalloc(source->d_in, sizeof *sums.columns),
        .errors = xcalloc(n, sizeof *sums.errors),
        .pairs = xcalloc(n, sizeof *sums.pairs),
    };
    int status = STATUS_OK;
    for (size_t s = 0; s < n; s++)
        h[s].fired = xcalloc(h[s].sae->d_sae, 1);
    if (source->held_out)
        status = walk(h, n, source, m, &sums, err);
    /* Σ‖x − x̄‖² = Σ‖x‖² − ‖Σx‖²/n */
    double variance = sums.squares, rows = (double)sums.rows;
    for (size_t i = 0; i < source->d_in && sums.rows; i++)
        variance -= sums.columns[i] * sums.columns[i] / rows;
    for (size_t s = 0; s < n; s++) {
        h[s].l0 = sums.rows ? (double)sums.pairs[s] / rows : NAN;
        h[s].explained_variance = variance > 0 ? 1 - sums.errors[s] / variance : NAN;
    }
    free(sums.columns);
    free(sums.errors);
    free(sums.pairs);
    return status;
}
