/*
 * From options to an empty cache: how a page is laid out, and memory for everything.
 */
#include <string.h>

#include "base/arith.h"
#include "base/status.h"
#include "cache/cache.h"

enum { SCRATCH_FLOATS = 4096 };

static attn_status check_options(const attn_cache_options *options) {
    const struct {
        const char *name;
        int64_t value, low, high;
    } limits[] = {
        {"layers", options->layers, 1, INT32_MAX},
        {"kv_heads", options->kv_heads, 1, INT32_MAX},
        {"key_dim", options->key_dim, 1, DIM_MAX},
        {"value_dim", options->value_dim, 1, DIM_MAX},
        {"ring", options->ring, 0, 1},
        {"sequences", options->sequences, 1, INT32_MAX},
        {"capacity", options->capacity, 1, LENGTH_MAX},
    };
    const int32_t dtype = options->dtype;
    const long long page_keys = options->page_keys, pages = options->pages;
    for (size_t i = 0; i < COUNT_OF(limits); i++) {
        REQUIRE(limits[i].value >= limits[i].low && limits[i].value <= limits[i].high,
                ATTN_ERR_INVALID, "%s is %lld, which is not within %lld to %lld",
                limits[i].name, (long long)limits[i].value, (long long)limits[i].low,
                (long long)limits[i].high);
    }
    REQUIRE(dtype == ATTN_F32 || dtype == ATTN_F16 || dtype == ATTN_BF16 ||
                dtype == ATTN_I8,
            ATTN_ERR_INVALID, "dtype is %d, should be that of f32, f16, bf16 or i8",
            (int)dtype);
    REQUIRE(page_keys >= 0 && page_keys <= options->capacity, ATTN_ERR_INVALID,
            "page_keys is %lld, which is not within 0 to the capacity, %lld", page_keys,
            (long long)options->capacity);
    REQUIRE(page_keys > 0 || pages == 0, ATTN_ERR_INVALID,
            "pages is %lld, should be 0: page_keys is 0, which stands for one page for "
            "each sequence",
            pages);
    REQUIRE(page_keys == 0 || (pages >= 1 && pages <= INT32_MAX), ATTN_ERR_INVALID,
            "pages is %lld, which is not within 1 to %d", pages, INT32_MAX);
    return ATTN_OK;
}

static void take_options(struct attn_cache *cache, const attn_cache_options *options) {
    const bool paged = options->page_keys > 0;
    cache->layers = options->layers;
    cache->kv_heads = options->kv_heads;
    cache->dtype = options->dtype;
    cache->ring = options->ring == 1;
    cache->sequences = options->sequences;
    cache->capacity = options->capacity;
    cache->page_rows = paged ? options->page_keys : options->capacity;
    cache->pages = paged ? options->pages : options->sequences;
    cache->slots = ceil_div(cache->capacity, cache->page_rows);
    cache->part[KEYS] =
        (struct part){.dim = options->key_dim, .order = ORDER_KEY_BLOCKS};
    cache->part[VALUES] =
        (struct part){.dim = options->value_dim, .order = ORDER_VALUE_BLOCKS};
}

/* Gives rows of all heads a place in a layer's share of a page, a row of so many bytes;
 * false if it does not fit. */
static bool place(struct attn_cache *cache, int64_t row_bytes, int64_t *at) {
    int64_t bytes;
    *at = cache->layer_bytes;
    if (!checked_mul(cache->page_rows, cache->kv_heads, &bytes) ||
        !checked_mul(bytes, row_bytes, &bytes) ||
        !checked_add(bytes, MEM_ALIGNMENT - 1, &bytes)) {
        return false;
    }
    bytes -= bytes % MEM_ALIGNMENT;
    return checked_add(cache->layer_bytes, bytes, &cache->layer_bytes);
}

/* Lays out a page; writes the bytes of all of them. */
static bool lay_out(struct attn_cache *cache, int64_t *pool) {
    bool fits = true;
    for (int p = 0; p < PARTS; p++) {
        struct part *part = &cache->part[p];
        fits =
            fits && place(cache, part->dim * source_bytes(cache->dtype), &part->rows);
    }
    for (int p = 0; p < PARTS && cache->dtype == ATTN_I8; p++) {
        fits = fits && place(cache, sizeof(float), &cache->part[p].scales);
    }
    return fits && checked_mul(cache->layer_bytes, cache->layers, &cache->page_bytes) &&
           checked_mul(cache->page_bytes, cache->pages, pool) && *pool <= PTRDIFF_MAX;
}

