/*
 * Documents: a query attends the keys of its own document. Documents usually are runs,
 * so the smallest and largest number on each side of a tile tell most tiles apart.
 */
#include "core/mask.h"

#include <math.h>

#include "base/arith.h"

static int64_t query_document(const struct head *head, int64_t i) {
    return integer_at(&head->call->q_documents, head->b, i);
}

static int64_t key_document(const struct head *head, int64_t j) {
    return integer_at(&head->call->k_documents, head->b, j);
}

static bool present(const struct problem *problem) {
    return problem->documents;
}

static enum cover cover(const struct head *head, const struct tile *tile,
                        const struct kernels *kernels) {
    (void)kernels;
    int64_t low = INT64_MAX, high = INT64_MIN, key_low = INT64_MAX,
            key_high = INT64_MIN;
    for (int i = 0; i < tile->rows; i++) {
        int64_t document = query_document(head, tile->row + i);
        low = min_i64(low, document);
        high = max_i64(high, document);
    }
    for (int j = 0; j < tile->keys; j++) {
        int64_t document = key_document(head, tile->key + j);
        key_low = min_i64(key_low, document);
        key_high = max_i64(key_high, document);
    }
    if (high < key_low || key_high < low) {
        return COVER_NONE;
    }
    return low == high && key_low == key_high ? COVER_ALL : COVER_SOME;
}

static void apply(const struct head *head, const struct tile *tile,
                  const struct kernels *kernels, float *scores, int64_t ld) {
    (void)kernels;
    for (int i = 0; i < tile->rows; i++) {
        const int64_t document = query_document(head, tile->row + i);
        float *row = scores + i * ld;
        for (int j = 0; j < tile->keys; j++) {
            if (key_document(head, tile->key + j) != document) {
                row[j] = -INFINITY;
            }
        }
    }
}

const struct mask attn_mask_documents = {
    .name = "documents",
    .present = present,
    .cover = cover,
    .apply = apply,
};
