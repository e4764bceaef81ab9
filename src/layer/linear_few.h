/*
 * Products of a few rows with a parameter, without BLAS.
 */
#ifndef ATTN_LAYER_LINEAR_FEW_H
#define ATTN_LAYER_LINEAR_FEW_H

#include "exec/context.h"
#include "layer/linear_product.h"

/* True if this is faster than by BLAS: few rows, and b transposed. */
bool attn_linear_is_few(const struct linear_product *product);

/* The product but for its bias, which is not looked at. The bits of a row of c depend
 * on that row of a and on b alone. */
void attn_linear_few(struct attn_context *context,
                     const struct linear_product *product);

#endif
