/*
 * What stays of a text that is being written: the keys and values of its tokens.
 */
#ifndef GPT_CACHE_H
#define GPT_CACHE_H

#include "model.h"

/* An empty one with room for so many tokens; dtype is how numbers are stored, ATTN_F32
 * or a smaller type. */
attn_cache *cache_open(const struct model *model, int32_t dtype, int tokens);

void cache_close(attn_cache *cache);

#endif
