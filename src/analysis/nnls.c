/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Lawson and Hanson's algorithm on the normal equations, and the Cholesky factor that it shares with
 * orthogonal matching pursuit. */
#include "config.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "saescope/analysis/nnls.h"

int cholesky_extend(const double *gram, double *factor, size_t ld, size_t n)
{
    double *row = factor + n * ld, pivot = gram[n * ld + n];
    for (size_t j = 0; j < n; j++) {
        double sum = gram[n * ld + j];
        for (size_t i = 0; i < j; i++)
            sum -= row[i] * factor[j * ld + i];
        row[j] = sum / factor[j * ld + j];
        pivot -= row[j] * row[j];
    }
    if (!(pivot > DBL_EPSILON))
        return -1;
    row[n] = sqrt(pivot);
    return 0;
}

void cholesky_solve(const double *factor, size_t ld, size_t n, const double *b, double *x)
{
    for (size_t i = 0; i < n; i++) {
        double sum = b[i];
        for (size_t j = 0; j < i; j++)
            sum -= factor[i * ld + j] * x[j];
        x[i] = sum / factor[i * ld + i];
    }
    for (size_t i = n; i-- > 0;) {
        double sum = x[i];
        for (size_t j = i + 1; j < n; j++)
            sum -= factor[j * ld + i] * x[j];
        x[i] = sum / factor[i * ld + i];
    }
}

/* The columns that are not held at 0, their part of the normal equations, and its solution. */
struct passive {
    size_t n;
    size_t *columns;
    double *gram, *factor, *b, *solution; /* rows of gram and factor are `ld` apart */
    size_t ld;
};

size_t nnls_scratch(size_t n)
{
    return 2 * n * n + 4 * n;
}

/* STATUS: 0, or -1 when a column depends on those before it. */
static int solve_passive(struct passive *p, const double *gram, size_t ld, const double *b)
{
    for (size_t i = 0; i < p->n; i++) {
        p->b[i] = b[p->columns[i]];
        for (size_t j = 0; j <= i; j++)
            p->gram[i * p->ld + j] = gram[p->columns[i] * ld + p->columns[j]];
        if (cholesky_extend(p->gram, p->factor, p->ld, i))
            return -1;
    }
    cholesky_solve(p->factor, p->ld, p->n, p->b, p->solution);
    return 0;
}

static int is_passive(const struct passive *p, size_t column)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->columns[i] == column)
            return 1;
    return 0;
}

/* The column along which the error falls most, or n when there is none: its gradient to w. */
static size_t steepest(const struct passive *p, const double *gram, size_t ld, const double *b, size_t n,
                       const double *x, const double *barred)
{
    size_t best = n;
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        if (barred[i] != 0 || is_passive(p, i))
            continue;
        double w = b[i], size = fabs(b[i]);
        for (size_t j = 0; j < n; j++) {
            w -= gram[i * ld + j] * x[j];
            size += fabs(gram[i * ld + j] * x[j]);
        }
        if (w > most && w > 16 * DBL_EPSILON * size) {
            most = w;
            best = i;
        }
    }
    return best;
}

/* From x towards the solution as far as all stay ≥ 0; columns that came to 0 leave. */
static void step_back(struct passive *p, double *x)
{
    double length = 1;
    for (size_t i = 0; i < p->n; i++) {
        double from = x[p->columns[i]], to = p->solution[i];
        if (to <= 0 && from / (from - to) < length)
            length = from / (from - to);
    }
    size_t kept = 0;
    for (size_t i = 0; i < p->n; i++) {
        size_t column = p->columns[i];
        double from = x[column], to = p->solution[i];
        x[column] = from + length * (to - from);
        /* The one that set the length is at 0, whatever rounding says. */
        if (to <= 0 && (x[column] <= 0 || from / (from - to) <= length)) {
            x[column] = 0;
            continue;
        }
        p->columns[kept++] = column;
    }
    p->n = kept;
}

static int all_positive(const struct passive *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (!(p->solution[i] > 0))
            return 0;
    return 1;
}

void nnls(const double *gram, size_t ld, const double *b, size_t n, double *x, double *scratch)
{
    double *barred = scratch + 2 * n * n + 2 * n; /* columns that were tried in vain at this x */
    struct passive p = {.ld = n,
                        .gram = scratch,
                        .factor = scratch + n * n,
                        .b = scratch + 2 * n * n,
                        .solution = scratch + 2 * n * n + n,
                        .columns = (size_t *)(void *)(scratch + 2 * n * n + 3 * n)};
    memset(x, 0, n * sizeof(*x));
    memset(barred, 0, n * sizeof(*barred));
    /* Each round lowers the error or bars a column; the bound is for rounding alone. */
    for (size_t round = 0; round < 3 * n + 3; round++) {
        size_t column = steepest(&p, gram, ld, b, n, x, barred);
        if (column == n)
            return;
        p.columns[p.n++] = column;
        if (solve_passive(&p, gram, ld, b) || !(p.solution[p.n - 1] > 0)) {
            barred[column] = 1;
            p.n--;
            continue;
        }
        while (!all_positive(&p)) {
            step_back(&p, x);
            if (solve_passive(&p, gram, ld, b))
                return;
        }
        for (size_t i = 0; i < p.n; i++)
            x[p.columns[i]] = p.solution[i];
        memset(barred, 0, n * sizeof(*barred));
    }
}
