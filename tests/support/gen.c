/*
 * Makes the tensors of a problem.
 *
 * Each tensor draws from a stream of its own, numbered by its place in struct
 * test_inputs, so that switching one feature on leaves the data of the others alone.
 * A tensor is first laid out (shape, strides, a block of memory filled with ones, which
 * is NaN, -1 or "attend"), then filled element by element through its strides.
 */
#include "tests/support/gen.h"

#include <math.h>
#include <stdlib.h>

#include "tests/support/element.h"
#include "tests/support/gen_parts.h"
#include "tests/support/layout.h"

const char *gen_data_name(int data) {
    static const char *const names[DATA_KINDS] = {"random", "huge", "equal", "dominant",
                                                  "tiny"};
    return data >= 0 && data < DATA_KINDS ? names[data] : "unknown";
}

const attn_tensor *gen_given(const attn_tensor *tensor) {
    return tensor->rank > 0 ? tensor : NULL;
}

int64_t gen_blocks(int64_t size, int64_t block) {
    return size / block + (size % block != 0);
}

/* ------------------------------------------------------------------- layouts */

void gen_place(struct test_inputs *inputs, int which, attn_tensor *tensor,
               struct random *random) {
    inputs->block[which] = layout_place(tensor, random);
}

/* A tensor that broadcasts to (B, Hq, rows, columns): of lower rank, with dimensions
 * of size 1, or with strides of 0. */
static void place_broadcast(struct test_inputs *inputs, int which, attn_tensor *tensor,
                            int32_t dtype, int64_t rows, int64_t columns) {
    const struct test_problem *p = &inputs->problem;
    struct random random = random_stream(p->seed, 100 + (uint64_t)which);
    const int64_t full[4] = {p->batch, p->q_heads, rows, columns};
    int last_may_repeat = which != BLOCK_MASK;
    int32_t rank = (int32_t)random_between(&random, 1, 4);
    int64_t stride = 1;
    *tensor = (attn_tensor){.dtype = dtype, .rank = rank};
    for (int32_t d = rank - 1; d >= 0; d--) {
        int last = d == rank - 1;
        int fate = (int)random_between(&random, 0, 9);
        tensor->shape[d] = fate == 0 ? 1 : full[4 - rank + d];
        tensor->stride[d] = fate == 1 && (!last || last_may_repeat) ? 0 : stride;
        if (tensor->stride[d] > 0 && tensor->shape[d] > 0) {
            stride *= tensor->shape[d];
        }
        if (last && random_percent(&random, 30)) {
            stride += 5;
        }
    }
    gen_place(inputs, which, tensor, &random);
}

void gen_place_ints(struct test_inputs *inputs, int which, attn_tensor *tensor,
                    int64_t rows, int64_t n) {
    struct random random = random_stream(inputs->problem.seed, 100 + (uint64_t)which);
    *tensor =
        (attn_tensor){.dtype = random_percent(&random, 50) ? ATTN_I32 : ATTN_I64,
                      .rank = rows > 0 ? 2 : 1,
                      .shape = {rows > 0 ? rows : n, n},
                      .stride = {rows > 0 ? n + random_between(&random, 0, 3) : 1, 1}};
    gen_place(inputs, which, tensor, &random);
}

int64_t gen_place_tokens(struct test_inputs *inputs, int which, attn_tensor *tensor,
                         int64_t length, struct random *random) {
    int64_t rows = random_percent(random, 30) ? 1 : inputs->problem.batch;
    int one_list = rows == 1 && random_percent(random, 40); /* (length) for all */
    gen_place_ints(inputs, which, tensor, one_list ? 0 : rows > 0 ? rows : 1, length);
    if (!one_list) {
        tensor->shape[0] = rows;
    }
    return rows;
}

/* ------------------------------------------------------------------ contents */

/* Lengths from 0 to size, with the two ends among the likely ones. */
static int64_t draw_length(struct random *random, int64_t size) {
    switch (random_between(random, 0, 5)) {
    case 0:
        return size;
    case 1:
        return random_percent(random, 50) ? 0 : (size + 1) / 2;
    default:
        return random_between(random, 0, size);
    }
}

static void make_positions(struct test_inputs *inputs, int which, attn_tensor *tensor) {
    const struct test_problem *p = &inputs->problem;
    struct random random = random_stream(p->seed, (uint64_t)which);
    gen_place_ints(inputs, which, tensor, 0, p->batch);
    for (int64_t b = 0; b < p->batch; b++) {
        int64_t value;
        if (which == OFFSETS) {
            value = random_between(&random, -p->q_length - 2, p->kv_length + 2);
        } else {
            value = draw_length(&random, which == Q_LENGTHS
                                             ? p->q_length
                                             : gen_pack_keys(p, NULL).longest);
        }
        element_set_int(tensor, 0, b, value);
    }
}

void gen_runs(struct test_inputs *inputs, int which, attn_tensor *tensor,
              int64_t length) {
    struct random random = random_stream(inputs->problem.seed, (uint64_t)which);
    int64_t rows = gen_place_tokens(inputs, which, tensor, length, &random);
    for (int64_t b = 0; b < rows; b++) {
        int64_t id = 0;
        for (int64_t i = 0; i < length; i++) {
            if (random_between(&random, 0, length / 3) == 0) {
                id = random_between(&random, -1, 2);
            }
            element_set_int(tensor, b, i, id);
        }
    }
}

/* Calls fill(element, random) for each element of a broadcast tensor that has memory of
 * its own. */
