/*
 * Matrix products: BLAS, or a kernel of our own where BLAS has no advantage.
 */
#ifndef ATTN_CORE_PRODUCT_H
#define ATTN_CORE_PRODUCT_H

#include "kernel/kernel.h"

/*
 * c = alpha a b, or c += alpha a b with accumulate; a is m x k, b is k x n, row-major.
 * Products with n or k above depth are cut into several, so that m n k of each stays
 * within what was planned.
 */
void attn_product(const struct kernels *kernels, int depth, int m, int n, int k,
                  float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                  bool accumulate, float *c, int64_t ldc);

#endif
