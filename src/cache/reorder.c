/*
 * Reordering: every sequence becomes what its parent was, without copies of keys.
 *
 * A sequence can be overwritten when nobody is to become what it is any more. Those
 * that are nobody's parent go first, and after each its parent may be free to go. What
 * is left are rings, each sequence the parent of one other: one of each waits in the
 * spare sequence, which makes the ring a line.
 */
#include "cache/cache.h"

enum { DONE = -1 };

static int64_t parent_of(const struct integers *parents, int64_t sequence) {
    return integer_at(parents, sequence, 0);
}

/* Makes a sequence that nobody waits for what its parent is, then the parent if it was
 * the last that waited for that, and so on. waiting[]: how many are to become this
 * sequence; DONE: it is what it should be. */
static void run_line(struct attn_cache *cache, const struct integers *parents,
                     int64_t sequence) {
    int64_t *waiting = cache->marks;
    while (waiting[sequence] == 0) {
        const int64_t parent = parent_of(parents, sequence);
        attn_cache_run_fork(cache, parent, sequence);
        waiting[sequence] = DONE;
        waiting[parent] -= waiting[parent] > 0;
        sequence = parent;
    }
}

static void run_ring(struct attn_cache *cache, const struct integers *parents,
                     int64_t start) {
    const int64_t spare = cache->sequences;
    int64_t sequence = start, parent = parent_of(parents, start);
    attn_cache_run_fork(cache, start, spare);
    while (parent != start) {
        attn_cache_run_fork(cache, parent, sequence);
        cache->marks[sequence] = DONE;
        sequence = parent;
        parent = parent_of(parents, sequence);
    }
    attn_cache_run_fork(cache, spare, sequence);
    cache->marks[sequence] = DONE;
    attn_cache_run_clear(cache, spare);
}

void attn_cache_run_reorder(struct attn_cache *cache, const struct integers *parents) {
    int64_t *waiting = cache->marks;
    for (int64_t s = 0; s < cache->sequences; s++) {
        const int64_t parent = parent_of(parents, s);
        waiting[parent] += parent != s;
    }
    for (int64_t s = 0; s < cache->sequences; s++) {
        if (waiting[s] == 0) {
            run_line(cache, parents, s);
        }
    }
    for (int64_t s = 0; s < cache->sequences; s++) {
        if (waiting[s] != DONE) {
            run_ring(cache, parents, s);
        }
    }
    for (int64_t s = 0; s < cache->sequences; s++) {
        waiting[s] = 0;
    }
}