static void fill_broadcast(struct test_inputs *inputs, int which,
                           const attn_tensor *tensor,
                           void (*fill)(void *element, struct random *random)) {
    struct random random = random_stream(inputs->problem.seed, (uint64_t)which);
    int64_t n[4] = {1, 1, 1, 1};
    for (int32_t d = 0; d < tensor->rank; d++) {
        int repeats = tensor->stride[d] == 0 && tensor->shape[d] > 1;
        n[4 - tensor->rank + d] = repeats ? 1 : tensor->shape[d];
    }
    for (int64_t i = 0; i < n[0] * n[1] * n[2] * n[3]; i++) {
        fill(element_at(tensor, i / (n[1] * n[2] * n[3]), i / (n[2] * n[3]) % n[1],
                        i / n[3] % n[2], i % n[3]),
             &random);
    }
}

/* Any byte that is not 0 is true. */
static void fill_mask(void *element, struct random *random) {
    static const uint8_t bytes[] = {0, 0, 1, 1, 1, 2, 0x80, 0xff};
    *(uint8_t *)element =
        bytes[random_between(random, 0, (int64_t)COUNT_OF(bytes) - 1)];
}

static void fill_bias(void *element, struct random *random) {
    *(float *)element = random_percent(random, 15) ? -INFINITY : random_float(random);
}

/* Mostly like a score; at times above all scores, at times as good as not there. */
static float draw_sink(struct random *random) {
    switch (random_between(random, 0, 9)) {
    case 0:
        return -INFINITY;
    case 1:
        return 30.0f;
    default:
        return 2 * random_float(random);
    }
}

/* One number for each query head: slopes, also as (B, Hq), and sinks. */
static void make_per_head(struct test_inputs *inputs, int which, attn_tensor *tensor) {
    const struct test_problem *p = &inputs->problem;
    struct random random = random_stream(p->seed, (uint64_t)which);
    int per_batch = which == SLOPES && random_percent(&random, 50);
    *tensor = (attn_tensor){.dtype = ATTN_F32,
                            .rank = per_batch ? 2 : 1,
                            .shape = {per_batch ? p->batch : p->q_heads, p->q_heads},
                            .stride = {per_batch ? p->q_heads + 1 : 1, 1}};
    gen_place(inputs, which, tensor, &random);
    for (int64_t b = 0; b < (per_batch ? p->batch : 1); b++) {
        for (int64_t h = 0; h < p->q_heads; h++) {
            float slope = exp2f(-8.0f * (float)(h + 1) / (float)p->q_heads);
            slope *= random_percent(&random, 10) ? -0.25f : 1.0f + 0.1f * (float)b;
            float sink = draw_sink(&random);
            *(float *)element_at(tensor, 0, 0, b, h) = which == SLOPES ? slope : sink;
        }
    }
}

/* A seed, and in half of the cases numbers that stand for the batch elements. */
static void make_dropout(struct test_inputs *inputs) {
    struct random random = random_stream(inputs->problem.seed, RNG_INDICES);
    inputs->dropout_seed = (int64_t)random_bits(&random);
    if (random_percent(&random, 50)) {
        attn_tensor *indices = &inputs->rng_indices;
        gen_place_ints(inputs, RNG_INDICES, indices, 0, inputs->problem.batch);
        int64_t most = indices->dtype == ATTN_I64 ? UINT32_MAX : INT32_MAX;
        for (int64_t b = 0; b < inputs->problem.batch; b++) {
            element_set_int(indices, 0, b, random_between(&random, 0, most));
        }
    }
}

void gen_inputs(struct test_inputs *inputs, const struct test_problem *problem,
                int data) {
    const struct test_problem *p = problem;
    struct test_inputs *in = inputs;
    *in = (struct test_inputs){.problem = *p, .data = data};
    gen_rows(in);
    if (p->q_lengths) {
        make_positions(in, Q_LENGTHS, &in->q_lengths);
    }
    if (p->kv_lengths) {
        make_positions(in, KV_LENGTHS, &in->kv_lengths);
    }
    if (p->alignment == ATTN_ALIGN_OFFSETS) {
        make_positions(in, OFFSETS, &in->query_offsets);
    }
    if (p->prefix) {
        make_positions(in, PREFIX, &in->prefix_lengths);
    }
    if (p->documents) {
        gen_runs(in, Q_DOCUMENTS, &in->q_documents, p->q_length);
        gen_runs(in, K_DOCUMENTS, &in->k_documents, p->kv_length);
    }
    if (p->q_block > 0) {
        place_broadcast(in, BLOCK_MASK, &in->block_mask, ATTN_BOOL,
                        gen_blocks(p->q_length, p->q_block),
                        gen_blocks(p->kv_length, p->k_block));
        fill_broadcast(in, BLOCK_MASK, &in->block_mask, fill_mask);
    }
    if (p->mask) {
        place_broadcast(in, MASK, &in->mask, ATTN_BOOL, p->q_length, p->kv_length);
        fill_broadcast(in, MASK, &in->mask, fill_mask);
    }
    if (p->bias) {
        place_broadcast(in, BIAS, &in->bias, ATTN_F32, p->q_length, p->kv_length);
        fill_broadcast(in, BIAS, &in->bias, fill_bias);
    }
    if (p->alibi) {
        make_per_head(in, SLOPES, &in->alibi_slopes);
    }
    if (p->sinks) {
        make_per_head(in, SINKS, &in->sinks);
    }
    if (p->dropout > 0) {
        make_dropout(in);
    }
    gen_relative(in);
}

void gen_free(struct test_inputs *inputs) {
    for (int i = 0; i < GEN_TENSORS; i++) {
        free(inputs->block[i]);
    }
    *inputs = (struct test_inputs){0};
}
