/*
 * Sequences grow shorter, at either end, and become what others are. What is kept is
 * changed first; then pages go that hold nothing of it any more.
 */
#include "base/arith.h"
#include "base/status.h"
#include "cache/pages.h"

void attn_kept_set(struct attn_cache *cache, int64_t layer, int64_t sequence,
                   int64_t begin, int64_t end) {
    *kept_of(cache, layer, sequence) = (struct kept){
        .pages = table_of(cache, sequence) + begin / cache->page_rows % cache->slots,
        .first = begin % cache->page_rows,
        .rows = end - begin,
        .position = begin,
    };
}

attn_status attn_cache_check_sequence(const struct attn_cache *cache, int64_t sequence,
                                      const char *name) {
    REQUIRE(sequence >= 0 && sequence < cache->sequences, ATTN_ERR_INVALID,
            "%s is %lld, but the cache has %lld sequences", name, (long long)sequence,
            (long long)cache->sequences);
    return ATTN_OK;
}

void attn_cache_run_clear(struct attn_cache *cache, int64_t sequence) {
    const struct range range = attn_pages_range(cache, sequence);
    for (int64_t l = 0; l < cache->layers; l++) {
        attn_kept_set(cache, l, sequence, 0, 0);
    }
    attn_pages_trim(cache, sequence, range.low, range.high);
}

static attn_status check_truncate(const struct attn_cache *cache, int64_t sequence,
                                  int64_t length) {
    int64_t longest = 0;
    for (int64_t l = 0; l < cache->layers; l++) {
        longest = max_i64(longest, length_of(kept_of(cache, l, sequence)));
    }
    REQUIRE(length >= 0 && length <= longest, ATTN_ERR_INVALID,
            "length is %lld, which is not within 0 to %lld, the length of sequence "
            "%lld",
            (long long)length, (long long)longest, (long long)sequence);
    for (int64_t l = 0; l < cache->layers && length > 0; l++) {
        const int64_t first = kept_of(cache, l, sequence)->position;
        REQUIRE(length >= first, ATTN_ERR_INVALID,
                "length is %lld, but the first key that layer %lld keeps of sequence "
                "%lld is %lld",
                (long long)length, (long long)l, (long long)sequence, (long long)first);
    }
    return ATTN_OK;
}

attn_status attn_cache_run_truncate(struct attn_cache *cache, int64_t sequence,
                                    int64_t length) {
    TRY(attn_cache_check_sequence(cache, sequence, "sequence"));
    TRY(check_truncate(cache, sequence, length));
    if (length == 0) {
        attn_cache_run_clear(cache, sequence);
        return ATTN_OK;
    }
    const struct range range = attn_pages_range(cache, sequence);
    for (int64_t l = 0; l < cache->layers; l++) {
        const struct kept *kept = kept_of(cache, l, sequence);
        attn_kept_set(cache, l, sequence, kept->position,
                      min_i64(length, length_of(kept)));
    }
    attn_pages_trim(cache, sequence, length, range.high);
    return ATTN_OK;
}

attn_status attn_cache_run_evict(struct attn_cache *cache, int64_t sequence,
                                 int64_t first) {
    TRY(attn_cache_check_sequence(cache, sequence, "sequence"));
    for (int64_t l = 0; l < cache->layers; l++) {
        const int64_t length = length_of(kept_of(cache, l, sequence));
        REQUIRE(first >= 0 && first <= length, ATTN_ERR_INVALID,
                "first is %lld, which is not within 0 to %lld, the length of layer "
                "%lld of sequence %lld",
                (long long)first, (long long)length, (long long)l, (long long)sequence);
    }
    const struct range range = attn_pages_range(cache, sequence);
    for (int64_t l = 0; l < cache->layers; l++) {
        const struct kept *kept = kept_of(cache, l, sequence);
        attn_kept_set(cache, l, sequence, max_i64(kept->position, first),
                      length_of(kept));
    }
    attn_pages_trim(cache, sequence, range.low, first);
    return ATTN_OK;
}

void attn_cache_run_fork(struct attn_cache *cache, int64_t from, int64_t to) {
    if (from == to) {
        return;
    }
    attn_cache_run_clear(cache, to);
    attn_pages_share(cache, from, to);
    for (int64_t l = 0; l < cache->layers; l++) {
        const struct kept *kept = kept_of(cache, l, from);
        attn_kept_set(cache, l, to, kept->position, length_of(kept));
    }
}
