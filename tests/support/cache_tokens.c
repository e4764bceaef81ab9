/*
 * Tokens, their model and their tensors.
 */
#include "tests/support/cache_tokens.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cache_keys.h"
#include "tests/support/element.h"
#include "tests/support/gen_parts.h"
#include "tests/support/run.h"
#include "tests/support/stored.h"

static void *memory(int64_t count, size_t size) {
    void *block = calloc((size_t)(count > 0 ? count : 1), size);
    assert_non_null(block);
    return block;
}

/* A row of bytes has 127 first, so that its scale is a power of two. */
static void some_row(float *row, int64_t dim, int32_t dtype, struct random *random) {
    const float scale = exp2f((float)random_between(random, -8, -5));
    for (int64_t c = 0; c < dim; c++) {
        if (dtype == ATTN_I8) {
            const int64_t byte = c == 0 ? 127 : random_between(random, -127, 127);
            row[c] = (float)byte * scale;
            continue;
        }
        const float x = random_float(random);
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        bits = stored_widened(dtype, stored_narrowed(dtype, bits));
        memcpy(&row[c], &bits, sizeof bits);
    }
}

static float *some_rows(struct token_cache *tokens, int64_t dim) {
    const attn_cache_options *o = &tokens->options;
    const int64_t rows = (int64_t)o->layers * o->kv_heads * TOKENS_POOL;
    float *numbers = memory(rows * dim, sizeof *numbers);
    for (int64_t r = 0; r < rows; r++) {
        some_row(numbers + r * dim, dim, o->dtype, &tokens->random);
    }
    return numbers;
}

void tokens_open(struct token_cache *tokens, const attn_cache_options *options,
                 uint64_t seed) {
    *tokens = (struct token_cache){.options = *options};
    tokens->random = random_stream(seed, 90);
    tokens->cache = cache_make(options, &tokens->counting);
    tokens->key = some_rows(tokens, options->key_dim);
    tokens->value = some_rows(tokens, options->value_dim);
    tokens->of = memory(options->layers * options->sequences, sizeof *tokens->of);
}

void tokens_close(struct token_cache *tokens) {
    attn_cache_destroy(tokens->cache);
    assert_int_equal(tokens->counting.live, 0);
    free(tokens->key);
    free(tokens->value);
    free(tokens->of);
}

struct tokens *tokens_of(const struct token_cache *tokens, int64_t layer,
                         int64_t sequence) {
    return &tokens->of[layer * tokens->options.sequences + sequence];
}

/* A contiguous tensor (batch, kv_heads, rows, dim), NaN all over. */
static attn_tensor nan_tensor(const struct token_cache *tokens, int64_t batch,
                              int64_t rows, int64_t dim) {
    const int64_t shape[] = {batch, tokens->options.kv_heads, rows, dim};
    const int64_t count = batch * shape[1] * rows * dim;
    attn_tensor tensor;
    void *data = memory(count, sizeof(float));
    memset(data, 0xff, (size_t)count * sizeof(float));
    attn_tensor_init(&tensor, ATTN_F32, 4, shape, data);
    return tensor;
}

/* Tokens with these ids as rows of batch element b, from the first on. */
static void lay_out(const attn_tensor *tensor, const float *pool, int32_t layer,
                    int64_t b, const unsigned char *id, int64_t n) {
    const int64_t heads = tensor->shape[1], dim = tensor->shape[3];
    for (int64_t h = 0; h < heads; h++) {
        for (int64_t i = 0; i < n; i++) {
            memcpy(element_at(tensor, b, h, i, 0),
                   pool + ((layer * heads + h) * TOKENS_POOL + id[i]) * dim,
                   (size_t)dim * sizeof *pool);
        }
    }
}

/* Appends tokens with these ids to a layer of any such cache. */
static attn_status append(const struct token_cache *tokens, attn_cache *cache,
                          int32_t layer, int64_t batch, const int64_t *sequence,
                          const int64_t *count,
                          const unsigned char (*id)[TOKENS_MOST]) {
    int64_t of_sequences[TOKENS_BATCH], of_lengths[TOKENS_BATCH], most = 0;
    for (int64_t b = 0; b < batch; b++) {
        of_sequences[b] = sequence[b];
        of_lengths[b] = count[b];
        most = count[b] > most ? count[b] : most;
    }
    const attn_tensor sequences = attend_integers(of_sequences, batch);
    const attn_tensor lengths = attend_integers(of_lengths, batch);
    attn_tensor key = nan_tensor(tokens, batch, most, tokens->options.key_dim);
    attn_tensor value = nan_tensor(tokens, batch, most, tokens->options.value_dim);
    for (int64_t b = 0; b < batch; b++) {
        lay_out(&key, tokens->key, layer, b, id[b], count[b]);
        lay_out(&value, tokens->value, layer, b, id[b], count[b]);
    }
    attn_append_args args;
    attn_append_args_init(&args, sizeof args);
    args.layer = layer;
    args.key = &key;
    args.value = &value;
    args.sequences = &sequences;
    args.lengths = &lengths;
    const attn_status status = attn_cache_append(cache, &args);
    free(key.data);
    free(value.data);
    return status;
}

