/*
 * Tensors of random numbers. Rows that do not count are NaN.
 */
#include "tests/support/cache_keys.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/element.h"
#include "tests/support/layout.h"
#include "tests/support/stored.h"

enum { DIM_MOST = 64 };

/* Bits of a number of this type: most of size 1, in wild rows any. */
static uint32_t some_bits(int32_t dtype, int wild, struct random *random) {
    uint32_t bits;
    const float x = random_float(random);
    memcpy(&bits, &x, sizeof bits);
    bits = wild ? stored_some_float(random_bits(random)) : bits;
    return dtype == ATTN_F32             ? bits
           : wild && (bits & 0x100) != 0 ? bits >> 16
                                         : stored_narrowed(dtype, bits);
}

static void write_bits(const attn_tensor *tensor, const int64_t at[4], uint32_t bits) {
    int64_t place = 0;
    for (int d = 0; d < 4; d++) {
        place += at[d] * tensor->stride[d];
    }
    const size_t size = (size_t)stored_size(tensor->dtype);
    const uint16_t half = (uint16_t)bits;
    const void *from = size == 4 ? (const void *)&bits : &half;
    memcpy((char *)tensor->data + (size_t)place * size, from, size);
}

/* One row of a head: into the tensor, and as it is stored. */
static void make_row(struct cache_keys *keys, const struct cache_model *model, int part,
                     int64_t at[4], int64_t b, int64_t row, struct random *random) {
    const attn_tensor *tensor = part == 0 ? &keys->key : &keys->value;
    const int wild = random_percent(random, 15), zeros = random_percent(random, 3);
    uint32_t bits[DIM_MOST];
    assert_in_range(tensor->shape[3], 1, DIM_MOST);
    for (at[3] = 0; at[3] < tensor->shape[3]; at[3]++) {
        bits[at[3]] = zeros ? 0 : some_bits(tensor->dtype, wild, random);
        write_bits(tensor, at, bits[at[3]]);
    }
    model_store(model, keys->stored[b] + (size_t)row * model->row, part, at[1],
                tensor->dtype, bits);
}

static void make_rows(struct cache_keys *keys, const struct cache_model *model,
                      int packed, struct random *random) {
    int64_t start = keys->start;
    for (int64_t b = 0; b < keys->batch; b++) {
        keys->stored[b] = calloc((size_t)keys->count[b] + 1, model->row);
        assert_non_null(keys->stored[b]);
        for (int64_t row = 0; row < keys->count[b]; row++) {
            for (int64_t h = 0; h < model->options.kv_heads; h++) {
                int64_t at[4] = {packed ? 0 : b, h, packed ? start + row : row, 0};
                make_row(keys, model, 0, at, b, row, random);
                make_row(keys, model, 1, at, b, row, random);
            }
        }
        start += keys->count[b];
    }
}

static void *make_tensor(attn_tensor *tensor, int64_t batch, int64_t heads,
                         int64_t rows, int64_t dim, struct random *random) {
    static const int32_t types[] = {ATTN_F32, ATTN_F16, ATTN_BF16};
    const int64_t shape[] = {batch, heads, rows, dim};
    const int32_t dtype = types[random_between(random, 0, 2)];
    attn_tensor_init(tensor, dtype, 4, shape, NULL);
    layout_strides(tensor, random_percent(random, 50), random);
    return layout_place(tensor, random);
}

/* A tensor of count integers, int32 or int64. */
static void *make_integers(attn_tensor *tensor, const int64_t *values, int64_t count,
                           struct random *random) {
    const int32_t dtype = random_percent(random, 50) ? ATTN_I32 : ATTN_I64;
    attn_tensor_init(tensor, dtype, 1, &count, NULL);
    layout_strides(tensor, 0, random);
    void *block = layout_place(tensor, random);
    for (int64_t i = 0; i < count; i++) {
        element_set_int(tensor, 0, i, values[i]);
    }
    return block;
}

