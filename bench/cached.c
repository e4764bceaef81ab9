/*
 * All copies are the same numbers: one pair of tensors is appended again and again.
 */
#include "bench/cached.h"

#include <stdlib.h>

#include "bench/memory.h"
#include "bench/storage.h"

static void fill_options(attn_cache_options *options, const struct test_problem *p,
                         int64_t sequences, int64_t page_keys) {
    options->kv_heads = p->kv_heads;
    options->key_dim = p->key_dim;
    options->value_dim = p->value_dim;
    options->dtype = storage_dtype(p->key_type);
    options->sequences = sequences;
    options->capacity = p->kv_length;
    options->page_keys = page_keys;
    options->pages =
        page_keys > 0 ? sequences * ((p->kv_length + page_keys - 1) / page_keys) : 0;
}

/* Bytes are made by the cache, from the floats. */
static void take_floats(attn_tensor *tensor, float *floats) {
    if (tensor->dtype == ATTN_I8) {
        tensor->dtype = ATTN_F32;
        tensor->data = floats;
    }
}

attn_status cached_open(struct bench_cached *cached, attn_context *context,
                        const struct test_problem *problem, const struct inputs *inputs,
                        const attn_forward_args *args, int64_t page_keys) {
    const int64_t batch = problem->batch, all = batch * inputs->turns;
    attn_cache_options options;
    attn_append_args append;
    attn_tensor key = *args->key, value = *args->value;
    *cached =
        (struct bench_cached){.sequence = memory_get(all, sizeof *cached->sequence)};
    for (int64_t s = 0; s < all; s++) {
        cached->sequence[s] = s;
    }
    attn_status status =
        attn_tensor_init(&cached->sequences, ATTN_I64, 1, &batch, cached->sequence);
    if (status == ATTN_OK) {
        status = attn_cache_options_init(&options, sizeof options);
    }
    if (status == ATTN_OK) {
        fill_options(&options, problem, all, page_keys);
        status = attn_cache_create(&cached->cache, context, &options);
    }
    if (status == ATTN_OK) {
        status = attn_append_args_init(&append, sizeof append);
    }
    take_floats(&key, inputs->key);
    take_floats(&value, inputs->value);
    for (int c = 0; status == ATTN_OK && c < inputs->turns; c++) {
        append.key = &key;
        append.value = &value;
        append.lengths = args->kv_lengths;
        append.sequences = cached_turn(cached, c);
        status = attn_cache_append(cached->cache, &append);
    }
    return status;
}

void cached_close(struct bench_cached *cached) {
    attn_cache_destroy(cached->cache);
    free(cached->sequence);
}

const attn_tensor *cached_turn(struct bench_cached *cached, int turn) {
    cached->sequences.data = cached->sequence + turn * cached->sequences.shape[0];
    return &cached->sequences;
}
