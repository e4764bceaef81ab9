/*
 * Documents: a query attends the keys of its own document. Documents usually are runs,
 * so the smallest and largest number on each side of a tile tell most tiles apart.
 */
#include "core/mask.h"

static int64_t query_document(const struct head *head, int64_t i) {
    return integer_at(&head->call->q_documents, head->b, i);
}

static bool present(const struct problem *problem) {
    return problem->documents;
}

static enum cover cover(const struct head *head, const struct tile *tile,
                        const struct kernels *kernels) {
    (void)kernels;
    const struct call *call = head->call;
    const struct range queries =
        attn_integers_range(&call->q_documents, head->b, tile->row, tile->rows);
    const struct range keys =
        attn_integers_range(&call->k_documents, head->b, tile->key, tile->keys);
    if (queries.high < keys.low || keys.high < queries.low) {
        return COVER_NONE;
    }
    return queries.low == queries.high && keys.low == keys.high ? COVER_ALL
                                                                : COVER_SOME;
}

/* Rows of one document are masked together. */
static void apply(const struct head *head, const struct tile *tile,
                  const struct kernels *kernels, float *scores, int64_t ld) {
    for (int i = 0, end; i < tile->rows; i = end) {
        const int64_t document = query_document(head, tile->row + i);
        end = i + 1;
        while (end < tile->rows && query_document(head, tile->row + end) == document) {
            end++;
        }
        attn_mask_unrelated(&head->call->k_documents, head->b, tile, RELATION_EQUAL,
                            document, kernels, end - i, scores + i * ld, ld);
    }
}

const struct mask attn_mask_documents = {
    .name = "documents",
    .present = present,
    .cover = cover,
    .apply = apply,
};
