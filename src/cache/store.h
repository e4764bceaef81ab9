/*
 * Rows of a tensor on their way into a page.
 */
#ifndef ATTN_CACHE_STORE_H
#define ATTN_CACHE_STORE_H

#include "cache/cache.h"

/*
 * Writes rows of all heads of a batch element, from row `from_row` of the view on, to
 * rows from `row` on of the keys or values (`part`) of a layer in a page.
 */
void attn_store_rows(struct attn_cache *cache, int32_t layer, int part, int32_t page,
                     int64_t row, int64_t rows, const struct view *from, int64_t b,
                     int64_t from_row);

#endif
