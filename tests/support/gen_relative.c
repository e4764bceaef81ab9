/*
 * Makes the tensors of relative positions, segments and ranks.
 */
#include <stdlib.h>

#include "tests/support/element.h"
#include "tests/support/gen_parts.h"
#include "tests/support/layout.h"

/* --------------------------------------------------------- tables and vectors */

/* Lays out a tensor of float32 whose rank and shape are set and fills it with numbers
 * like those of queries or of keys. */
static void make_vectors(struct test_inputs *inputs, int which, attn_tensor *tensor,
                         int like) {
    struct random layout = random_stream(inputs->problem.seed, 100 + (uint64_t)which);
    struct random random = random_stream(inputs->problem.seed, (uint64_t)which);
    tensor->dtype = ATTN_F32;
    layout_strides(tensor, 0, &layout);
    if (tensor->rank > 1 && random_percent(&layout, 8)) {
        tensor->stride[0] = 0;
    }
    gen_place(inputs, which, tensor, &layout);
    for (int64_t n = 0; n < element_count(tensor); n++) {
        int64_t i[4];
        element_index(tensor, n, i);
        *(float *)element_nth(tensor, n) =
            gen_score_number(&random, inputs->data, like, i[2]);
    }
}

static void make_per_head(struct test_inputs *inputs, int which, attn_tensor *tensor) {
    *tensor = (attn_tensor){
        .rank = 2, .shape = {inputs->problem.q_heads, inputs->problem.key_dim}};
    make_vectors(inputs, which, tensor, QUERY);
}

/* Few rows, so that most distances share the first or the last, or up to as many as
 * there are distances, or more; for each head or for all. */
static void make_relative_keys(struct test_inputs *inputs) {
    const struct test_problem *p = &inputs->problem;
    struct random random = random_stream(p->seed, 400);
    int64_t all = p->q_length + p->kv_length + 1, rows;
    switch (random_between(&random, 0, 3)) {
    case 0:
        rows = random_between(&random, 1, 9);
        break;
    case 1:
        rows = random_between(&random, 1, all);
        break;
    default:
        rows = all + random_between(&random, 0, 5);
        break;
    }
    /* Queries that start beside the first key use rows from here on at most. */
    int whole = rows > p->q_length && random_percent(&random, 50);
    inputs->relative_zero = whole ? p->q_length : random_between(&random, 0, rows - 1);
    int fate = (int)random_between(&random, 0, 3);
    int64_t heads = fate == 1 ? 1 : p->q_heads;
    attn_tensor *tensor = &inputs->relative_keys;
    *tensor = fate == 0 ? (attn_tensor){.rank = 2, .shape = {rows, p->key_dim}}
                        : (attn_tensor){.rank = 3, .shape = {heads, rows, p->key_dim}};
    make_vectors(inputs, RELATIVE_KEYS, tensor, KEY);
}

/* ------------------------------------------------------------------- segments */

/* Numbers of 8 bytes may differ in the upper half alone. */
static void make_segments(struct test_inputs *inputs, int which, attn_tensor *tensor,
                          int64_t length) {
    struct random random = random_stream(inputs->problem.seed, 410 + (uint64_t)which);
    gen_runs(inputs, which, tensor, length);
    int64_t lists = tensor->rank == 1 ? 1 : tensor->shape[0];
    for (int64_t n = 0; n < lists * length && tensor->dtype == ATTN_I64; n++) {
        if (random_percent(&random, 10)) {
            int64_t *number = element_at(tensor, 0, 0, n / length, n % length);
            *number += INT64_C(1) << 32;
        }
    }
}

/* ---------------------------------------------------------------------- ranks */

