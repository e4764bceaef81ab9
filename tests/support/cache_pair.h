/*
 * A cache beside its model, for tests of one thing at a time, and the bytes of files
 * that caches are saved in.
 */
#ifndef TEST_CACHE_PAIR_H
#define TEST_CACHE_PAIR_H

#include "tests/support/cache_keys.h"
#include "tests/support/cache_model.h"

struct pair {
    attn_cache *cache;
    struct cache_model model;
};

/* 2 layers, 2 heads, dims 3 and 5, 3 sequences of 10 keys; 12 pages, if it is paged. */
attn_cache_options pair_options(int32_t dtype, int ring, int64_t page_keys);

struct pair pair_open(const attn_cache_options *options, struct counting *counting);
void pair_close(struct pair *pair);

/* Fails the test unless the cache is what the model is. */
void pair_check(const struct pair *pair);

/* Gives sequence `to` of a model what a sequence of another has. */
void pair_load(struct pair *pair, int64_t to, const struct pair *from,
               int64_t sequence);

/* Makes a sequence of both empty. */
void pair_clear(struct pair *pair, int64_t sequence);

/* CRC-64 of xz. */
uint64_t pair_checksum(const unsigned char *bytes, size_t count);

/* The lowest byte first. */
void pair_put(unsigned char *bytes, uint64_t value, int count);

/* Puts the checksums right in a file of so many layers. */
void pair_sign(unsigned char *file, size_t bytes, size_t layers);

#endif
