/*
 * Products of a tile's weights, or what is derived from them, with rows of keys,
 * values, queries or gradients, some of which may be infinite or NaN.
 *
 * A masked weight is 0, and 0 times what is not finite is NaN: such rows of data leave
 * the product and are added one by one where the masks let them.
 */
#include <string.h>

#include "core/work.h"

void attn_attended(const struct work *work, const struct head *head,
                   const struct tile *tile, float *attended, int64_t ld) {
    const struct toolbox *tools = work->tools;
    for (int i = 0; i < tile->rows; i++) {
        memset(attended + i * ld, 0, (size_t)tile->keys * sizeof *attended);
    }
    attn_masks_apply(&tools->masks, head, tile, tools->kernels,
                     (1u << tools->masks.count) - 1, attended, ld);
}

void attn_apart_add(const struct apart *apart, int l, const float *row) {
    const struct tile *tile = apart->tile;
    const bool keys = apart->over == OVER_KEYS;
    const int others = keys ? tile->rows : tile->keys;
    for (int o = 0; o < others; o++) {
        const int64_t i = keys ? o : l, j = keys ? l : o;
        if (apart->attended == NULL ||
            apart->attended[i * apart->ld_attended + j] == 0.0f) {
            const float weight = apart->factor * apart->weights[i * apart->ld + j];
            float *sums = apart->sums + (int64_t)o * apart->dim;
            for (int c = 0; c < apart->dim; c++) {
                sums[c] += weight * row[c];
            }
        }
    }
}

/* Adds the rows that are not finite; returns a copy of data that has 0 in their place.
 */
static const float *add_rows(const struct work *work, const struct apart *apart,
                             const float *data) {
    const int dim = apart->dim;
    const int length = apart->over == OVER_KEYS ? apart->tile->keys : apart->tile->rows;
    const size_t bytes = (size_t)dim * sizeof *data;
    float *finite = work_floats(work, REGION_FINITE);
    for (int l = 0; l < length; l++) {
        const float *row = data + (int64_t)l * dim;
        float *copy = finite + (int64_t)l * dim;
        if (work->tools->kernels->all_finite(row, dim, 1, dim)) {
            memcpy(copy, row, bytes);
        } else {
            memset(copy, 0, bytes);
            attn_apart_add(apart, l, row);
        }
    }
    return finite;
}

void attn_product_add_nonzero(struct work *work, int m, int n, int k, float factor,
                              struct operand a, const float *b, float *sums) {
    const struct toolbox *tools = work->tools;
    const struct kernels *kernels = tools->kernels;
    const int64_t row_a = a.transposed ? 1 : a.ld, column_a = a.transposed ? a.ld : 1;
    if (!kernels->all_finite(b, n, k, n)) {
        float *finite = work_floats(work, REGION_FINITE);
        memcpy(finite, b, (size_t)k * (size_t)n * sizeof *b);
        for (int64_t l = 0; l < k; l++) {
            if (kernels->all_finite(b + l * n, n, 1, n)) {
                continue;
            }
            memset(finite + l * n, 0, (size_t)n * sizeof *b);
            for (int64_t i = 0; i < m; i++) {
                const float weight = factor * a.data[i * row_a + l * column_a];
                for (int64_t c = 0; c < n && weight != 0.0f; c++) {
                    sums[i * n + c] += weight * b[l * n + c];
                }
            }
        }
        b = finite;
    }
    attn_product(kernels, tools->recipe.cut, m, n, k, factor, a, factor_rows(b, n),
                 true, sums, n);
}

void attn_tile_product_add(struct work *work, const struct head *head,
                           const struct tile *tile, enum over over, bool guarded,
                           float factor, const float *weights, int64_t ld,
                           struct factor data, int dim, float *sums) {
    const struct toolbox *tools = work->tools;
    if (guarded) {
        float *attended = work_floats(work, REGION_ATTENDED);
        attn_attended(work, head, tile, attended, tools->recipe.tile_k);
        const struct apart rows_of_data = {
            .tile = tile,
            .over = over,
            .factor = factor,
            .weights = weights,
            .attended = attended,
            .ld = ld,
            .ld_attended = tools->recipe.tile_k,
            .dim = dim,
            .sums = sums,
        };
        data.data = add_rows(work, &rows_of_data, data.data);
    }
    const bool rows = over == OVER_ROWS;
    attn_product(tools->kernels, tools->recipe.cut, rows ? tile->keys : tile->rows, dim,
                 rows ? tile->rows : tile->keys, factor,
                 (struct operand){weights, ld, rows}, data, true, sums, dim);
}
