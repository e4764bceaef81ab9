/*
 * The additive bias, which is a score term and, where it is -inf, a mask. The mask
 * selects what the sum would leave NaN.
 */
#include <math.h>

#include "core/work.h"

static const float *bias_at(const struct head *head, int64_t i, int64_t j) {
    const struct rows *bias = &head->bias;
    return (const float *)(const void *)bias->data + i * bias->row + j * bias->column;
}

static bool present(const struct problem *problem) {
    return problem->bias;
}

static void add(struct work *work, const struct head *head, const struct tile *tile,
                float *scores, int64_t ld) {
    work->tools->kernels->add_bias(scores, ld, tile->rows, tile->keys,
                                   bias_at(head, tile->row, tile->key), head->bias.row,
                                   (int)head->bias.column);
}

/* gradients added to total: a row of one float for each column, or one float for all.
 */
static void add_row(const struct kernels *kernels, float *total, int64_t column,
                    const float *gradients, int keys) {
    if (column != 0) {
        kernels->add_columns(total, gradients, keys, 1, keys);
        return;
    }
    float sum = 0.0f;
    for (int j = 0; j < keys; j++) {
        sum += gradients[j];
    }
    *total += sum;
}

/*
 * Where the bias repeats over the rows, those of the tile are summed before they meet
 * the total: sums of sums keep long columns exact.
 */
static void gradient(struct work *work, const struct head *head,
                     const struct tile *tile, float *gradients, int64_t ld) {
    const struct kernels *kernels = work->tools->kernels;
    const struct view *total = &head->call->grad_bias;
    if (total->data == NULL) {
        return;
    }
    const int64_t row = total->stride[ROW], column = total->stride[COLUMN];
    float *to = view_at(total, head->b, head->h, tile->row, tile->key);
    if (row != 0) {
        for (int64_t i = 0; i < tile->rows; i++) {
            add_row(kernels, to + i * row, column, gradients + i * ld, tile->keys);
        }
        return;
    }
    add_row(kernels, to, column, attn_column_sums(work, tile, gradients, ld),
            tile->keys);
}

static enum cover cover(const struct head *head, const struct tile *tile,
                        const struct kernels *kernels) {
    const int rows = head->bias.row == 0 ? 1 : tile->rows;
    const int keys = head->bias.column == 0 ? 1 : tile->keys;
    int found = kernels->scan_bias(bias_at(head, tile->row, tile->key), head->bias.row,
                                   rows, keys);
    return found == SCAN_ATTENDED ? COVER_ALL
           : found == SCAN_MASKED ? COVER_NONE
                                  : COVER_SOME;
}

static void mask(const struct head *head, const struct tile *tile,
                 const struct kernels *kernels, float *scores, int64_t ld) {
    kernels->mask_bias(scores, ld, tile->rows, tile->keys,
                       bias_at(head, tile->row, tile->key), head->bias.row,
                       (int)head->bias.column);
}

const struct term attn_term_bias = {
    .name = "bias",
    .present = present,
    .apply = add,
    .gradient = gradient,
};

const struct mask attn_mask_bias = {
    .name = "bias",
    .present = present,
    .cover = cover,
    .apply = mask,
};
