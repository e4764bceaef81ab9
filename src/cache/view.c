/*
 * The cache as the attention of a layer reads it.
 */
#include "base/status.h"
#include "cache/cache.h"

/* Keys or values of a layer in page 0. */
static struct view rows_view(const struct attn_cache *cache, int32_t layer, int which) {
    const struct part *part = &cache->part[which];
    return (struct view){
        .data = blocks_at(cache, 0, layer, part, 0),
        .dtype = cache->dtype,
        .stride =
            {[HEAD] = cache->page_rows * part->dim, [ROW] = part->dim, [COLUMN] = 1},
    };
}

static struct view scales_view(const struct attn_cache *cache, int32_t layer,
                               int which) {
    if (cache->dtype != ATTN_I8) {
        return (struct view){.data = NULL};
    }
    return (struct view){
        .data = scales_at(cache, 0, layer, &cache->part[which], 0, 0),
        .dtype = ATTN_F32,
        .stride = {[HEAD] = cache->page_rows, [ROW] = 1},
    };
}

attn_status attn_cache_view(const struct attn_cache *cache, int32_t layer,
                            struct cached *cached) {
    REQUIRE(layer >= 0 && layer < cache->layers, ATTN_ERR_INVALID,
            "cache_layer is %d, but the cache has %d layers", (int)layer,
            (int)cache->layers);
    *cached = (struct cached){
        .key = rows_view(cache, layer, KEYS),
        .value = rows_view(cache, layer, VALUES),
        .key_scales = scales_view(cache, layer, KEYS),
        .value_scales = scales_view(cache, layer, VALUES),
        .page_rows = cache->page_rows,
        .page_stride = cache->page_bytes / source_bytes(cache->dtype),
        .scale_page = cache->page_bytes / (int64_t)sizeof(float),
        .kept = kept_of(cache, layer, 0),
        .sequences = cache->sequences,
        .kv_heads = cache->kv_heads,
        .key_dim = cache->part[KEYS].dim,
        .value_dim = cache->part[VALUES].dim,
        .memory = cache->pool,
        .bytes = (size_t)(cache->pages * cache->page_bytes),
    };
    return ATTN_OK;
}
