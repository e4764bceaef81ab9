/*
 * Products of rows with a parameter that are too few to pack the parameter for.
 */
#ifndef ATTN_LAYER_LINEAR_FEW_H
#define ATTN_LAYER_LINEAR_FEW_H

#include "exec/context.h"
#include "layer/linear_product.h"

/* True if this is faster than one call of BLAS. */
bool attn_linear_is_few(const struct linear_product *product);

/* How such a product is made, in words. */
const char *attn_linear_few_words(void);

/* The product, on the context's threads. */
void attn_linear_few(struct attn_context *context,
                     const struct linear_product *product);

#endif