/* An order of the queries of batch element b, in which some share a rank. */
static int64_t *make_order(const struct test_problem *p, int64_t b) {
    struct random random = random_stream(p->seed, 1000 + (uint64_t)b);
    int64_t *ranks = calloc((size_t)p->q_length + 1, sizeof *ranks);
    assert_non_null(ranks);
    for (int64_t i = 0; i < p->q_length; i++) {
        int64_t other = random_between(&random, 0, i);
        ranks[i] = ranks[other];
        ranks[other] = i;
    }
    for (int64_t i = 1; i < p->q_length; i++) {
        ranks[i] = random_percent(&random, 10) ? ranks[i - 1] : ranks[i];
    }
    return ranks;
}

/* The last keys have the ranks of the queries, but for some that come after all of
 * them; the keys before are memory, below all ranks. */
static void make_ranks(struct test_inputs *inputs, int which, attn_tensor *tensor,
                       int64_t length) {
    const struct test_problem *p = &inputs->problem;
    struct random random = random_stream(p->seed, (uint64_t)which);
    int64_t lists = gen_place_tokens(inputs, which, tensor, length, &random);
    int64_t below = random_percent(&random, 60) ? -1
                    : tensor->dtype == ATTN_I64 ? INT64_MIN
                                                : INT32_MIN;
    int64_t memory = length > p->q_length ? length - p->q_length : 0;
    for (int64_t b = 0; b < lists; b++) {
        int64_t *ranks = make_order(p, b);
        for (int64_t i = 0; i < length; i++) {
            int after = which == K_RANKS && random_percent(&random, 10);
            int64_t rank = i < memory ? below : ranks[i - memory];
            element_set_int(tensor, b, i, after ? p->q_length : rank);
        }
        free(ranks);
    }
}

/* Ranks of 8 bytes may all be large. */
static void raise_ranks(struct test_inputs *inputs) {
    struct random random = random_stream(inputs->problem.seed, 420);
    attn_tensor *const tensors[] = {&inputs->q_ranks, &inputs->k_ranks};
    if (tensors[0]->dtype != ATTN_I64 || tensors[1]->dtype != ATTN_I64 ||
        random_percent(&random, 50)) {
        return;
    }
    for (size_t t = 0; t < COUNT_OF(tensors); t++) {
        for (int64_t n = 0; n < element_count(tensors[t]); n++) {
            int64_t *rank = element_nth(tensors[t], n);
            *rank += INT64_C(1) << 40;
        }
    }
}

void gen_relative(struct test_inputs *inputs) {
    const struct test_problem *p = &inputs->problem;
    if (p->buckets > 0) {
        inputs->relative_bias =
            (attn_tensor){.rank = 2, .shape = {p->buckets, p->q_heads}};
        make_vectors(inputs, RELATIVE_BIAS, &inputs->relative_bias, QUERY);
    }
    if (p->relative_keys) {
        make_relative_keys(inputs);
    }
    if (p->content_bias) {
        make_per_head(inputs, CONTENT_BIAS, &inputs->content_bias);
    }
    if (p->position_bias) {
        make_per_head(inputs, POSITION_BIAS, &inputs->position_bias);
    }
    if (p->segments) {
        struct random random = random_stream(p->seed, 430);
        make_segments(inputs, Q_SEGMENTS, &inputs->q_segments, p->q_length);
        make_segments(inputs, K_SEGMENTS, &inputs->k_segments, p->kv_length);
        inputs->segment_keys =
            (attn_tensor){.rank = 3, .shape = {2, p->q_heads, p->key_dim}};
        make_vectors(inputs, SEGMENT_KEYS, &inputs->segment_keys, KEY);
        if (random_percent(&random, 65)) {
            make_per_head(inputs, SEGMENT_BIAS, &inputs->segment_bias);
        }
    }
    if (p->additive) {
        make_per_head(inputs, SCORE_VECTOR, &inputs->score_vector);
    }
    if (p->ranks != ATTN_RANKS_OFF) {
        make_ranks(inputs, Q_RANKS, &inputs->q_ranks, p->q_length);
        make_ranks(inputs, K_RANKS, &inputs->k_ranks, p->kv_length);
        raise_ranks(inputs);
    }
}
