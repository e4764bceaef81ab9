/*
 * Products of many rows with panels of a parameter in pieces (kernel/pieces.h).
 */
#ifndef ATTN_LAYER_LINEAR_PIECES_H
#define ATTN_LAYER_LINEAR_PIECES_H

#include "layer/linear_product.h"

/*
 * The most columns, numbers that a sum runs over and rows at a time. All rows are read
 * again for each group of so many columns, whose pieces stay in the second-level cache.
 */
enum {
    LINEAR_PIECES_COLUMNS = 192,
    LINEAR_PIECES_DEPTH = 768,
    LINEAR_PIECES_ROWS = 64
};

/* What a thread has at hand for it. */
struct linear_pieces {
    const struct kernels *kernels;
    uint16_t *panel; /* in pieces */
    uint16_t *scratch;
    float *sums, *plain, *turned;
};

/* Floats of memory that a thread needs for it; 0 if kernels have none. */
int64_t attn_linear_pieces_floats(const struct kernels *kernels);

/* True if a product is faster in pieces. */
bool attn_linear_is_pieces(const struct linear_product *product);

struct linear_pieces attn_linear_pieces_in(const struct kernels *kernels,
                                           float *memory);

/* Takes k rows of n columns, ld floats apart, as those from column j on, a multiple of
 * PIECES_SIDE; false: no pieces can be made of them. */
bool attn_linear_pieces_take(const struct linear_pieces *pieces, int j,
                             const float *panel, int64_t ld, int k, int n);

/* m rows of k numbers as they are multiplied: transposed first if they lie so. */
struct operand attn_linear_pieces_rows(const struct linear_pieces *pieces,
                                       struct operand a, int m, int k);

/*
 * c = a b + more, with or without, of m rows of a and n columns taken, over k rows of
 * them. more may be c. False: some sums are no numbers, and c is as before until
 * attn_linear_pieces_mend() has been called for all columns, once each.
 */
bool attn_linear_pieces_multiply(const struct linear_pieces *pieces, int m, int n,
                                 int k, const float *a, int64_t lda, const float *more,
                                 int64_t ld_more, float *c, int64_t ldc);

/* The same for n columns from j on, with the floats that were taken, b. */
void attn_linear_pieces_mend(const struct linear_pieces *pieces, int j, int m, int n,
                             int k, const float *a, int64_t lda, struct factor b,
                             const float *more, int64_t ld_more, float *c, int64_t ldc);

#endif
