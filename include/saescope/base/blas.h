/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * BLAS calls (the only room that includes cblas.h; OpenBLAS runs single-threaded, set first thing in main by
 * blas_start). All matrices are row-major float32; ld = row length in floats.
 */
#ifndef SAESCOPE_BASE_BLAS_H
#define SAESCOPE_BASE_BLAS_H

#include <stddef.h>

/*
 * OpenBLAS exports functions of these names, and calls them itself through the dynamic linker: it would be given ours.
 */
#define sgemm_nn saescope_sgemm_nn
#define sgemm_nt saescope_sgemm_nt
#define sgemm_tn saescope_sgemm_tn
#define sgemv_n saescope_sgemv_n
#define sgemv_t saescope_sgemv_t

void blas_start(void); /* openblas_set_num_threads(1) */
const char *blas_core_name(void);
const char *blas_config(void);
void blas_set_library_threads(size_t n); /* for tests/bench only: OpenBLAS's own threads */

/* One-threaded products, to be called from inside parallel_for. C[m,n] = alpha·op(A)·op(B) + beta·C. */
void sgemm_nn(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b, size_t ldb,
              float beta, float *c, size_t ldc); /* A[m,k] B[k,n] */
void sgemm_nt(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b, size_t ldb,
              float beta, float *c, size_t ldc); /* A[m,k] B[n,k] */
void sgemm_tn(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b, size_t ldb,
              float beta, float *c, size_t ldc); /* A[k,m] B[k,n] */

/* The same, cut into blocks over the pool. */
void parallel_sgemm_nn(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b,
                       size_t ldb, float beta, float *c, size_t ldc);
void parallel_sgemm_nt(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b,
                       size_t ldb, float beta, float *c, size_t ldc);
void parallel_sgemm_tn(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b,
                       size_t ldb, float beta, float *c, size_t ldc);

/* y[m] = A[m,k]·x[k] (n) and y[k] = x[m]·A[m,k] (t). */
void sgemv_n(size_t m, size_t k, const float *a, size_t lda, const float *x, float *y);
void sgemv_t(size_t m, size_t k, const float *a, size_t lda, const float *x, float *y);

float vec_dot(const float *a, const float *b, size_t n);
void vec_axpy(float alpha, const float *x, float *y, size_t n); /* y += alpha·x */
void vec_scale(float alpha, float *x, size_t n);
double vec_norm2(const float *x, size_t n); /* Σx² in float64 */

#endif
