/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Products of matrices and vectors by OpenBLAS, single-threaded, and cut into blocks over the pool. */
#include "config.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

#include "saescope/base/blas.h"
#include "saescope/base/parallel.h"

void blas_start(void)
{
    openblas_set_num_threads(1);
}

const char *blas_core_name(void)
{
    return openblas_get_corename();
}

const char *blas_config(void)
{
    return openblas_get_config();
}

void blas_set_library_threads(size_t n)
{
    openblas_set_num_threads((int)n);
}

struct product {
    CBLAS_TRANSPOSE op_a, op_b;
    size_t m, n, k;
    float alpha;
    const float *a;
    size_t lda;
    const float *b;
    size_t ldb;
    float beta;
    float *c;
    size_t ldc;
};

static void multiply(const struct product *p)
{
    if (p->m == 0 || p->n == 0)
        return;
    cblas_sgemm(CblasRowMajor, p->op_a, p->op_b, (blasint)p->m, (blasint)p->n, (blasint)p->k, p->alpha, p->a,
                (blasint)p->lda, p->b, (blasint)p->ldb, p->beta, p->c, (blasint)p->ldc);
}

/* C is cut into blocks of rows × columns, by its shape alone: results do not depend on the number of threads.
 */
struct cut_product {
    struct product whole;
    size_t rows, columns;  /* of a block */
    size_t blocks_per_row; /* of blocks */
};

#define BLOCKS_WANTED 64
#define BLOCK_STEP    64  /* shorter sides make the packing of operands dear beside the product */
#define SMALL_PRODUCT 2e6 /* m·n·k below which waking threads costs more than it saves */

static void multiply_block(size_t index, size_t worker, void *arg)
{
    (void)worker;
    const struct cut_product *cut = arg;
    struct product p = cut->whole;
    size_t row = index / cut->blocks_per_row * cut->rows, column = index % cut->blocks_per_row * cut->columns;
    p.m = p.m - row < cut->rows ? p.m - row : cut->rows;
    p.n = p.n - column < cut->columns ? p.n - column : cut->columns;
    p.a += p.op_a == CblasNoTrans ? row * p.lda : row;
    p.b += p.op_b == CblasNoTrans ? column : column * p.ldb;
    p.c += row * p.ldc + column;
    multiply(&p);
}

/* A block's side of about `wanted`: whole steps, at least one, at most the matrix's side. */
static size_t block_side(double wanted, size_t whole)
{
    if (wanted >= (double)whole)
        return whole;
    size_t side = ((size_t)wanted + BLOCK_STEP - 1) / BLOCK_STEP * BLOCK_STEP;
    return side < BLOCK_STEP ? BLOCK_STEP : side < whole ? side : whole;
}

/* As square as can be: each operand is packed once for every block that reads it. */
static void multiply_cut(const struct product *whole)
{
    double m = (double)whole->m, n = (double)whole->n;
    if (m * n * (double)whole->k < SMALL_PRODUCT) {
        multiply(whole);
        return;
    }
    struct cut_product cut = {.whole = *whole};
    double area = m * n / BLOCKS_WANTED;
    cut.columns = block_side(sqrt(area), whole->n);
    cut.rows = block_side(area / (double)cut.columns, whole->m);
    cut.columns = block_side(area / (double)cut.rows, whole->n);
    cut.blocks_per_row = (whole->n + cut.columns - 1) / cut.columns;
    parallel_for((whole->m + cut.rows - 1) / cut.rows * cut.blocks_per_row, multiply_block, &cut);
}

void sgemm_nn(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b,
              size_t ldb, float beta, float *c, size_t ldc)
{
    multiply(&(struct product){CblasNoTrans, CblasNoTrans, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc});
}

void sgemm_nt(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b,
              size_t ldb, float beta, float *c, size_t ldc)
{
    multiply(&(struct product){CblasNoTrans, CblasTrans, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc});
}

void sgemm_tn(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b,
              size_t ldb, float beta, float *c, size_t ldc)
{
    multiply(&(struct product){CblasTrans, CblasNoTrans, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc});
}

void parallel_sgemm_nn(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b,
                       size_t ldb, float beta, float *c, size_t ldc)
{
    multiply_cut(&(struct product){CblasNoTrans, CblasNoTrans, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc});
}

void parallel_sgemm_nt(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b,
                       size_t ldb, float beta, float *c, size_t ldc)
{
    multiply_cut(&(struct product){CblasNoTrans, CblasTrans, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc});
}

void parallel_sgemm_tn(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b,
                       size_t ldb, float beta, float *c, size_t ldc)
{
    multiply_cut(&(struct product){CblasTrans, CblasNoTrans, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc});
}

/* y is cleared first: some versions of gemv multiply what is there by beta = 0, and keep its NaN. */
void sgemv_n(size_t m, size_t k, const float *a, size_t lda, const float *x, float *y)
{
    memset(y, 0, m * sizeof *y);
    if (m && k)
        cblas_sgemv(CblasRowMajor, CblasNoTrans, (blasint)m, (blasint)k, 1.0f, a, (blasint)lda, x, 1, 0.0f, y,
                    1);
}

void sgemv_t(size_t m, size_t k, const float *a, size_t lda, const float *x, float *y)
{
    memset(y, 0, k * sizeof *y);
    if (m && k)
        cblas_sgemv(CblasRowMajor, CblasTrans, (blasint)m, (blasint)k, 1.0f, a, (blasint)lda, x, 1, 0.0f, y,
                    1);
}

#define VECTOR_CHUNK ((size_t)1 << 30) /* fits blasint */

float vec_dot(const float *a, const float *b, size_t n)
{
    float sum = 0.0f;
    for (; n > VECTOR_CHUNK; n -= VECTOR_CHUNK, a += VECTOR_CHUNK, b += VECTOR_CHUNK)
        sum += cblas_sdot((blasint)VECTOR_CHUNK, a, 1, b, 1);
    return sum + cblas_sdot((blasint)n, a, 1, b, 1);
}

void vec_axpy(float alpha, const float *x, float *y, size_t n)
{
    for (; n > VECTOR_CHUNK; n -= VECTOR_CHUNK, x += VECTOR_CHUNK, y += VECTOR_CHUNK)
        cblas_saxpy((blasint)VECTOR_CHUNK, alpha, x, 1, y, 1);
    cblas_saxpy((blasint)n, alpha, x, 1, y, 1);
}

void vec_scale(float alpha, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= alpha;
}

double vec_norm2(const float *x, size_t n)
{
    double sums[8] = {0.0}; /* apart, so that they can be one vector */
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (size_t j = 0; j < 8; j++)
            sums[j] += (double)x[i + j] * (double)x[i + j];
    }
    double sum = 0.0;
    for (size_t j = 0; j < 8; j++)
        sum += sums[j];
    for (; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}
