/*
 * Rows on their way into the blocks of a page and out of them.
 */
#ifndef ATTN_CACHE_LANE_H
#define ATTN_CACHE_LANE_H

#include "cache/cache.h"

/* Writes the numbers of a row of a head (blocks_at). */
void attn_lane_put(const struct attn_cache *cache, const struct part *part, char *head,
                   int64_t row, const char *numbers);

/* Reads them. */
void attn_lane_get(const struct attn_cache *cache, const struct part *part,
                   const char *head, int64_t row, char *numbers);

#endif
