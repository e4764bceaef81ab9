/*
 * A case whose keys and values are in a cache of the library, as they are while a model
 * writes, instead of in tensors.
 */
#ifndef BENCH_CACHED_H
#define BENCH_CACHED_H

#include "bench/inputs.h"

#include "attn.h"

struct bench_cached {
    attn_cache *cache;
    int64_t *sequence; /* (copies, B): 0, 1, 2, ... */
    attn_tensor sequences;
};

/*
 * Appends key and value of inputs_make() once for each turn, as sequences of its own;
 * page_keys as in attn_cache_options. The lengths of kvlens are those of the sequences.
 * Returns what the first call that failed did.
 */
attn_status cached_open(struct bench_cached *cached, attn_context *context,
                        const struct test_problem *problem, const struct inputs *inputs,
                        const attn_forward_args *args, int64_t page_keys);
void cached_close(struct bench_cached *cached);

/* The sequences of copy number `turn`. */
const attn_tensor *cached_turn(struct bench_cached *cached, int turn);

#endif
