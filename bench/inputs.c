/*
 * Makes the tensors of a problem. Every number is a hash of the problem's seed, the
 * name of its tensor and its index, so that the same text gives the same data
 * everywhere.
 */
#include "bench/inputs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attn.h"
#include "bench/memory.h"
#include "bench/storage.h"

/* Tensors that draw random numbers, each from a stream of its own. */
enum {
    DRAW_QUERY,
    DRAW_KEY,
    DRAW_VALUE,
    DRAW_OFFSETS,
    DRAW_PREFIX,
    DRAW_ORDER,
    DRAW_DOCUMENTS,
    DRAW_BLOCK_MASK,
    DRAW_MASK,
    DRAW_BIAS,
    DRAW_SINKS,
    DRAW_GRAD_OUT
};

enum { DOCUMENTS = 8 };

/* SplitMix64 (Steele, Lea and Flood 2014) at position index of a stream: 64 bits. */
static uint64_t draw(const struct test_problem *problem, int stream, int64_t index) {
    uint64_t x = (problem->seed + 1) * 0xd1342543de82ef95u + (uint64_t)stream;
    x = (x ^ (x >> 32)) * 0xdaba0b6eb09322e3u + (uint64_t)index;
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Uniform in [0, 1). */
static float draw_unit(const struct test_problem *problem, int stream, int64_t index) {
    return (float)(draw(problem, stream, index) >> 40) * 0x1p-24f;
}

/* Uniform with mean 0 and variance 1, like the normal numbers that such benchmarks use,
 * so that the scores spread alike. */
static float *draw_array(const struct test_problem *problem, int stream, int64_t count,
                         int copies) {
    float *array = memory_get(product(count, copies, 1, 1), sizeof *array);
    for (int64_t i = 0; i < count; i++) {
        array[i] = (2 * draw_unit(problem, stream, i) - 1) * 1.7320508f;
    }
    for (int c = 1; c < copies; c++) {
        memcpy(array + c * count, array, (size_t)count * sizeof *array);
    }
    return array;
}

/* Enough copies that a turn through all of them leaves every cache. */
static int copies_needed(const struct test_problem *problem, int64_t elements) {
    /* Tiny problems measure the call, not the memory: 1 MiB is a core's own cache. */
    int64_t bytes = product(elements, storage_bytes(problem->key_type), 1, 1);
    if (problem->q_length >= INPUTS_FEW_QUERIES || bytes < 1 << 20) {
        return 1;
    }
    return (int)((memory_beyond_caches() + bytes - 1) / bytes);
}

/* Element b of the batch is the rank-th longest of them. A Fisher-Yates shuffle. */
static int64_t *draw_ranks(const struct test_problem *problem) {
    int64_t *rank = memory_get(problem->batch, sizeof *rank);
    for (int64_t b = 0; b < problem->batch; b++) {
        int64_t other = (int64_t)(draw(problem, DRAW_ORDER, b) % (uint64_t)(b + 1));
        rank[b] = rank[other];
        rank[other] = b;
    }
    return rank;
}

/* Lengths in even steps from a sixteenth of size to all of it, in a random order which
 * is the same for queries and keys, so that padded self-attention is square. */
static int64_t *make_lengths(const struct test_problem *problem, int64_t size) {
    int64_t *rank = draw_ranks(problem);
    int64_t *length = memory_get(problem->batch, sizeof *length);
    int64_t least = (size + 15) / 16, steps = problem->batch - 1;
    for (int64_t b = 0; b < problem->batch; b++) {
        length[b] = size - (steps > 0 ? (size - least) * rank[b] / steps : 0);
    }
    free(rank);
    return length;
}

/* One number for each batch element, uniform from 0 to most. */
static int64_t *make_positions(const struct test_problem *problem, int stream,
                               int64_t most) {
    int64_t *position = memory_get(problem->batch, sizeof *position);
    for (int64_t b = 0; b < problem->batch; b++) {
        position[b] = (int64_t)(draw(problem, stream, b) % (uint64_t)(most + 1));
    }
    return position;
}

/* Documents 0 to 7 in a row: each batch element is cut at seven random fractions of its
 * length, the same for queries and keys. */
static int32_t *make_documents(const struct test_problem *problem, int64_t size) {
    int32_t *document =
        memory_get(product(problem->batch, size, 1, 1), sizeof *document);
    for (int64_t b = 0; b < problem->batch; b++) {
        for (int64_t i = 0; i < size; i++) {
            int32_t cuts = 0;
            for (int64_t d = 1; d < DOCUMENTS; d++) {
                int64_t index = b * DOCUMENTS + d;
                float cut = draw_unit(problem, DRAW_DOCUMENTS, index);
                cuts += (float)i >= cut * (float)size;
            }
            document[b * size + i] = cuts;
        }
    }
    return document;
}

/* A quarter of the blocks, and those on the diagonal, so that no query is alone. */
static uint8_t *make_block_mask(const struct test_problem *problem) {
    int64_t rows = inputs_blocks(problem->q_length, problem->q_block);
    int64_t columns = inputs_blocks(problem->kv_length, problem->k_block);
    int64_t count = product(problem->q_heads, rows, columns, 1);
    uint8_t *keep = memory_get(count, sizeof *keep);
    for (int64_t i = 0; i < count; i++) {
        int64_t row = i / columns % rows, column = i % columns;
        keep[i] = draw_unit(problem, DRAW_BLOCK_MASK, i) < 0.25f ||
                  row * columns / rows == column;
    }
    return keep;
}

static uint8_t *make_mask(const struct test_problem *problem) {
    int64_t count = product(problem->q_length, problem->kv_length, 1, 1);
    uint8_t *keep = memory_get(count, sizeof *keep);
    for (int64_t i = 0; i < count; i++) {
        keep[i] = draw_unit(problem, DRAW_MASK, i) < 0.875f;
    }
    return keep;
}

/* The slopes of the ALiBi paper for a power of two of heads, used for any number. */
static float *make_slopes(const struct test_problem *problem) {
    float *slope = memory_get(problem->q_heads, sizeof *slope);
    for (int32_t h = 0; h < problem->q_heads; h++) {
        slope[h] = exp2f(-8.0f * (float)(h + 1) / (float)problem->q_heads);
    }
    return slope;
}

/* An output, full of NaN: that shows up in the check where the library fails to
 * write. */
static float *make_output(int64_t count) {
    float *array = memory_get(count, sizeof *array);
    for (int64_t i = 0; i < count; i++) {
        array[i] = NAN;
    }
    return array;
}

static void make_backward(struct inputs *inputs, const struct test_problem *p) {
    int64_t rows = product(p->batch, p->q_heads, p->q_length, 1);
    inputs->grad_out =
        draw_array(p, DRAW_GRAD_OUT, product(rows, p->value_dim, 1, 1), 1);
    inputs->row_max = make_output(rows);
    inputs->row_sum = make_output(rows);
    inputs->grad_query = make_output(product(rows, p->key_dim, 1, 1));
    inputs->grad_key = make_output(inputs->key_count);
    inputs->grad_value = make_output(inputs->value_count);
}

void inputs_make(struct inputs *inputs, const struct test_problem *problem,
                 int backward, int cached) {
    const struct test_problem *p = problem;
    int64_t query_count = product(p->batch, p->q_heads, p->q_length, p->key_dim);
    int64_t out_count = product(p->batch, p->q_heads, p->q_length, p->value_dim);
    int64_t key_count = product(p->batch, p->kv_heads, p->kv_length, p->key_dim);
    int64_t value_count = product(p->batch, p->kv_heads, p->kv_length, p->value_dim);

    *inputs = (struct inputs){.key_count = key_count, .value_count = value_count};
    inputs->turns = copies_needed(p, key_count + value_count);
    inputs->copies = cached ? 1 : inputs->turns;
    inputs->query = draw_array(p, DRAW_QUERY, query_count, 1);
    /* floats that are stored otherwise serve the check alone */
    int key_copies = p->key_type == STORE_F32 ? inputs->copies : 1;
    int value_copies = p->value_type == STORE_F32 ? inputs->copies : 1;
    inputs->key = draw_array(p, DRAW_KEY, key_count, key_copies);
    inputs->value = draw_array(p, DRAW_VALUE, value_count, value_copies);

    inputs->out = make_output(out_count);
    storage_make(inputs, p);
    if (backward) {
        make_backward(inputs, p);
    }

    if (p->q_lengths) {
        inputs->q_lengths = make_lengths(p, p->q_length);
    }
    if (p->kv_lengths) {
        inputs->kv_lengths = make_lengths(p, p->kv_length);
    }
    if (p->alignment == ATTN_ALIGN_OFFSETS) {
        int64_t room = p->kv_length - p->q_length;
        inputs->offsets = make_positions(p, DRAW_OFFSETS, room > 0 ? room : 0);
    }
    if (p->prefix) {
        inputs->prefix = make_positions(p, DRAW_PREFIX, p->kv_length / 2);
    }
    if (p->documents) {
        inputs->q_documents = make_documents(p, p->q_length);
        inputs->k_documents = make_documents(p, p->kv_length);
    }
    if (p->q_block > 0) {
        inputs->block_mask = make_block_mask(p);
    }
    if (p->mask) {
        inputs->mask = make_mask(p);
    }
    if (p->bias) {
        int64_t count = product(p->q_heads, p->q_length, p->kv_length, 1);
        inputs->bias = draw_array(p, DRAW_BIAS, count, 1);
    }
    if (p->alibi) {
        inputs->slopes = make_slopes(p);
    }
    if (p->sinks) {
        inputs->sinks = draw_array(p, DRAW_SINKS, p->q_heads, 1);
    }
}

void inputs_free(struct inputs *inputs) {
    storage_free(inputs);
    free(inputs->query);
    free(inputs->key);
    free(inputs->value);
    free(inputs->out);
    free(inputs->q_lengths);
    free(inputs->kv_lengths);
    free(inputs->offsets);
    free(inputs->prefix);
    free(inputs->q_documents);
    free(inputs->k_documents);
    free(inputs->block_mask);
    free(inputs->mask);
    free(inputs->bias);
    free(inputs->slopes);
    free(inputs->sinks);
    free(inputs->grad_out);
    free(inputs->row_max);
    free(inputs->row_sum);
    free(inputs->grad_query);
    free(inputs->grad_key);
    free(inputs->grad_value);
    *inputs = (struct inputs){0};
}

int64_t inputs_row(const struct test_problem *problem, int64_t heads, int64_t length,
                   int64_t b, int64_t h, int64_t i) {
    return problem->layout == LAYOUT_BSHD ? (b * length + i) * heads + h
                                          : (b * heads + h) * length + i;
}

int64_t inputs_blocks(int64_t size, int64_t block) {
    return (size + block - 1) / block;
}