static int append_layer(struct token_cache *tokens, int32_t layer, int64_t batch,
                        const int64_t *sequence, const int64_t *count) {
    unsigned char id[TOKENS_BATCH][TOKENS_MOST];
    for (int64_t b = 0; b < batch; b++) {
        if (tokens_of(tokens, layer, sequence[b])->length + count[b] > TOKENS_MOST) {
            return 0;
        }
        for (int64_t i = 0; i < count[b]; i++) {
            id[b][i] =
                (unsigned char)random_between(&tokens->random, 0, TOKENS_POOL - 1);
        }
    }
    const attn_status status = append(tokens, tokens->cache, layer, batch, sequence,
                                      count, (const unsigned char(*)[TOKENS_MOST])id);
    for (int64_t b = 0; b < batch && status == ATTN_OK; b++) {
        struct tokens *of = tokens_of(tokens, layer, sequence[b]);
        const int64_t capacity = tokens->options.capacity;
        memcpy(of->id + of->length, id[b], (size_t)count[b]);
        of->length += count[b];
        of->first =
            of->length - of->first > capacity ? of->length - capacity : of->first;
    }
    return status == ATTN_OK;
}

int tokens_append(struct token_cache *tokens, int32_t layer, int64_t batch,
                  const int64_t *sequence, const int64_t *count) {
    int good = 1;
    assert_in_range(batch, 0, TOKENS_BATCH);
    for (int32_t l = 0; l < tokens->options.layers; l++) {
        if (layer < 0 || l == layer) {
            good = append_layer(tokens, l, batch, sequence, count) && good;
        }
    }
    return good;
}

static void need(attn_status status, const char *call) {
    if (status != ATTN_OK) {
        fail_msg("%s: %s", call, attn_last_error());
    }
}

void tokens_truncate(struct token_cache *tokens, int64_t sequence, int64_t length) {
    need(attn_cache_truncate(tokens->cache, sequence, length), "attn_cache_truncate");
    for (int32_t l = 0; l < tokens->options.layers; l++) {
        struct tokens *of = tokens_of(tokens, l, sequence);
        of->length = length < of->length ? length : of->length;
        of->first = length == 0 ? 0 : of->first;
    }
}

void tokens_evict(struct token_cache *tokens, int64_t sequence, int64_t first) {
    need(attn_cache_evict(tokens->cache, sequence, first), "attn_cache_evict");
    for (int32_t l = 0; l < tokens->options.layers; l++) {
        struct tokens *of = tokens_of(tokens, l, sequence);
        of->first = first > of->first ? first : of->first;
    }
}

void tokens_fork(struct token_cache *tokens, int64_t from, int64_t to) {
    need(attn_cache_fork(tokens->cache, from, to), "attn_cache_fork");
    for (int32_t l = 0; l < tokens->options.layers; l++) {
        *tokens_of(tokens, l, to) = *tokens_of(tokens, l, from);
    }
}

void tokens_reorder(struct token_cache *tokens, const int64_t *parents) {
    const int64_t count = tokens->options.sequences;
    const attn_tensor tensor = attend_integers((int64_t *)(uintptr_t)parents, count);
    const size_t bytes = (size_t)count * sizeof *tokens->of;
    struct tokens *before = memory(count, sizeof *before);
    need(attn_cache_reorder(tokens->cache, &tensor), "attn_cache_reorder");
    for (int32_t l = 0; l < tokens->options.layers; l++) {
        memcpy(before, tokens_of(tokens, l, 0), bytes);
        for (int64_t s = 0; s < count; s++) {
            *tokens_of(tokens, l, s) = before[parents[s]];
        }
    }
    free(before);
}

void tokens_call(struct test_call *call, struct token_cache *tokens, int32_t layer,
                 int64_t batch, const int64_t *sequence,
                 const struct test_problem *problem) {
    struct test_problem p = *problem;
    const attn_cache_options *o = &tokens->options;
    p.batch = batch;
    p.kv_heads = o->kv_heads;
    p.key_dim = o->key_dim;
    p.value_dim = o->value_dim;
    p.kv_lengths = 1;
    p.alignment =
        p.alignment == ATTN_ALIGN_OFFSETS ? p.alignment : ATTN_ALIGN_BOTTOM_RIGHT;
    p.kv_length = 0;
    for (int64_t b = 0; b < batch; b++) {
        const struct tokens *of = tokens_of(tokens, layer, sequence[b]);
        const int64_t kept = of->length - of->first;
        p.kv_length = kept > p.kv_length ? kept : p.kv_length;
    }
    call_open_on(call, NULL, &p, DATA_RANDOM, ALL_OUTPUTS);
    struct test_inputs *in = &call->inputs;
    in->key = nan_tensor(tokens, batch, p.kv_length, p.key_dim);
    in->value = nan_tensor(tokens, batch, p.kv_length, p.value_dim);
    free(in->block[KEY]);
    free(in->block[VALUE]);
    in->block[KEY] = in->key.data;
    in->block[VALUE] = in->value.data;
    for (int64_t b = 0; b < batch; b++) {
        const struct tokens *of = tokens_of(tokens, layer, sequence[b]);
        const int64_t kept = of->length - of->first;
        element_set_int(&in->kv_lengths, 0, b, kept);
        lay_out(&in->key, tokens->key, layer, b, of->id + of->first, kept);
        lay_out(&in->value, tokens->value, layer, b, of->id + of->first, kept);
    }
}

attn_cache *tokens_apart(struct token_cache *tokens, struct counting *counting) {
    attn_cache_options options = tokens->options;
    options.page_keys = options.pages = 0;
    attn_cache *cache = cache_make(&options, counting);
    for (int32_t l = 0; l < options.layers; l++) {
        for (int64_t s = 0; s < options.sequences; s++) {
            const struct tokens *of = tokens_of(tokens, l, s);
            unsigned char id[1][TOKENS_MOST];
            const int64_t kept = of->length - of->first;
            memcpy(id[0], of->id + of->first, (size_t)kept);
            need(append(tokens, cache, l, 1, &s, &kept,
                        (const unsigned char(*)[TOKENS_MOST])id),
                 "attn_cache_append");
        }
    }
    return cache;
}
