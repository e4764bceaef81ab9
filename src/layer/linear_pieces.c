/*
 * Products with a panel in pieces.
 *
 * Rows are raised by RAISED and sums lowered again, so that whatever floats can hold of
 * a product is within what tiles add up. Where a sum comes out infinite or NaN, it is
 * made again without pieces: an infinity less its first piece is NaN.
 */
#include "layer/linear_pieces.h"

#include <math.h>

#include "base/arith.h"

/* Fewer rows do not repay making pieces of a panel. */
enum { ROWS_WORTH = 96, DEPTH_WORTH = 128, COLUMNS_WORTH = 32 };

/* Numbers of a panel within these limits have pieces that are no subnormals. */
#define PANEL_LOW  0x1p-100f
#define PANEL_HIGH 0x1p60f
#define RAISED     0x1p40f

enum {
    PANEL_PIECES = LINEAR_PIECES_COLUMNS / PIECES_SIDE *
                   (LINEAR_PIECES_DEPTH / PIECES_SIDE) * PIECES_STEP,
    PANEL_FLOATS = PANEL_PIECES / 2,
    SCRATCH_FLOATS = PIECES_SCRATCH / 2,
    SUMS = LINEAR_PIECES_ROWS * LINEAR_PIECES_COLUMNS,
    TURNED = LINEAR_PIECES_ROWS * LINEAR_PIECES_DEPTH,
};

_Static_assert(LINEAR_PIECES_ROWS % PIECES_SIDE == 0 &&
                   LINEAR_PIECES_COLUMNS % PIECES_SIDE == 0 &&
                   LINEAR_PIECES_DEPTH % PIECES_SIDE == 0,
               "whole strips and steps");

int64_t attn_linear_pieces_floats(const struct kernels *kernels) {
    return kernels->pieces != NULL ? PANEL_FLOATS + SCRATCH_FLOATS + 2 * SUMS + TURNED
                                   : 0;
}

bool attn_linear_is_pieces(const struct linear_product *product) {
    return product->kernels->pieces != NULL && !product->own &&
           product->m >= ROWS_WORTH && product->k >= DEPTH_WORTH &&
           product->n >= COLUMNS_WORTH;
}

struct linear_pieces attn_linear_pieces_in(const struct kernels *kernels,
                                           float *memory) {
    return (struct linear_pieces){
        .kernels = kernels,
        .panel = (void *)memory,
        .scratch = (void *)(memory + PANEL_FLOATS),
        .sums = memory + PANEL_FLOATS + SCRATCH_FLOATS,
        .plain = memory + PANEL_FLOATS + SCRATCH_FLOATS + SUMS,
        .turned = memory + PANEL_FLOATS + SCRATCH_FLOATS + SUMS + SUMS,
    };
}

bool attn_linear_pieces_take(const struct linear_pieces *pieces, int j,
                             const float *panel, int64_t ld, int k, int n) {
    const struct piece_kernels *kernels = pieces->kernels->pieces;
    const int64_t step = pieces_of_strip(k, false);
    uint16_t *to = pieces->panel + j / PIECES_SIDE * step;
    for (int i = 0; i < n; i += PIECES_SIDE, to += step) {
        kernels->split_columns(to, panel + i, ld, k, (int)min_i64(PIECES_SIDE, n - i),
                               false);
    }
    return kernels->within(panel, ld, k, n, PANEL_LOW, PANEL_HIGH);
}

struct operand attn_linear_pieces_rows(const struct linear_pieces *pieces,
                                       struct operand a, int m, int k) {
    if (!a.transposed) {
        return a;
    }
    pieces->kernels->transpose(pieces->turned, LINEAR_PIECES_DEPTH, a.data, a.ld, k, m);
    return (struct operand){pieces->turned, LINEAR_PIECES_DEPTH, false};
}

bool attn_linear_pieces_multiply(const struct linear_pieces *pieces, int m, int n,
                                 int k, const float *a, int64_t lda, const float *more,
                                 int64_t ld_more, float *c, int64_t ldc) {
    const struct kernels *kernels = pieces->kernels;
    const struct strips panel = {pieces->panel, pieces_of_strip(k, false), false};
    kernels->pieces->product_split(m, n, k, RAISED, a, lda, false, &panel,
                                   pieces->scratch, pieces->sums,
                                   LINEAR_PIECES_COLUMNS);
    if (!kernels->all_finite(pieces->sums, LINEAR_PIECES_COLUMNS, m, n)) {
        return false;
    }
    kernels->pieces->scale_rows(c, ldc, pieces->sums, LINEAR_PIECES_COLUMNS, m, n,
                                1.0f / RAISED, NULL, NULL, more, ld_more);
    return true;
}

void attn_linear_pieces_mend(const struct linear_pieces *pieces, int j, int m, int n,
                             int k, const float *a, int64_t lda, struct factor b,
                             const float *more, int64_t ld_more, float *c,
                             int64_t ldc) {
    const struct kernels *kernels = pieces->kernels;
    float *plain = pieces->plain + j;
    attn_product_own(kernels, m, n, k, 1.0f, &(struct operand){a, lda, false}, b, false,
                     plain, LINEAR_PIECES_COLUMNS);
    for (int64_t r = 0; r < m; r++) {
        for (int i = 0; i < n; i++) {
            const float sum = pieces->sums[r * LINEAR_PIECES_COLUMNS + j + i];
            if (isfinite(sum)) {
                plain[r * LINEAR_PIECES_COLUMNS + i] = sum / RAISED;
            }
        }
    }
    kernels->pieces->scale_rows(c, ldc, plain, LINEAR_PIECES_COLUMNS, m, n, 1.0f, NULL,
                                NULL, more, ld_more);
}
