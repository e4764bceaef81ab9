/*
 * A cache of tokens: all keys and values come from a small pool, and a model notes
 * which, so that any state of the cache can be laid out as tensors, or made once more
 * in a cache that shares nothing. Numbers of the pool are exact in the type of the
 * cache.
 */
#ifndef TEST_CACHE_TOKENS_H
#define TEST_CACHE_TOKENS_H

#include "tests/support/cache_attend.h"

enum { TOKENS_POOL = 64, TOKENS_MOST = 1024, TOKENS_BATCH = 8 };

/* A layer of a sequence: the place in the pool of every token ever appended. */
struct tokens {
    int64_t first, length;
    unsigned char id[TOKENS_MOST];
};

struct token_cache {
    attn_cache_options options;
    struct counting counting;
    attn_cache *cache;
    struct random random;
    float *key, *value; /* [layers][kv_heads][TOKENS_POOL][dim] */
    struct tokens *of;  /* [layers][sequences] */
};

void tokens_open(struct token_cache *tokens, const attn_cache_options *options,
                 uint64_t seed);
void tokens_close(struct token_cache *tokens);

struct tokens *tokens_of(const struct token_cache *tokens, int64_t layer,
                         int64_t sequence);

/* Appends count[b] random tokens to sequence[b] of a layer, or with layer -1 of all
 * layers, for each b, and notes them. Returns 0 if the cache has no room. */
int tokens_append(struct token_cache *tokens, int32_t layer, int64_t batch,
                  const int64_t *sequence, const int64_t *count);

/* The calls of attn/cache.h, which must succeed. */
void tokens_truncate(struct token_cache *tokens, int64_t sequence, int64_t length);
void tokens_evict(struct token_cache *tokens, int64_t sequence, int64_t first);
void tokens_fork(struct token_cache *tokens, int64_t from, int64_t to);
void tokens_reorder(struct token_cache *tokens, const int64_t *parents);

/*
 * The call of a problem from tensors with what a layer keeps of these sequences. The
 * problem brings heads, queries and features; batch, keys, kv_lengths and dims are set
 * here, and bottom-right unless it has offsets. call_close() closes it.
 */
void tokens_call(struct test_call *call, struct token_cache *tokens, int32_t layer,
                 int64_t batch, const int64_t *sequence,
                 const struct test_problem *problem);

/* A contiguous cache with the same tokens in each sequence, each by itself. */
attn_cache *tokens_apart(struct token_cache *tokens, struct counting *counting);

#endif