/* An array of count * each elements of this size, or NULL. */
static void *allocate(struct attn_cache *cache, int64_t count, int64_t each,
                      size_t size) {
    int64_t bytes;
    if (!checked_mul(count, each, &bytes) ||
        !checked_mul(bytes, (int64_t)size, &bytes) || bytes > PTRDIFF_MAX) {
        return NULL;
    }
    return attn_mem_allocate(&cache->context->allocator, (size_t)bytes);
}

static attn_status allocate_all(struct attn_cache *cache, int64_t pool) {
    const struct allocator *allocator = &cache->context->allocator;
    const int64_t sequences = cache->sequences + 1;
    const int64_t widest = max_i64(cache->part[KEYS].dim, cache->part[VALUES].dim);
    cache->scratch_floats = max_i64(widest, SCRATCH_FLOATS);
    cache->kept = allocate(cache, cache->layers, sequences, sizeof *cache->kept);
    cache->tables = allocate(cache, sequences, 2 * cache->slots, sizeof *cache->tables);
    cache->page = allocate(cache, cache->pages, 1, sizeof *cache->page);
    cache->free_list = allocate(cache, cache->pages, 1, sizeof *cache->free_list);
    cache->marks = allocate(cache, cache->sequences, 1, sizeof *cache->marks);
    cache->scratch = allocate(cache, cache->scratch_floats, 1, sizeof *cache->scratch);
    cache->converted =
        allocate(cache, cache->scratch_floats, 1, sizeof *cache->scratch);
    REQUIRE(cache->kept != NULL && cache->tables != NULL && cache->page != NULL &&
                cache->free_list != NULL && cache->marks != NULL &&
                cache->scratch != NULL && cache->converted != NULL,
            ATTN_ERR_NO_MEMORY,
            "no memory to keep account of %lld sequences of %lld pages in a cache",
            (long long)cache->sequences, (long long)cache->slots);
    cache->pool = attn_mem_allocate_large(allocator, (size_t)pool);
    REQUIRE(cache->pool != NULL, ATTN_ERR_NO_MEMORY,
            "no memory for the pages of a cache: %lld of %lld bytes",
            (long long)cache->pages, (long long)cache->page_bytes);
    return ATTN_OK;
}

/* No sequence has anything; pages are taken from the first on. */
static void make_empty(struct attn_cache *cache) {
    const int64_t sequences = cache->sequences + 1;
    for (int64_t l = 0; l < cache->layers; l++) {
        for (int64_t s = 0; s < sequences; s++) {
            *kept_of(cache, l, s) = (struct kept){.pages = table_of(cache, s)};
        }
    }
    for (int64_t i = 0; i < sequences * 2 * cache->slots; i++) {
        cache->tables[i] = -1;
    }
    for (int64_t i = 0; i < cache->pages; i++) {
        cache->page[i] = (struct page){0};
        cache->free_list[i] = (int32_t)(cache->pages - 1 - i);
    }
    for (int64_t s = 0; s < cache->sequences; s++) {
        cache->marks[s] = 0;
    }
    cache->free_pages = cache->pages;
}

attn_status attn_cache_setup(struct attn_cache *cache, struct attn_context *context,
                             const attn_cache_options *options) {
    int64_t pool;
    memset(cache, 0, sizeof *cache);
    cache->context = context;
    cache->kernels = attn_kernels(context->isa);
    TRY(check_options(options));
    take_options(cache, options);
    REQUIRE(lay_out(cache, &pool), ATTN_ERR_INVALID,
            "the cache is too large: %lld pages of %lld keys, %d layers, %d heads",
            (long long)cache->pages, (long long)cache->page_rows, (int)cache->layers,
            (int)cache->kv_heads);
    TRY(allocate_all(cache, pool));
    make_empty(cache);
    return ATTN_OK;
}

void attn_cache_clear(struct attn_cache *cache) {
    void *const blocks[] = {cache->kept,      cache->tables, cache->page,
                            cache->free_list, cache->marks,  cache->scratch,
                            cache->converted, cache->pool};
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        attn_mem_release(&cache->context->allocator, blocks[i]);
    }
}
