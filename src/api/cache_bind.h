/*
 * Tensors that are given to a cache, checked and reduced to pointers and strides. They
 * are bound here because the room of the cache stands beside that of the tensors'
 * rules.
 */
#ifndef ATTN_API_CACHE_BIND_H
#define ATTN_API_CACHE_BIND_H

#include "cache/cache.h"

/* Checks what attn_cache_append() is given, but for what depends on the lengths of
 * sequences; fills in *append. Reads lengths and starts, no other data. */
attn_status attn_append_bind(struct append *append, const struct attn_cache *cache,
                             const attn_append_args *args);

/* The same for attn_cache_reorder(). */
attn_status attn_parents_bind(struct integers *integers, const struct attn_cache *cache,
                              const attn_tensor *parents);

#endif
