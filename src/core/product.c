/*
 * Matrix products.
 *
 * BLAS forwards m = 1 and n = 1 to GEMV, which has other rules for threads, and spends
 * longer on checks and packing than on a product below about 32^3: those are ours.
 */
#include "core/product.h"

#include "base/arith.h"
#include "exec/blas.h"

enum { SMALL = 32 * 32 * 32 };

static void product(const struct kernels *kernels, int m, int n, int k, float alpha,
                    const float *a, int64_t lda, const float *b, int64_t ldb,
                    bool accumulate, float *c, int64_t ldc) {
    if (m == 1 || n == 1 || (int64_t)m * n * k <= SMALL) {
        kernels->product(m, n, k, alpha, a, lda, b, ldb, accumulate, c, ldc);
    } else {
        attn_blas_product(m, n, k, alpha, a, (int)lda, b, (int)ldb, accumulate, c,
                          (int)ldc);
    }
}

void attn_product(const struct kernels *kernels, int depth, int m, int n, int k,
                  float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                  bool accumulate, float *c, int64_t ldc) {
    if (m == 0 || n == 0) {
        return;
    }
    for (int j = 0; j < n; j += depth) {
        const int columns = (int)min_i64(depth, n - j);
        for (int l = 0; l < k; l += depth) {
            product(kernels, m, columns, (int)min_i64(depth, k - l), alpha, a + l, lda,
                    b + l * ldb + j, ldb, accumulate || l > 0, c + j, ldc);
        }
    }
}
