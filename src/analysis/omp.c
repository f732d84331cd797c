/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Orthogonal matching pursuit of many rows at once: each round is one product of their residuals with the
 * decoder. */
#include "config.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/nnls.h"
#include "saescope/analysis/omp.h"
#include "saescope/analysis/row_tiles.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"

enum { TILE_ATOMS = 1024, ROWS_MAX = 256, GRAM_BYTES = 16 << 20, TILES_A_SLICE = 2 };

struct candidate {
    float value; /* |correlation| with the residual, or correlation */
    uint32_t latent;
};

/* One row on its way. Arrays are rows of the struct omp's. */
struct pursuit {
    const float *y;
    uint32_t exclude;
    int ended;
    size_t n;              /* atoms that are in */
    uint32_t *latents;     /* [k] */
    const float **atoms;   /* [k] their rows */
    double *scale;         /* [k] 1/‖row‖ */
    double *gram, *factor; /* [k, k] of unit atoms */
    double *alpha, *gamma; /* [k] correlations with y; coefficients */
    double error;          /* ‖residual‖² */
};

struct omp {
    const struct sae *dictionary;
    struct omp_options o;
    size_t rows;              /* at a time */
    float *scale;             /* [d_sae] 1/norm */
    struct pursuit *pursuits; /* [rows] */
    float *residuals;         /* [rows, d] */
    double *numbers;          /* the pursuits' */
    uint32_t *latents;
    const float **atoms;
    float *products; /* [threads, rows, TILE_ATOMS] */
    double *scratch; /* [threads, d + nnls_scratch(k)] */
    size_t scratch_size;
    struct candidate *candidates; /* [tiles, rows] */
    size_t n_tiles;
    struct row_tile *tiles; /* of the call at hand */
    size_t first_tile;      /* of the slice at hand */
    size_t n;               /* rows at hand */
};

/* ---- The round's atom. ---- */

static void best_of_tile(size_t block, size_t worker, void *arg)
{
    const struct omp *p = arg;
    const struct row_tile *tile = &p->tiles[p->first_tile + block];
    size_t d = p->dictionary->d_in;
    float *products = p->products + worker * p->rows * TILE_ATOMS;
    struct candidate *best = p->candidates + (p->first_tile + block) * p->rows;
    const float *scale = p->scale + tile->first;
    sgemm_nt(p->n, tile->n, d, 1, p->residuals, d, tile->rows, d, 0, products, TILE_ATOMS);
    for (size_t r = 0; r < p->n; r++) {
        const float *product = products + r * TILE_ATOMS;
        struct candidate found = {0, UINT32_MAX};
        for (size_t j = 0; j < tile->n; j++) {
            float value = product[j] * scale[j];
            if (!p->o.non_negative)
                value = fabsf(value);
            if (value > found.value && tile->first + j != p->pursuits[r].exclude)
                found = (struct candidate){value, (uint32_t)(tile->first + j)};
        }
        best[r] = found;
    }
}

static int find_candidates(struct omp *p, struct monitor *m, struct error *err)
{
    size_t slice = TILES_A_SLICE * parallel_threads();
    int status = STATUS_OK;
    for (p->first_tile = 0; !status && p->first_tile < p->n_tiles; p->first_tile += slice) {
        size_t left = p->n_tiles - p->first_tile;
        parallel_for(left < slice ? left : slice, best_of_tile, p);
        status = monitor_check(m, err);
    }
    return status;
}

/* ---- Taking it in. ---- */

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static int is_in(const struct pursuit *q, uint32_t latent)
{
    for (size_t i = 0; i < q->n; i++)
        if (q->latents[i] == latent)
            return 1;
    return 0;
}

/* The atom's row of the Gram matrix, and its correlation with y. */
static void measure_atom(struct omp *p, struct pursuit *q, uint32_t latent)
{
    size_t d = p->dictionary->d_in, n = q->n, k = p->o.atoms;
    const float *atom = sae_decoder_row(p->dictionary, latent);
    double scale = 1 / sqrt(dot(atom, atom, d));
    for (size_t j = 0; j < n; j++)
        q->gram[n * k + j] = q->gram[j * k + n] = dot(atom, q->atoms[j], d) * scale * q->scale[j];
    q->gram[n * k + n] = 1;
    q->alpha[n] = dot(atom, q->y, d) * scale;
    q->latents[n] = latent;
    q->atoms[n] = atom;
    q->scale[n] = scale;
}

