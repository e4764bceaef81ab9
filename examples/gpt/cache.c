/*
 * One sequence, contiguous. Its keys need no positions: with ALiBi (see attention.h) a
 * score depends on distances alone, so whatever is in the cache stays right as the text
 * grows.
 */
#include "cache.h"

#include "fail.h"

attn_cache *cache_open(const struct model *model, int32_t dtype, int tokens) {
    const struct attention *attention = &model->attention;
    attn_cache *cache = NULL;
    attn_cache_options options;
    attn_cache_options_init(&options, sizeof options);
    options.layers = model->shape.layers;
    options.kv_heads = attention->heads;
    options.key_dim = options.value_dim = attention->head_dim;
    options.dtype = dtype;
    options.sequences = 1;
    options.capacity = tokens;
    if (attn_cache_create(&cache, attention->context, &options) != ATTN_OK) {
        fail(FAILED, "cache: %s", attn_last_error());
    }
    return cache;
}

void cache_close(attn_cache *cache) {
    attn_cache_destroy(cache);
}
