/*
 * A cache against its model, through the view that attention reads.
 */
#ifndef TEST_CACHE_CHECK_H
#define TEST_CACHE_CHECK_H

#include "core/source.h"
#include "tests/support/cache_model.h"
#include "tests/support/random.h"

/*
 * Compares everything: lengths, first positions, pages, bytes, and all keys and values
 * to the bit, read in runs of random length. Returns 0 if all is as it should be, else
 * prints the first difference.
 */
int cache_check(const attn_cache *cache, const struct cache_model *model,
                struct random *random);

/* Where element c of the first row of a run lies, of dim elements; by the description
 * of blocks alone (kernel/block.h). */
const char *stored_element(const struct source *source, const struct run *run,
                           int64_t dim, int64_t c);

#endif