static void subtract_fit(struct omp *p, struct pursuit *q, float *residual, double *left)
{
    size_t d = p->dictionary->d_in;
    for (size_t i = 0; i < d; i++)
        left[i] = q->y[i];
    for (size_t j = 0; j < q->n; j++) {
        double factor = q->gamma[j] * q->scale[j];
        for (size_t i = 0; i < d; i++)
            left[i] -= factor * q->atoms[j][i];
    }
    q->error = 0;
    for (size_t i = 0; i < d; i++) {
        residual[i] = (float)left[i];
        q->error += left[i] * left[i];
    }
}

/* 0 when the atom is worth nothing: the row is at its end. The correlation of an atom that may only be added
 * counts with the residual, else (as in scikit-learn) with y. */
static int worth_taking(const struct omp *p, const struct pursuit *q, const float *residual)
{
    double correlation = q->alpha[q->n];
    if (p->o.non_negative)
        correlation = dot(q->atoms[q->n], residual, p->dictionary->d_in) * q->scale[q->n];
    if (correlation * correlation < DBL_EPSILON || (p->o.non_negative && correlation < 0))
        return 0;
    return cholesky_extend(q->gram, q->factor, p->o.atoms, q->n) == 0;
}

static void take_atom(size_t block, size_t worker, void *arg)
{
    struct omp *p = arg;
    struct pursuit *q = &p->pursuits[block];
    size_t d = p->dictionary->d_in, k = p->o.atoms;
    float *residual = p->residuals + block * d;
    double *left = p->scratch + worker * p->scratch_size;
    struct candidate best = {0, UINT32_MAX};
    for (size_t t = 0; t < p->n_tiles; t++)
        if (p->candidates[t * p->rows + block].value > best.value)
            best = p->candidates[t * p->rows + block];
    /* More atoms than there are dimensions depend on each other, though rounding may hide it. */
    if (q->ended || best.latent == UINT32_MAX || q->n == d || is_in(q, best.latent)) {
        q->ended = 1;
        return;
    }
    measure_atom(p, q, best.latent);
    if (!worth_taking(p, q, residual)) {
        q->ended = 1;
        return;
    }
    q->n++;
    if (p->o.non_negative)
        nnls(q->gram, k, q->alpha, q->n, q->gamma, left + d);
    else
        cholesky_solve(q->factor, k, q->n, q->alpha, q->gamma);
    subtract_fit(p, q, residual, left);
}

/* ---- Rows. ---- */

static void begin_rows(struct omp *p, const float *rows, const uint32_t *exclude, size_t n)
{
    size_t d = p->dictionary->d_in;
    p->n = n;
    memcpy(p->residuals, rows, n * d * sizeof(float));
    for (size_t r = 0; r < n; r++) {
        struct pursuit *q = &p->pursuits[r];
        q->y = rows + r * d;
        q->exclude = exclude ? exclude[r] : UINT32_MAX;
        q->ended = 0;
        q->n = 0;
        q->error = dot(q->y, q->y, d);
    }
}

static int all_ended(const struct omp *p)
{
    for (size_t r = 0; r < p->n; r++)
        if (!p->pursuits[r].ended)
            return 0;
    return 1;
}

/* The atoms ascending by latent. */
static void sort_atoms(struct pursuit *q)
{
    for (size_t i = 1; i < q->n; i++) {
        uint32_t latent = q->latents[i];
        double gamma = q->gamma[i];
        size_t j = i;
        for (; j > 0 && q->latents[j - 1] > latent; j--) {
            q->latents[j] = q->latents[j - 1];
            q->gamma[j] = q->gamma[j - 1];
        }
        q->latents[j] = latent;
        q->gamma[j] = gamma;
    }
}

static void end_rows(struct omp *p, size_t first, struct sparse_rows *out, double *error)
{
    for (size_t r = 0; r < p->n; r++) {
        struct pursuit *q = &p->pursuits[r];
        size_t at = out->offsets[first + r];
        sort_atoms(q);
        for (size_t i = 0; i < q->n; i++) {
            if (p->o.non_negative && !(q->gamma[i] > 0))
                continue;
            out->latents[at] = q->latents[i];
            out->values[at++] = (float)q->gamma[i];
        }
        out->offsets[first + r + 1] = at;
        error[first + r] = q->error;
    }
}

