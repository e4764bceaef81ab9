/*
 * Large products, by tiles for the small-matrix kernels of BLAS.
 */
#ifndef ATTN_LAYER_LINEAR_TILES_H
#define ATTN_LAYER_LINEAR_TILES_H

#include "exec/context.h"
#include "layer/linear_product.h"

/* Floats that a thread packs at a time: 192 KiB, which stay in its second-level cache
 * beside the rows that they are multiplied with. */
enum { TILES_COLUMNS = 64, TILES_DEPTH = 768 };
enum { TILES_FLOATS = TILES_COLUMNS * TILES_DEPTH };

/* True if this is faster than one product by BLAS, or must be. */
bool attn_linear_is_tiled(const struct linear_product *product);

/* On the context's threads, each of which has TILES_FLOATS of memory. How many there
 * are changes no bit. */
void attn_linear_tiled(struct attn_context *context, float *memory,
                       const struct linear_product *product);

#endif
