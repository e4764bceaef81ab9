/*
 * A product of rows with a parameter, or with a gradient, as BLAS would be asked for
 * it.
 */
#ifndef ATTN_LAYER_LINEAR_PRODUCT_H
#define ATTN_LAYER_LINEAR_PRODUCT_H

#include <string.h>

#include "core/product.h"
#include "exec/context.h"
#include "kernel/kernel.h"

/*
 * c = a b + bias in every row, or c += a b with add: a is m x k, b is k x n, row-major;
 * with transpose_a (transpose_b), a (b) is stored as its transpose.
 */
struct linear_product {
    const struct kernels *kernels;
    int m, n, k;
    const float *a, *b;
    const float *bias; /* of n numbers; NULL: none; not with add */
    float *c;
    int64_t lda, ldb, ldc;
    bool transpose_a, transpose_b, add;
    bool own; /* the bits of a row of c may depend on that row of a and on b alone,
                 which BLAS does not promise */
    struct factor packed; /* b once more, packed; data NULL: not there */
};

/*
 * Puts the bias, if there is one, into rows [row, end) and `columns` columns of c,
 * where the product is then added to: while it is at hand. True if c is to be added to.
 */
static inline bool linear_product_start(const struct linear_product *p, int64_t row,
                                        int64_t end, int64_t column, int columns) {
    if (p->bias == NULL) {
        return p->add;
    }
    for (int64_t r = row; r < end; r++) {
        memcpy(p->c + r * p->ldc + column, p->bias + column,
               (size_t)columns * sizeof *p->c);
    }
    return true;
}

/* Threads that a product is worth: one is woken for so many numbers of b, 1.5 MB, some
 * 50 us, or for so much work, some 100 us. */
static inline int32_t linear_product_threads(const struct linear_product *p,
                                             const struct attn_context *context) {
    enum { NUMBERS = 375 * 1000, FLOPS = 10 * 1000 * 1000 };
    const double numbers = (double)p->n * p->k / NUMBERS;
    const double flops = 2.0 * p->m * p->n * p->k / FLOPS;
    return context_threads(context, flops > numbers ? flops : numbers);
}

#endif
