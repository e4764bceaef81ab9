/*
 * Pages: who has them, and getting one of one's own.
 */
#ifndef ATTN_CACHE_PAGES_H
#define ATTN_CACHE_PAGES_H

#include "cache/cache.h"

/*
 * Counts the free pages that it takes to write to positions `begin` to `end` of a
 * sequence, after what was counted before, and notes who writes to what until
 * attn_pages_forget() with the same positions.
 */
int64_t attn_pages_needed(struct attn_cache *cache, int64_t sequence, int64_t begin,
                          int64_t end);
void attn_pages_forget(struct attn_cache *cache, int64_t sequence, int64_t begin,
                       int64_t end);

/* Gives a sequence pages of its own for these positions, with what it keeps there. The
 * free pages must be enough. */
void attn_pages_own(struct attn_cache *cache, int64_t sequence, int64_t begin,
                    int64_t end);

/* Takes from a sequence those pages of these positions in which it keeps nothing. */
void attn_pages_trim(struct attn_cache *cache, int64_t sequence, int64_t begin,
                     int64_t end);

/* Puts the pages of a sequence into the slots of another, which has none. */
void attn_pages_share(struct attn_cache *cache, int64_t from, int64_t to);

/* The positions that some layer keeps, and what lies between them. */
struct range attn_pages_range(const struct attn_cache *cache, int64_t sequence);

#endif
