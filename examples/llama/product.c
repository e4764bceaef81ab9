/*
 * A prompt is a product of matrices, which reads each weight once for all tokens. A
 * single token is a product of a matrix and a vector: cblas_sgemm would first copy the
 * matrix into an order that pays when it is used many times, so that every weight is
 * moved twice for one multiplication. cblas_sgemv reads it where it lies, as fast as
 * memory is, which is all that counts here.
 */
#include "product.h"

#include <stddef.h>

/*
 * Declared here, with int for its enums as in every C ABI, since the header's name and
 * place differ between distributions.
 */
enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };
void cblas_sgemm(int layout, int transpose_a, int transpose_b, int m, int n, int k,
                 float alpha, const float *a, int lda, const float *b, int ldb,
                 float beta, float *c, int ldc);
void cblas_sgemv(int layout, int transpose, int m, int n, float alpha, const float *a,
                 int lda, const float *x, int incx, float beta, float *y, int incy);

/* NULL if the BLAS in use is not OpenBLAS. */
__attribute__((weak)) void openblas_set_num_threads(int threads);

void product(enum keep keep, float *out, const float *in, const float *weight, int rows,
             int outputs, int inputs) {
    const float beta = keep == ADD ? 1.0f : 0.0f;
    if (rows == 1) {
        cblas_sgemv(ROW_MAJOR, NO_TRANSPOSE, outputs, inputs, 1, weight, inputs, in, 1,
                    beta, out, 1);
    } else {
        cblas_sgemm(ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE, rows, outputs, inputs, 1, in,
                    inputs, weight, inputs, beta, out, outputs);
    }
}

void product_threads(int threads) {
    if (threads > 0 && openblas_set_num_threads != NULL) {
        openblas_set_num_threads(threads);
    }
}
