/*
 * Matrix products.
 *
 * BLAS forwards m = 1 and n = 1 to GEMV, which has other rules for threads; it spends
 * longer on checks and packing than on a product below about 32^3; and where alpha is 0
 * it does not look at a and b, which may hold NaN. Those are ours.
 */
#include "core/product.h"

#include "base/arith.h"
#include "exec/blas.h"

enum { SMALL = 32 * 32 * 32 };

static void product(const struct kernels *kernels, int m, int n, int k, float alpha,
                    const float *a, int64_t lda, const float *b, int64_t ldb,
                    bool accumulate, float *c, int64_t ldc) {
    if (m == 1 || n == 1 || alpha == 0.0f || (int64_t)m * n * k <= SMALL) {
        kernels->product(m, n, k, alpha, a, lda, b, ldb, accumulate, c, ldc);
    } else {
        attn_blas_product(m, n, k, alpha, a, (int)lda, b, (int)ldb, accumulate, c,
                          (int)ldc);
    }
}

/* The size of the parts, as even as whole vectors allow, that a size is cut into. */
static int part_of(int size, int edge) {
    if (size <= edge) {
        return size;
    }
    const int64_t parts = ceil_div(size, edge);
    return (int)round_up(ceil_div(size, parts), 16);
}

void attn_product(const struct kernels *kernels, int edge, int m, int n, int k,
                  float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                  bool accumulate, float *c, int64_t ldc) {
    if (m == 0 || n == 0) {
        return;
    }
    const int columns = part_of(n, edge), depth = part_of(k, edge);
    for (int j = 0; j < n; j += columns) {
        const int width = (int)min_i64(columns, n - j);
        for (int l = 0; l < k; l += depth) {
            product(kernels, m, width, (int)min_i64(depth, k - l), alpha, a + l, lda,
                    b + l * ldb + j, ldb, accumulate || l > 0, c + j, ldc);
        }
    }
}
