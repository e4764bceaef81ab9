/*
 * Caches.
 */
#include <string.h>

#include "api/api.h"
#include "api/cache_bind.h"
#include "desc/bind.h"

attn_status attn_cache_options_init(attn_cache_options *options, size_t size) {
    const attn_cache_options defaults = {
        .size = (int64_t)size, .layers = 1, .dtype = ATTN_F32};
    TRY(attn_struct_init(options, size, "attn_cache_options"));
    memcpy(options, &defaults, size < sizeof defaults ? size : sizeof defaults);
    return ATTN_OK;
}

attn_status attn_cache_create(attn_cache **cache, attn_context *context,
                              const attn_cache_options *options) {
    REQUIRE_POINTER(cache);
    *cache = NULL;
    REQUIRE(context != NULL, ATTN_ERR_INVALID,
            "context is NULL: a cache needs one of attn_context_create()");
    attn_cache_options taken;
    TRY(attn_struct_take(&taken, sizeof taken, options, "options"));
    struct attn_cache *made = attn_mem_allocate(&context->allocator, sizeof *made);
    REQUIRE(made != NULL, ATTN_ERR_NO_MEMORY, "no memory for a cache");
    attn_status status = attn_cache_setup(made, context, &taken);
    if (status != ATTN_OK) {
        attn_cache_clear(made);
        attn_mem_release(&context->allocator, made);
        return status;
    }
    attn_context_retain(context);
    atomic_store(&context->planned, true);
    *cache = made;
    return ATTN_OK;
}

void attn_cache_destroy(attn_cache *cache) {
    if (cache != NULL) {
        struct attn_context *context = cache->context;
        attn_cache_clear(cache);
        attn_mem_release(&context->allocator, cache);
        attn_context_release(context);
    }
}

attn_status attn_append_args_init(attn_append_args *args, size_t size) {
    return attn_struct_init(args, size, "attn_append_args");
}

attn_status attn_cache_append(attn_cache *cache, const attn_append_args *args) {
    REQUIRE_POINTER(cache);
    attn_append_args taken;
    struct append append;
    TRY(attn_struct_take(&taken, sizeof taken, args, "args"));
    TRY(attn_append_bind(&append, cache, &taken));
    return attn_cache_run_append(cache, &append);
}

/* What a layer keeps of a sequence, or NULL if there is none of them. */
static const struct kept *find(const attn_cache *cache, int32_t layer,
                               int64_t sequence) {
    const bool there = cache != NULL && layer >= 0 && layer < cache->layers &&
                       sequence >= 0 && sequence < cache->sequences;
    return there ? kept_of(cache, layer, sequence) : NULL;
}

int64_t attn_cache_length(const attn_cache *cache, int32_t layer, int64_t sequence) {
    const struct kept *kept = find(cache, layer, sequence);
    return kept != NULL ? length_of(kept) : -1;
}

int64_t attn_cache_first(const attn_cache *cache, int32_t layer, int64_t sequence) {
    const struct kept *kept = find(cache, layer, sequence);
    return kept != NULL ? kept->position : -1;
}

attn_status attn_cache_truncate(attn_cache *cache, int64_t sequence, int64_t length) {
    REQUIRE_POINTER(cache);
    return attn_cache_run_truncate(cache, sequence, length);
}

attn_status attn_cache_evict(attn_cache *cache, int64_t sequence, int64_t first) {
    REQUIRE_POINTER(cache);
    return attn_cache_run_evict(cache, sequence, first);
}

attn_status attn_cache_fork(attn_cache *cache, int64_t from, int64_t to) {
    REQUIRE_POINTER(cache);
    TRY(attn_cache_check_sequence(cache, from, "from"));
    TRY(attn_cache_check_sequence(cache, to, "to"));
    attn_cache_run_fork(cache, from, to);
    return ATTN_OK;
}

attn_status attn_cache_reorder(attn_cache *cache, const attn_tensor *parents) {
    REQUIRE_POINTER(cache);
    REQUIRE_POINTER(parents);
    struct integers bound;
    TRY(attn_parents_bind(&bound, cache, parents));
    attn_cache_run_reorder(cache, &bound);
    return ATTN_OK;
}

size_t attn_cache_bytes(const attn_cache *cache, size_t *used) {
    const int64_t pages = cache != NULL ? cache->pages : 0;
    const int64_t page_bytes = cache != NULL ? cache->page_bytes : 0;
    if (used != NULL) {
        *used = cache != NULL ? (size_t)((pages - cache->free_pages) * page_bytes) : 0;
    }
    return (size_t)(pages * page_bytes);
}

int64_t attn_cache_free_pages(const attn_cache *cache) {
    return cache != NULL ? cache->free_pages : 0;
}

attn_status attn_cache_save(const attn_cache *cache, int64_t sequence,
                            const char *path) {
    REQUIRE_POINTER(cache);
    REQUIRE_POINTER(path);
    return attn_cache_run_save(cache, sequence, path);
}

attn_status attn_cache_load(attn_cache *cache, int64_t sequence, const char *path) {
    REQUIRE_POINTER(cache);
    REQUIRE_POINTER(path);
    return attn_cache_run_load(cache, sequence, path);
}