/* Who gets what, and how the call says so. Returns whether rows are packed. */
static int make_counts(struct cache_keys *keys, struct random *random) {
    int64_t starts[KEYS_BATCH + 1] = {random_between(random, 0, 2)}, longest = 0;
    int counts = (int)random_between(random, 0, COUNTS - 1), given = 0;
    for (int64_t b = 0; b < keys->batch; b++) {
        given = given || keys->sequence[b] != b;
        starts[b + 1] = starts[b] + keys->count[b];
        longest = keys->count[b] > longest ? keys->count[b] : longest;
    }
    for (int64_t b = 0; b < keys->batch; b++) {
        /* without anything said all have as many */
        counts = counts == COUNTS_ROWS && keys->count[b] != longest ? COUNTS_LENGTHS
                                                                    : counts;
    }
    if (given || random_percent(random, 30)) {
        keys->block[0] =
            make_integers(&keys->sequences, keys->sequence, keys->batch, random);
        keys->args.sequences = &keys->sequences;
    }
    if (counts == COUNTS_LENGTHS) {
        keys->block[1] =
            make_integers(&keys->lengths, keys->count, keys->batch, random);
        keys->args.lengths = &keys->lengths;
    }
    if (counts == COUNTS_STARTS) {
        /* rows before the first and after the last belong to nobody */
        keys->block[2] = make_integers(&keys->starts, starts, keys->batch + 1, random);
        keys->args.starts = &keys->starts;
        keys->start = starts[0];
    }
    return counts == COUNTS_STARTS;
}

void keys_open(struct cache_keys *keys, const struct cache_model *model, int32_t layer,
               int64_t batch, const int64_t *sequence, const int64_t *count,
               struct random *random) {
    const attn_cache_options *o = &model->options;
    int64_t longest = 0, all = 0;
    memset(keys, 0, sizeof *keys);
    attn_append_args_init(&keys->args, sizeof keys->args);
    keys->batch = batch;
    for (int64_t b = 0; b < batch; b++) {
        keys->sequence[b] = sequence[b];
        keys->count[b] = count[b];
        longest = count[b] > longest ? count[b] : longest;
        all += count[b];
    }
    const int packed = make_counts(keys, random);
    const int spare = packed || keys->args.lengths != NULL;
    const int64_t rows = (packed ? keys->start + all : longest) +
                         (spare ? random_between(random, 0, 2) : 0);
    keys->block[3] = make_tensor(&keys->key, packed ? 1 : batch, o->kv_heads, rows,
                                 o->key_dim, random);
    keys->block[4] = make_tensor(&keys->value, packed ? 1 : batch, o->kv_heads, rows,
                                 o->value_dim, random);
    keys->args.layer = layer;
    keys->args.key = &keys->key;
    keys->args.value = &keys->value;
    make_rows(keys, model, packed, random);
}

void keys_close(struct cache_keys *keys) {
    for (int64_t b = 0; b < keys->batch; b++) {
        free(keys->stored[b]);
    }
    for (size_t i = 0; i < COUNT_OF(keys->block); i++) {
        free(keys->block[i]);
    }
}

attn_cache *cache_make(const attn_cache_options *options, struct counting *counting) {
    attn_context *context = NULL;
    attn_cache *cache = NULL;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_int_equal(attn_context_set_allocator(context, counting_allocate,
                                                counting_release, counting),
                     ATTN_OK);
    assert_int_equal(attn_cache_create(&cache, context, options), ATTN_OK);
    attn_context_destroy(context);
    return cache;
}

void cache_fill(attn_cache *cache, struct cache_model *model, int32_t layer,
                int64_t sequence, int64_t n, struct random *random) {
    for (int32_t l = 0; l < model->options.layers; l++) {
        if (layer >= 0 && l != layer) {
            continue;
        }
        struct cache_keys keys;
        keys_open(&keys, model, l, 1, &sequence, &n, random);
        if (attn_cache_append(cache, &keys.args) != ATTN_OK) {
            fail_msg("%s", attn_last_error());
        }
        model_touch(model, l, sequence, n);
        model_append(model, l, sequence, keys.stored[0], n);
        keys_close(&keys);
    }
}