int omp_rows(struct omp *p, const float *rows, const uint32_t *exclude, size_t n, struct monitor *m,
             struct sparse_rows *out, double *error, struct error *err)
{
    size_t pairs, d = p->dictionary->d_in, n_tiles;
    if (size_multiply(n, p->o.atoms, &pairs))
        return error_set(err, STATUS_FAILED, "too many rows at once");
    int status = sparse_rows_reserve(out, n, pairs + 1, err);
    p->tiles = status ? NULL : row_tiles(p->dictionary, 1, TILE_ATOMS, &n_tiles, err);
    if (!p->tiles)
        return STATUS_FAILED;
    out->n_rows = n;
    out->offsets[0] = 0;
    for (size_t first = 0; !status && first < n; first += p->rows) {
        begin_rows(p, rows + first * d, exclude ? exclude + first : NULL,
                   n - first < p->rows ? n - first : p->rows);
        for (size_t round = 0; !status && round < p->o.atoms && !all_ended(p); round++) {
            status = find_candidates(p, m, err);
            if (!status)
                parallel_for(p->n, take_atom, p);
        }
        if (!status)
            end_rows(p, first, out, error);
    }
    free(p->tiles);
    p->tiles = NULL;
    return status;
}

/* ---- Memory. ---- */

static void share_out(struct omp *p)
{
    size_t k = p->o.atoms, each = 2 * k * k + 3 * k;
    for (size_t r = 0; r < p->rows; r++) {
        double *numbers = p->numbers + r * each;
        p->pursuits[r] = (struct pursuit){.latents = p->latents + r * k,
                                          .atoms = p->atoms + r * k,
                                          .gram = numbers,
                                          .factor = numbers + k * k,
                                          .scale = numbers + 2 * k * k,
                                          .alpha = numbers + 2 * k * k + k,
                                          .gamma = numbers + 2 * k * k + 2 * k};
    }
}

static int allocate(struct omp *p, struct error *err)
{
    const size_t k = p->o.atoms, d = p->dictionary->d_in, threads = parallel_threads();
    struct row_tile *tiles = row_tiles(p->dictionary, 1, TILE_ATOMS, &p->n_tiles, err);
    p->rows = GRAM_BYTES / (2 * k * k * sizeof(double));
    p->rows = p->rows > ROWS_MAX ? ROWS_MAX : p->rows < 1 ? 1 : p->rows;
    p->scratch_size = d + nnls_scratch(k);
    p->scale = array_alloc(p->dictionary->d_sae, sizeof(float), "norms", err);
    p->pursuits = array_alloc(p->rows, sizeof(*p->pursuits), "sparse regression", err);
    p->residuals = array_alloc(p->rows, d * sizeof(float), "residuals", err);
    p->numbers = array_alloc(p->rows, (2 * k * k + 3 * k) * sizeof(double), "sparse regression", err);
    p->latents = array_alloc(p->rows, k * sizeof(*p->latents), "sparse regression", err);
    p->atoms = array_alloc(p->rows, k * sizeof(*p->atoms), "sparse regression", err);
    p->products = array_alloc(threads * p->rows, TILE_ATOMS * sizeof(float), "correlations", err);
    p->scratch = array_alloc(threads, p->scratch_size * sizeof(double), "sparse regression", err);
    p->candidates =
        tiles ? array_alloc(p->n_tiles, p->rows * sizeof(*p->candidates), "correlations", err) : NULL;
    int there = tiles && p->scale && p->pursuits && p->residuals && p->numbers && p->latents && p->atoms &&
                p->products && p->scratch && p->candidates;
    if (there) {
        row_tiles_scale(tiles, p->n_tiles, d, p->scale);
        share_out(p);
    }
    free(tiles);
    return there ? STATUS_OK : STATUS_FAILED;
}

int omp_open(const struct sae *dictionary, const struct omp_options *o, struct omp **out, struct error *err)
{
    if (o->atoms < 1 || o->atoms > OMP_ATOMS_MAX)
        return error_set(err, STATUS_USAGE, "there can be 1 to %d atoms, not %zu", OMP_ATOMS_MAX, o->atoms);
    struct omp *p = xcalloc(1, sizeof(*p));
    p->dictionary = dictionary;
    p->o = *o;
    int status = allocate(p, err);
    if (status) {
        omp_close(p);
        return status;
    }
    *out = p;
    return STATUS_OK;
}

void omp_close(struct omp *p)
{
    if (!p)
        return;
    free(p->scale);
    free(p->pursuits);
    free(p->residuals);
    free(p->numbers);
    free(p->latents);
    free(p->atoms);
    free(p->products);
    free(p->scratch);
    free(p->candidates);
    free(p);
}
