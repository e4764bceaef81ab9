/*
 * Matrix products.
 *
 * BLAS forwards m = 1 and n = 1 to GEMV, which has other rules for threads; it spends
 * longer on checks and packing than on a product below about 32^3; and where alpha is 0
 * it does not look at a and b, which may hold NaN. Those are ours, and so are all
 * others where the recipe says that BLAS would take longer for them.
 */
#include "core/product.h"

#include "base/arith.h"
#include "base/cpu.h"
#include "exec/blas.h"

bool attn_product_own_is_faster(const struct kernels *kernels) {
    enum { SHORT = 8, LONG = 16 }; /* those shorter than SHORT have not been measured */
    if (kernels->pieces != NULL) {
        return true; /* what is not worth making pieces is not left to BLAS */
    }
    if (attn_blas()->small_kernels) {
        return kernels->width >= LONG && !attn_cpu_halves_512();
    }
    return kernels->width >= SHORT;
}

/* c[r] = alpha[r step] (a b)[r], or c[r] += that. */
static void own_product(const struct kernels *kernels, int m, int n, int k,
                        const float *alpha, int step, const struct operand *a,
                        struct factor b, bool accumulate, float *c, int64_t ldc) {
    const int64_t row_a = a->transposed ? 1 : a->ld,
                  column_a = a->transposed ? a->ld : 1;
    const int columns = b.columns > 0 ? b.columns : n;
    for (int j = 0; j < n; j += columns) {
        kernels->product(m, (int)min_i64(columns, n - j), k, alpha, step, a->data,
                         row_a, column_a, b.data + j / columns * b.step, b.ld,
                         accumulate, c + j, ldc);
    }
}

void attn_product_own(const struct kernels *kernels, int m, int n, int k, float alpha,
                      const struct operand *a, struct factor b, bool accumulate,
                      float *c, int64_t ldc) {
    own_product(kernels, m, n, k, &alpha, 0, a, b, accumulate, c, ldc);
}

void attn_product_ahead(const struct kernels *kernels, int m, int n, int k,
                        const float *a, int64_t lda, struct factor b, const float *next,
                        bool accumulate, float *c, int64_t ldc) {
    for (int j = 0; j < n; j += b.columns, b.data += b.step) {
        kernels->product_ahead(m, (int)min_i64(b.columns, n - j), k, a, lda, b.data,
                               j + b.columns < n ? b.data + b.step : next, accumulate,
                               c + j, ldc);
    }
}

void attn_product_turned(const struct kernels *kernels, int m, int n, int k,
                         const float *a, int64_t lda, const float *b, int64_t ldb,
                         const float *next, bool accumulate, float *c, int64_t ldc) {
    const int columns = product_columns(kernels);
    for (int j = 0; j < n; j += columns, b += columns * ldb) {
        kernels->product_turned(m, (int)min_i64(columns, n - j), k, a, lda, b, ldb,
                                j + columns < n ? b + columns * ldb : next, accumulate,
                                c + j, ldc);
    }
}

void attn_product_scaled(const struct kernels *kernels, int m, int n, int k,
                         const float *factor, const struct operand *a, struct factor b,
                         float *c, int64_t ldc) {
    own_product(kernels, m, n, k, factor, 1, a, b, false, c, ldc);
}

static void product(const struct kernels *kernels, int m, int n, int k, float alpha,
                    struct operand a, const float *b, int64_t ldb, bool accumulate,
                    float *c, int64_t ldc) {
    if (alpha == 0.0f || product_is_small(m, n, k)) {
        kernels->product(m, n, k, &alpha, 0, a.data, a.transposed ? 1 : a.ld,
                         a.transposed ? a.ld : 1, b, ldb, accumulate, c, ldc);
    } else {
        attn_blas_product(m, n, k, alpha, a.data, (int)a.ld, a.transposed, b, (int)ldb,
                          false, accumulate, c, (int)ldc);
    }
}

/* One block of c, of whole rows of a and b. */
static void product_of_rows(const struct kernels *kernels, int depth, int m, int n,
                            int k, float alpha, const float *a, int64_t lda,
                            const float *b, int64_t ldb, float *c, int64_t ldc) {
    if (alpha == 0.0f || product_is_small(m, n, k)) {
        kernels->few_scores(ATTN_F32, m, n, k, alpha, a, lda, b, ldb, c, ldc);
        return;
    }
    for (int l = 0; l < k; l += depth) {
        attn_blas_product(m, n, (int)min_i64(depth, k - l), alpha, a + l, (int)lda,
                          false, b + l, (int)ldb, true, l > 0, c, (int)ldc);
    }
}

/* The size of the parts, as even as whole vectors allow, that a size is cut into. */
static int part_of(int size, int most) {
    if (size <= most) {
        return size;
    }
    const int64_t parts = ceil_div(size, most);
    return (int)round_up(ceil_div(size, parts), 16);
}

/* By our own kernel: b may be in blocks, and stays in the nearest cache by itself. */
static void product_in_depths(const struct kernels *kernels, int depth, int m, int n,
                              int k, float alpha, struct operand a, struct factor b,
                              bool accumulate, float *c, int64_t ldc) {
    for (int l = 0; l < k; l += depth) {
        attn_product_own(kernels, m, n, (int)min_i64(depth, k - l), alpha, &a, b,
                         accumulate || l > 0, c, ldc);
        a.data += a.transposed ? depth * a.ld : depth;
        b.data += depth * b.ld;
    }
}

void attn_product(const struct kernels *kernels, struct cut cut, int m, int n, int k,
                  float alpha, struct operand a, struct factor b, bool accumulate,
                  float *c, int64_t ldc) {
    if (m == 0 || n == 0) {
        return;
    }
    if (cut.own) {
        /* where sums are cut must not depend on how many masked keys follow */
        product_in_depths(kernels, cut.depth, m, n, k, alpha, a, b, accumulate, c, ldc);
        return;
    }
    const int rows = part_of(m, cut.edge), columns = part_of(n, cut.edge);
    const int depth = part_of(k, cut.depth);
    const int64_t row_a = a.transposed ? 1 : a.ld, column_a = a.transposed ? a.ld : 1;
    for (int i = 0; i < m; i += rows) {
        const int height = (int)min_i64(rows, m - i);
        for (int j = 0; j < n; j += columns) {
            const int width = (int)min_i64(columns, n - j);
            for (int l = 0; l < k; l += depth) {
                const struct operand part = {a.data + i * row_a + l * column_a, a.ld,
                                             a.transposed};
                product(kernels, height, width, (int)min_i64(depth, k - l), alpha, part,
                        b.data + l * b.ld + j, b.ld, accumulate || l > 0,
                        c + i * ldc + j, ldc);
            }
        }
    }
}

void attn_product_rows(const struct kernels *kernels, struct cut cut, int m, int n,
                       int k, float alpha, const float *a, int64_t lda, const float *b,
                       int64_t ldb, float *c, int64_t ldc) {
    const int rows = part_of(m, cut.edge), columns = part_of(n, cut.edge);
    const int depth = part_of(k, cut.depth);
    for (int i = 0; i < m; i += rows) {
        for (int j = 0; j < n; j += columns) {
            product_of_rows(kernels, depth, (int)min_i64(rows, m - i),
                            (int)min_i64(columns, n - j), k, alpha, a + i * lda, lda,
                            b + j * ldb, ldb, c + i * ldc + j, ldc);
        }
    }
}
