/*
 * Large products by tiles, for the small-matrix kernels of BLAS or a kernel of our own.
 */
#ifndef ATTN_LAYER_LINEAR_TILES_H
#define ATTN_LAYER_LINEAR_TILES_H

#include "exec/context.h"
#include "layer/linear_product.h"

/* Floats that a thread packs at a time: 192 KiB, which stay in its second-level cache
 * beside the rows that they are multiplied with. */
enum { TILES_COLUMNS = 64, TILES_DEPTH = 768 };
enum { TILES_FLOATS = TILES_COLUMNS * TILES_DEPTH };

/* Floats of memory that each thread needs: those and what pieces need. */
int64_t attn_linear_tiled_floats(const struct kernels *kernels);

/* The columns of a block that a parameter is best packed in, for all products with it;
 * 0: packing it is of no use. */
int attn_linear_packed_columns(const struct kernels *kernels);

/* Packs b, k x n numbers or the transpose of what is stored, in blocks of to->columns,
 * and fills in the rest of *to. memory: k n floats, n rounded up to whole blocks. */
void attn_linear_pack(const struct kernels *kernels, struct factor *to, float *memory,
                      const float *b, int64_t ldb, bool transposed, int k, int n);

/* True if this is faster than other ways, or must be. */
bool attn_linear_is_tiled(const struct linear_product *product);

/* How such a product is made, in words. */
const char *attn_linear_tiled_words(const struct linear_product *product);

/* On the context's threads, each of which has attn_linear_tiled_floats() of memory. How
 * many there are changes no bit. */
void attn_linear_tiled(struct attn_context *context, float *memory,
                       const struct linear_product *product);

#endif
