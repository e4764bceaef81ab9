/*
 * Block sparse: one byte for each block of queries by keys. A tile is compared with the
 * blocks it touches, usually one to four.
 */
#include "core/mask.h"

#include <math.h>

#include "base/arith.h"

static bool kept(const struct head *head, int64_t q_block, int64_t k_block) {
    const struct rows *mask = &head->block_mask;
    return mask->data[q_block * mask->row + k_block * mask->column] != 0;
}

static bool present(const struct problem *problem) {
    return problem->q_block > 0;
}

static enum cover cover(const struct head *head, const struct tile *tile,
                        const struct kernels *kernels) {
    (void)kernels;
    const int64_t bq = head->problem->q_block, bk = head->problem->k_block;
    const int64_t q_last = (tile->row + tile->rows - 1) / bq;
    const int64_t k_last = (tile->key + tile->keys - 1) / bk;
    bool any = false, all = true;
    for (int64_t q = tile->row / bq; q <= q_last; q++) {
        for (int64_t k = tile->key / bk; k <= k_last; k++) {
            bool keep = kept(head, q, k);
            any |= keep;
            all &= keep;
        }
    }
    return all ? COVER_ALL : any ? COVER_SOME : COVER_NONE;
}

static void apply(const struct head *head, const struct tile *tile,
                  const struct kernels *kernels, float *scores, int64_t ld) {
    (void)kernels;
    const int64_t bq = head->problem->q_block, bk = head->problem->k_block;
    const int64_t end = tile->key + tile->keys;
    for (int i = 0; i < tile->rows; i++) {
        float *row = scores + i * ld - tile->key;
        for (int64_t j = tile->key; j < end;) {
            int64_t k = j / bk, next = min_i64(end, (k + 1) * bk);
            if (kept(head, (tile->row + i) / bq, k)) {
                j = next;
            }
            for (; j < next; j++) {
                row[j] = -INFINITY;
            }
        }
    }
}

const struct mask attn_mask_blocks = {
    .name = "block mask",
    .present = present,
    .cover = cover,
    .apply = apply,
};
