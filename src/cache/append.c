/*
 * Appending: everything that can be wrong is looked at first, then pages are taken and
 * rows written.
 */
#include "base/arith.h"
#include "base/status.h"
#include "cache/pages.h"
#include "cache/store.h"

/* What goes to one sequence: rows from `row` on of batch element `index` of the tensors
 * become positions begin to end. Of more than a ring keeps only the last count. */
struct share {
    int64_t sequence, index, row;
    int64_t begin, end; /* what is written */
};

static struct share share_of(const struct append *append, int64_t b) {
    const struct attn_cache *cache = append->cache;
    const bool packed = append->starts.data != NULL;
    const int64_t row = packed ? integer_at(&append->starts, b, 0) : 0;
    const int64_t rows = packed ? integer_at(&append->starts, b + 1, 0) - row
                         : append->lengths.data != NULL
                             ? integer_at(&append->lengths, b, 0)
                             : append->rows;
    const int64_t sequence =
        append->sequences.data != NULL ? integer_at(&append->sequences, b, 0) : b;
    const int64_t length = length_of(kept_of(cache, append->layer, sequence));
    const int64_t skipped = cache->ring ? max_i64(0, rows - cache->capacity) : 0;
    return (struct share){
        .sequence = sequence,
        .index = packed ? 0 : b,
        .row = row + skipped,
        .begin = length + skipped,
        .end = length + rows,
    };
}

/* Marks each sequence of the call with b + 1, and refuses to do so twice. */
static attn_status mark_sequences(struct attn_cache *cache,
                                  const struct append *append) {
    const struct integers *sequences = &append->sequences;
    for (int64_t b = 0; sequences->data != NULL && b < append->batch; b++) {
        const int64_t sequence = integer_at(sequences, b, 0);
        REQUIRE(sequence >= 0 && sequence < cache->sequences, ATTN_ERR_INVALID,
                "sequences[%lld] is %lld, but the cache has %lld sequences",
                (long long)b, (long long)sequence, (long long)cache->sequences);
        REQUIRE(cache->marks[sequence] == 0, ATTN_ERR_INVALID,
                "sequences[%lld] and sequences[%lld] are both %lld",
                (long long)cache->marks[sequence] - 1, (long long)b,
                (long long)sequence);
        cache->marks[sequence] = b + 1;
    }
    return ATTN_OK;
}

/* Undoes mark_sequences(), also where it failed. */
static void unmark_sequences(struct attn_cache *cache, const struct append *append) {
    const struct integers *sequences = &append->sequences;
    for (int64_t b = 0; sequences->data != NULL && b < append->batch; b++) {
        const int64_t sequence = integer_at(sequences, b, 0);
        if (sequence >= 0 && sequence < cache->sequences) {
            cache->marks[sequence] = 0;
        }
    }
}

static attn_status check_lengths(const struct append *append) {
    const struct attn_cache *cache = append->cache;
    for (int64_t b = 0; b < append->batch; b++) {
        const struct share share = share_of(append, b);
        const struct kept *kept = kept_of(cache, append->layer, share.sequence);
        const int64_t rows = share.end - length_of(kept);
        REQUIRE(cache->ring || rows <= cache->capacity - kept->rows, ATTN_ERR_INVALID,
                "sequence %lld keeps %lld keys of layer %d: %lld more are beyond its "
                "capacity of %lld",
                (long long)share.sequence, (long long)kept->rows, (int)append->layer,
                (long long)rows, (long long)cache->capacity);
        REQUIRE(share.end <= LENGTH_MAX, ATTN_ERR_INVALID,
                "sequence %lld would have %lld tokens, beyond 2^53",
                (long long)share.sequence, (long long)share.end);
    }
    return ATTN_OK;
}

/*
 * A contiguous cache always has enough: it has as many pages as sequences, and after
 * the call each sequence has one at most, which no other has if it was written to. A
 * sequence that has none, or shares one, leaves others at most as many pages as there
 * are other sequences, less what they share.
 */
static attn_status check_pages(struct attn_cache *cache, const struct append *append) {
    int64_t needed = 0;
    for (int64_t b = 0; b < append->batch; b++) {
        const struct share share = share_of(append, b);
        needed += attn_pages_needed(cache, share.sequence, share.begin, share.end);
    }
    for (int64_t b = 0; b < append->batch; b++) {
        const struct share share = share_of(append, b);
        attn_pages_forget(cache, share.sequence, share.begin, share.end);
    }
    REQUIRE(needed <= cache->free_pages, ATTN_ERR_INVALID,
            "the keys take %lld more pages, but %lld of the cache's %lld are free",
            (long long)needed, (long long)cache->free_pages, (long long)cache->pages);
    return ATTN_OK;
}

static attn_status check(struct attn_cache *cache, const struct append *append) {
    const attn_status status = mark_sequences(cache, append);
    unmark_sequences(cache, append);
    TRY(status);
    TRY(check_lengths(append));
    return check_pages(cache, append);
}

static void write_share(struct attn_cache *cache, const struct append *append,
                        const struct share *share) {
    const int32_t *table = table_of(cache, share->sequence);
    int64_t row = share->row, at = share->begin;
    attn_pages_own(cache, share->sequence, share->begin, share->end);
    while (at < share->end) {
        const struct stretch stretch = stretch_at(cache, at, share->end);
        for (int p = 0; p < PARTS; p++) {
            attn_store_rows(cache, append->layer, p, table[stretch.slot], stretch.row,
                            stretch.rows, &append->part[p], share->index, row);
        }
        at += stretch.rows;
        row += stretch.rows;
    }
}

attn_status attn_cache_run_append(struct attn_cache *cache,
                                  const struct append *append) {
    TRY(check(cache, append));
    for (int64_t b = 0; b < append->batch; b++) {
        const struct share share = share_of(append, b);
        const struct kept *kept = kept_of(cache, append->layer, share.sequence);
        write_share(cache, append, &share);
        const int64_t least = cache->ring ? share.end - cache->capacity : 0;
        attn_kept_set(cache, append->layer, share.sequence,
                      max_i64(kept->position, least), share.end);
    }
    return ATTN_OK;
}
