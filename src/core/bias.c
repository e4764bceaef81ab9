/*
 * The additive bias, which is a score term and, where it is -inf, a mask. The mask
 * selects what the sum would leave NaN.
 */
#include "core/mask.h"
#include "core/term.h"

#include <math.h>

static const float *bias_at(const struct head *head, int64_t i, int64_t j) {
    const struct rows *bias = &head->bias;
    return (const float *)(const void *)bias->data + i * bias->row + j * bias->column;
}

static bool present(const struct problem *problem) {
    return problem->bias;
}

static void add(const struct head *head, const struct tile *tile,
                const struct kernels *kernels, float *scores, int64_t ld) {
    kernels->add_bias(scores, ld, tile->rows, tile->keys,
                      bias_at(head, tile->row, tile->key), head->bias.row,
                      (int)head->bias.column);
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

static bool attends(const struct head *head, int64_t i, int64_t j) {
    return *bias_at(head, i, j) != -INFINITY;
}

const struct term attn_term_bias = {
    .name = "bias",
    .present = present,
    .apply = add,
};

const struct mask attn_mask_bias = {
    .name = "bias",
    .present = present,
    .cover = cover,
    .apply = mask,
    .attends = attends,
};
