/*
 * Both sides of a cache, and signed files.
 */
#include "tests/support/cache_pair.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/cache_check.h"

attn_cache_options pair_options(int32_t dtype, int ring, int64_t page_keys) {
    attn_cache_options options;
    attn_cache_options_init(&options, sizeof options);
    options.layers = options.kv_heads = 2;
    options.key_dim = 3;
    options.value_dim = 5;
    options.dtype = dtype;
    options.ring = ring;
    options.sequences = 3;
    options.capacity = 10;
    options.page_keys = page_keys;
    options.pages = page_keys > 0 ? 12 : 0;
    return options;
}

struct pair pair_open(const attn_cache_options *options, struct counting *counting) {
    struct pair pair = {.cache = cache_make(options, counting)};
    model_open(&pair.model, options);
    return pair;
}

void pair_close(struct pair *pair) {
    attn_cache_destroy(pair->cache);
    model_close(&pair->model);
}

void pair_check(const struct pair *pair) {
    struct random random = random_stream(1, 78);
    assert_int_equal(cache_check(pair->cache, &pair->model, &random), 0);
}

void pair_load(struct pair *pair, int64_t to, const struct pair *from,
               int64_t sequence) {
    for (int64_t l = 0; l < pair->model.options.layers; l++) {
        struct model_rows *rows = model_rows(&pair->model, l, to);
        free(rows->data);
        *rows = model_copy(&pair->model, model_rows(&from->model, l, sequence));
    }
    model_place(&pair->model, to);
}

void pair_clear(struct pair *pair, int64_t sequence) {
    assert_int_equal(attn_cache_truncate(pair->cache, sequence, 0), ATTN_OK);
    for (int64_t l = 0; l < pair->model.options.layers; l++) {
        model_keep(&pair->model, l, sequence, 0, 0);
    }
    model_trim(&pair->model, sequence);
}

/* A bit at a time. */
uint64_t pair_checksum(const unsigned char *bytes, size_t count) {
    uint64_t rest = ~UINT64_C(0);
    for (size_t i = 0; i < count; i++) {
        rest ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            rest = rest >> 1 ^ (UINT64_C(0xc96c5795d7870f42) & (0 - (rest & 1)));
        }
    }
    return ~rest;
}

void pair_put(unsigned char *bytes, uint64_t value, int count) {
    for (int i = 0; i < count; i++) {
        bytes[i] = (unsigned char)(value >> (8 * i));
    }
}

/* Puts the checksums right in a file of L layers: of all but checksums. */
void pair_sign(unsigned char *file, size_t bytes, size_t layers) {
    unsigned char *data = malloc(bytes);
    const size_t firsts = 8 * layers, rows = bytes - 64 - firsts;
    assert_non_null(data);
    memcpy(data, file, 40);
    memcpy(data + 40, file + 48, firsts);
    memcpy(data + 40 + firsts, file + 56 + firsts, rows);
    pair_put(file + 40, pair_checksum(data, 40), 8);
    pair_put(file + 48 + firsts, pair_checksum(data, 40 + firsts), 8);
    pair_put(file + bytes - 8, pair_checksum(data, 40 + firsts + rows), 8);
    free(data);
}
