/*
 * Dropout of weights.
 */
#include "core/dropout.h"

#include <math.h>

void attn_dropout_mask(const struct head *head, const struct tile *tile,
                       const struct kernels *kernels, uint8_t *keep, int64_t ld) {
    const struct call *call = head->call;
    const struct dropout_key key = {
        .seed = call->dropout_seed,
        .sequence = (uint32_t)(call->rng_indices.data != NULL
                                   ? integer_at(&call->rng_indices, head->b, 0)
                                   : head->b),
        .head = (uint32_t)head->h,
        /* exact: a product with a power of two; a random number is an integer */
        .threshold = (uint32_t)ceilf(head->problem->dropout * 0x1p24f),
    };
    kernels->dropout_mask(keep, ld, tile->rows, tile->keys, &key, (uint32_t)tile->row,
                          tile->key);
}

void attn_dropout_apply(const struct head *head, const struct tile *tile,
                        const struct kernels *kernels, const uint8_t *keep,
                        int64_t ld_keep, float *weights, int64_t ld) {
    const float p = head->problem->dropout;
    const float factor = p < 1.0f ? 1.0f / (1.0f - p) : 0.0f;
    kernels->drop(weights, ld, tile->rows, tile->keys, keep, ld_keep, factor);
}
