/*
 * Products of a few rows with a parameter, without BLAS.
 */
#ifndef ATTN_LAYER_LINEAR_FEW_H
#define ATTN_LAYER_LINEAR_FEW_H

#include "exec/context.h"
#include "kernel/kernel.h"

/* y = x W^T, or y += with add, where x has `inputs` and y `outputs` columns. */
struct few_product {
    const struct kernels *kernels;
    int rows;
    bool add;
    int64_t outputs, inputs;
    const float *weight; /* (outputs, inputs) */
    const float *x;
    float *y;
    int64_t ld_weight, ld_x, ld_y;
};

/* True if this is faster than by BLAS. */
bool attn_linear_is_few(const struct few_product *product);

/* The bits of a row of y depend on that row of x and the weight alone. */
void attn_linear_few(struct attn_context *context, const struct few_product *product);

#endif
