/*
 * Products of a tile's weights, or what is derived from them, with rows of keys,
 * values, queries or gradients, some of which may be infinite or NaN.
 *
 * A masked weight is 0, and 0 times what is not finite is NaN: such rows of data leave
 * the product and are added one by one where the masks let them.
 */
#include <string.h>

#include "core/product.h"
#include "core/work.h"

/* Adds row l of data, which is not finite, to the sums of all that may have it. */
static void add_row(const struct work *work, const struct head *head,
                    const struct tile *tile, enum over over, float factor,
                    const float *weights, int64_t ld, int l, const float *row, int dim,
                    float *sums) {
    const int others = over == OVER_KEYS ? tile->rows : tile->keys;
    for (int o = 0; o < others; o++) {
        const int i = over == OVER_KEYS ? o : l, j = over == OVER_KEYS ? l : o;
        if (attn_masks_attend(&work->tools->masks, head, tile->row + i,
                              tile->key + j)) {
            const float weight = factor * weights[i * ld + j];
            for (int c = 0; c < dim; c++) {
                sums[(int64_t)o * dim + c] += weight * row[c];
            }
        }
    }
}

/* Adds the rows that are not finite; returns a copy of data that has 0 in their place.
 */
static const float *add_rows(struct work *work, const struct head *head,
                             const struct tile *tile, enum over over, float factor,
                             const float *weights, int64_t ld, const float *data,
                             int dim, float *sums) {
    const int length = over == OVER_KEYS ? tile->keys : tile->rows;
    const size_t bytes = (size_t)dim * sizeof *data;
    float *finite = work_floats(work, REGION_FINITE);
    for (int l = 0; l < length; l++) {
        const float *row = data + (int64_t)l * dim;
        float *copy = finite + (int64_t)l * dim;
        if (work->tools->kernels->all_finite(row, dim, 1, dim)) {
            memcpy(copy, row, bytes);
        } else {
            memset(copy, 0, bytes);
            add_row(work, head, tile, over, factor, weights, ld, l, row, dim, sums);
        }
    }
    return finite;
}

void attn_tile_product_add(struct work *work, const struct head *head,
                           const struct tile *tile, enum over over, bool guarded,
                           float factor, const float *weights, int64_t ld,
                           const float *data, int dim, float *sums) {
    const struct toolbox *tools = work->tools;
    if (guarded) {
        data = add_rows(work, head, tile, over, factor, weights, ld, data, dim, sums);
    }
    const bool rows = over == OVER_ROWS;
    attn_product(tools->kernels, tools->recipe.edge, rows ? tile->keys : tile->rows,
                 dim, rows ? tile->rows : tile->keys, factor,
                 (struct operand){weights, ld, rows}, data, dim, true, sums, dim);
}
