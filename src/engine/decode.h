/*
 * The decode engine by its parts, for a call whose keys are shared by threads.
 */
#ifndef ATTN_ENGINE_DECODE_H
#define ATTN_ENGINE_DECODE_H

#include "engine/engine.h"

/* No sequence is cut into more splits. */
enum { DECODE_SPLITS_MAX = 16 };

/* Key tiles of a split of a sequence of so many keys, and the number of splits. */
int64_t attn_decode_split_tiles(const struct recipe *recipe, int64_t keys);
int64_t attn_decode_splits(const struct recipe *recipe, int64_t keys);

/* So many heads, or somewhat less, that a sequence of so many queries stacks evenly. */
int64_t attn_decode_whole_stacks(const struct recipe *recipe, int64_t rows,
                                 int64_t heads);

/* Floats that the sums of so many rows over one split take. */
static inline int64_t decode_part_floats(int64_t rows, int64_t value_dim) {
    return rows * (value_dim + 3);
}

/* The sums of a block, of at most tile_q rows over all heads, over one split. */
void attn_decode_part(struct work *work, const struct call *call,
                      const struct block *block, int64_t split, float *memory);

/* The result of a block, from the sums of its splits, `apart` floats from each other.
 */
void attn_decode_join(struct work *work, const struct call *call,
                      const struct block *block, int64_t splits, float *memory,
                      int64_t apart);

#endif
