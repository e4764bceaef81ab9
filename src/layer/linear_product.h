/*
 * A product of rows with a parameter, or with a gradient, as BLAS would be asked for
 * it.
 */
#ifndef ATTN_LAYER_LINEAR_PRODUCT_H
#define ATTN_LAYER_LINEAR_PRODUCT_H

#include <string.h>

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

#endif
