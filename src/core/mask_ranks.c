/*
 * Ranks: the place of each token in an order of factorisation (XLNet, Yang et al.
 * 2019). A query attends keys of lower rank and, in the content stream, of its own.
 */
#include "core/mask.h"

#include <math.h>

#include "base/arith.h"

static bool present(const struct problem *problem) {
    return problem->ranks != RANKS_OFF;
}

static bool excludes(const struct head *head, int64_t q_rank, int64_t k_rank) {
    return head->problem->ranks == RANKS_BELOW ? k_rank >= q_rank : k_rank > q_rank;
}

static int64_t query_rank(const struct head *head, int64_t i) {
    return integer_at(&head->call->q_ranks, head->b, i);
}

static int64_t key_rank(const struct head *head, int64_t j) {
    return integer_at(&head->call->k_ranks, head->b, j);
}

static enum cover cover(const struct head *head, const struct tile *tile,
                        const struct kernels *kernels) {
    (void)kernels;
    int64_t low = INT64_MAX, high = INT64_MIN, key_low = INT64_MAX,
            key_high = INT64_MIN;
    for (int i = 0; i < tile->rows; i++) {
        const int64_t rank = query_rank(head, tile->row + i);
        low = min_i64(low, rank);
        high = max_i64(high, rank);
    }
    for (int j = 0; j < tile->keys; j++) {
        const int64_t rank = key_rank(head, tile->key + j);
        key_low = min_i64(key_low, rank);
        key_high = max_i64(key_high, rank);
    }
    if (excludes(head, high, key_low)) {
        return COVER_NONE;
    }
    return excludes(head, low, key_high) ? COVER_SOME : COVER_ALL;
}

static void apply(const struct head *head, const struct tile *tile,
                  const struct kernels *kernels, float *scores, int64_t ld) {
    (void)kernels;
    for (int i = 0; i < tile->rows; i++) {
        const int64_t rank = query_rank(head, tile->row + i);
        float *row = scores + i * ld;
        for (int j = 0; j < tile->keys; j++) {
            if (excludes(head, rank, key_rank(head, tile->key + j))) {
                row[j] = -INFINITY;
            }
        }
    }
}

const struct mask attn_mask_ranks = {
    .name = "ranks",
    .present = present,
    .cover = cover,
    .apply = apply,
};
