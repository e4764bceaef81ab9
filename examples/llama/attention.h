/*
 * Attention of a text that grows, by libattn.
 */
#ifndef LLAMA_ATTENTION_H
#define LLAMA_ATTENTION_H

#include "attn.h"
#include "weights.h"

struct attention {
    attn_context *context;
    attn_plan *plan;
    attn_cache *cache;
    int32_t heads, kv_heads, head_dim;
};

/* For a text of up to length tokens, up to rows of them at once. dtype is how the cache
 * stores numbers, ATTN_F32 or a smaller type; threads 0: one for each processor. */
void attention_open(struct attention *attention, const struct shape *shape, int rows,
                    int length, int32_t dtype, int threads);

/* A layer reads the next tokens: mixed is what each of them attends, itself and all
 * before it. Tokens are rows of (heads head_dim) or (kv_heads head_dim) numbers; query
 * and key are rotated where they lie. */
void attention_read(struct attention *attention, int layer, int rows, float *query,
                    float *key, float *value, float *mixed);

/* Bytes that the cache has room in. */
size_t attention_bytes(const struct attention *attention);

void attention_close(struct attention *attention);

#endif
