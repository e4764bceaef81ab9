/*
 * Random keys and values to append: tensors of all types and layouts, and what a cache
 * should store of them.
 */
#ifndef TEST_CACHE_KEYS_H
#define TEST_CACHE_KEYS_H

#include "tests/support/cache_model.h"
#include "tests/support/counting.h"
#include "tests/support/random.h"

enum { KEYS_BATCH = 8 };

/* What says how many rows a sequence gets. */
enum { COUNTS_ROWS, COUNTS_LENGTHS, COUNTS_STARTS, COUNTS };

/* One call of attn_cache_append(). */
struct cache_keys {
    attn_append_args args;
    int64_t batch;
    int64_t start; /* the first row, if they are packed */
    int64_t sequence[KEYS_BATCH], count[KEYS_BATCH]; /* who gets how many rows */
    unsigned char *stored[KEYS_BATCH];               /* what they are stored as */
    attn_tensor key, value, sequences, lengths, starts;
    void *block[5];
};

/*
 * Rows for `batch` sequences of a layer, `count` for each, in random types, layouts and
 * with sequences given if they are not 0, 1, ... or by chance.
 */
void keys_open(struct cache_keys *keys, const struct cache_model *model, int32_t layer,
               int64_t batch, const int64_t *sequence, const int64_t *count,
               struct random *random);
void keys_close(struct cache_keys *keys);

/* A cache whose memory is counted, and NaN until it is written. */
attn_cache *cache_make(const attn_cache_options *options, struct counting *counting);

/* Appends n random rows to a sequence of a layer, or with layer -1 of all layers, of
 * the cache and the model. They must fit. */
void cache_fill(attn_cache *cache, struct cache_model *model, int32_t layer,
                int64_t sequence, int64_t n, struct random *random);

#endif
