/*
 * Matrix products: BLAS, or a kernel of our own where BLAS has no advantage.
 */
#ifndef ATTN_CORE_PRODUCT_H
#define ATTN_CORE_PRODUCT_H

#include "kernel/kernel.h"

/* A matrix of floats, or its transpose. */
struct operand {
    const float *data;
    int64_t ld;      /* between rows of the matrix as it is stored */
    bool transposed; /* it takes part with rows and columns exchanged */
};

/*
 * The second factor of a product: its rows lie ld floats apart. With columns, it comes
 * in blocks of so many columns, step floats apart: of product_columns() is what kernels
 * of our own are fastest with.
 */
struct factor {
    const float *data;
    int64_t ld;
    int columns; /* 0: all together */
    int64_t step;
};

static inline int product_columns(const struct kernels *kernels) {
    return PRODUCT_VECS(kernels->width) * kernels->width;
}

/* A factor as it lies in rows. */
static inline struct factor factor_rows(const float *data, int64_t ld) {
    return (struct factor){.data = data, .ld = ld};
}

/* The largest sizes of one product: rows and columns, and what a sum runs over;
 * multiples of 16. */
struct cut {
    int edge, depth;
    bool own; /* attn_product() by a kernel of our own, whatever its size; only that
                 takes factors in blocks of columns */
};

/* True if a product of these sizes is computed by a kernel of our own. */
static inline bool product_is_small(int m, int n, int k) {
    enum { SMALL = 32 * 32 * 32 };
    return m == 1 || n == 1 || (int64_t)m * n * k <= SMALL;
}

/*
 * c = alpha a b, or c += alpha a b with accumulate; a is m x k, b is k x n, row-major.
 * What is larger than `cut` allows is computed by several products. That keeps m n k
 * within what BLAS computes in the calling thread, and sums of several short chains are
 * more exact than one long chain.
 */
void attn_product(const struct kernels *kernels, struct cut cut, int m, int n, int k,
                  float alpha, struct operand a, struct factor b, bool accumulate,
                  float *c, int64_t ldc);

/* c = alpha a b^T, likewise, for m rows of a and n of b, of k numbers each. */
void attn_product_rows(const struct kernels *kernels, struct cut cut, int m, int n,
                       int k, float alpha, const float *a, int64_t lda, const float *b,
                       int64_t ldb, float *c, int64_t ldc);

/*
 * True if the kernel of our own is faster than BLAS. Without small-matrix kernels BLAS
 * packs both sides of every product anew, which takes a fifth to a quarter as long as
 * multiplying tiles, and the reference BLAS takes twenty times as long. Those of
 * OpenBLAS keep up with a processor that multiplies one vector of 512 bits a cycle, not
 * with one that multiplies two.
 */
bool attn_product_own_is_faster(const struct kernels *kernels);

/* c = alpha a b, or c += alpha a b with accumulate, by the kernel of our own. */
void attn_product_own(const struct kernels *kernels, int m, int n, int k, float alpha,
                      const struct operand *a, struct factor b, bool accumulate,
                      float *c, int64_t ldc);

/* c = a b, or c += a b, likewise, of up to PRODUCT_AHEAD_ROWS rows, with b in blocks of
 * product_columns() that come from far away: each is called for while the one before it
 * is multiplied with, and `next` meanwhile the last. */
void attn_product_ahead(const struct kernels *kernels, int m, int n, int k,
                        const float *a, int64_t lda, struct factor b, const float *next,
                        bool accumulate, float *c, int64_t ldc);

/* The same with the transpose of b, of n rows that come from far away. */
void attn_product_turned(const struct kernels *kernels, int m, int n, int k,
                         const float *a, int64_t lda, const float *b, int64_t ldb,
                         const float *next, bool accumulate, float *c, int64_t ldc);

/* c[r] = factor[r] (a b)[r], likewise. */
void attn_product_scaled(const struct kernels *kernels, int m, int n, int k,
                         const float *factor, const struct operand *a, struct factor b,
                         float *c, int64_t ldc);

#endif
