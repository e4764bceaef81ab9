/*
 * Ranks: the place of each token in an order of factorisation (XLNet, Yang et al.
 * 2019). A query attends keys of lower rank and, in the content stream, of its own.
 */
#include "core/mask.h"

static bool present(const struct problem *problem) {
    return problem->ranks != RANKS_OFF;
}

static bool excludes(const struct head *head, int64_t q_rank, int64_t k_rank) {
    return head->problem->ranks == RANKS_BELOW ? k_rank >= q_rank : k_rank > q_rank;
}

static int64_t query_rank(const struct head *head, int64_t i) {
    return integer_at(&head->call->q_ranks, head->b, i);
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
    const enum relation relation =
        head->problem->ranks == RANKS_BELOW ? RELATION_BELOW : RELATION_UP_TO;
    for (int i = 0; i < tile->rows; i++) {
        attn_mask_unrelated(&head->call->k_ranks, head->b, tile, relation,
                            query_rank(head, tile->row + i), kernels, 1,
                            scores + i * ld, ld);
    }
}

const struct mask attn_mask_ranks = {
    .name = "ranks",
    .present = present,
    .cover = cover,
    .apply = apply,
};
