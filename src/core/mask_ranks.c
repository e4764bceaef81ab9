/*
 * Ranks: the place of each token in an order of factorisation (XLNet, Yang et al.
 * 2019). A query attends keys of lower rank and, in the content stream, of its own.
 */
#include "core/mask.h"

#include <math.h>

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
    const struct call *call = head->call;
    const struct range queries =
        attn_integers_range(&call->q_ranks, head->b, tile->row, tile->rows);
    const struct range keys =
        attn_integers_range(&call->k_ranks, head->b, tile->key, tile->keys);
    if (excludes(head, queries.high, keys.low)) {
        return COVER_NONE;
    }
    return excludes(head, queries.low, keys.high) ? COVER_SOME : COVER_ALL;
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
