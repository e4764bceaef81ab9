/*
 * Corners of the backward pass that an attack on it turned up: gradients that lie in
 * each other's gaps, calls without elements, the cost of a window, an infinite sink,
 * and sums whose order must not depend on padding.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/backward.h"
#include "tests/support/expect.h"
#include "tests/support/random.h"
#include "tests/support/run.h"

/* ------------------------------------------------------- gradients side by side */

/* A view of one part of rows that hold query, key and value heads side by side. */
static attn_tensor part_of_rows(const attn_tensor *whole, float *rows, int64_t width,
                                int64_t first) {
    attn_tensor part = *whole;
    part.data = rows + first;
    part.stride[0] = part.shape[2] * width;
    part.stride[1] = part.shape[3];
    part.stride[2] = width;
    part.stride[3] = 1;
    return part;
}

static void need_equal(const attn_tensor *a, const attn_tensor *b) {
    for (int64_t i = 0; i < a->shape[0] * a->shape[1] * a->shape[2]; i++) {
        const int64_t s = i % a->shape[2], h = i / a->shape[2] % a->shape[1];
        const int64_t n = i / a->shape[2] / a->shape[1];
        const float *x = (const float *)a->data + n * a->stride[0] + h * a->stride[1] +
                         s * a->stride[2];
        const float *y = (const float *)b->data + n * b->stride[0] + h * b->stride[1] +
                         s * b->stride[2];
        assert_memory_equal(x, y, (size_t)a->shape[3] * sizeof *x);
    }
}

/* Distances of 2^53 have the last bucket and an outer row. */
static void largest_distances(void **state) {
    (void)state;
    static struct test_backward call;
    int64_t offsets[2] = {(int64_t)1 << 53, -((int64_t)1 << 53)};
    backward_open(&call,
                  "b2 h2 q20 k30 d8 relbias=32,128 bidir relkeys vbias align=offsets",
                  ALL_INCOMING, ALL_GRADIENTS);
    call.forward.inputs.query_offsets.dtype = ATTN_I64;
    call.forward.inputs.query_offsets.data = offsets;
    backward_forward(&call);
    backward_run(&call);
    assert_int_equal(backward_check(&call), 0);
    backward_close(&call);
}

/* A value's head as wide as all keys of a row is no step from row to row. */
static void packed_gradients_of_wide_values(void **state) {
    (void)state;
    static struct test_backward call;
    backward_open(&call, "b2 h4/2 q50 d8/16 causal seed=3", ONLY_OF_OUT,
                  1 << GRAD_QUERY | 1 << GRAD_KEY | 1 << GRAD_VALUE);
    backward_run(&call);
    const attn_tensor query = *call.args.grad_query, key = *call.args.grad_key,
                      value = *call.args.grad_value;
    const int64_t width = 80; /* 4 + 2 heads of 8, 2 of 16 */
    float *rows = calloc((size_t)width * 2 * 50, sizeof *rows);
    assert_non_null(rows);
    attn_tensor packed[] = {part_of_rows(&query, rows, width, 0),
                            part_of_rows(&key, rows, width, 32),
                            part_of_rows(&value, rows, width, 48)};
    call.args.grad_query = &packed[0];
    call.args.grad_key = &packed[1];
    call.args.grad_value = &packed[2];
    assert_int_equal(attn_plan_backward(call.forward.plan, &call.args), ATTN_OK);
    need_equal(&packed[0], &query);
    need_equal(&packed[1], &key);
    need_equal(&packed[2], &value);

    /* a key's head reaches into the values, then a value's into the next row's queries
     */
    packed[1].stride[1] = 9;
    expect_refusal(attn_plan_backward(call.forward.plan, &call.args), ATTN_ERR_INVALID,
                   "grad_value|grad_key|meet");
    packed[1].stride[1] = 8;
    packed[2].stride[1] = 17;
    expect_refusal(attn_plan_backward(call.forward.plan, &call.args), ATTN_ERR_INVALID,
                   "grad_value|grad_query|meet");
    free(rows);
    backward_close(&call);
}

static void packed_gradients(void **state) {
    (void)state;
    static struct test_backward call;
    backward_open(&call, "b2 h4/2 q150 d8 causal seed=3", ONLY_OF_OUT,
                  1 << GRAD_QUERY | 1 << GRAD_KEY | 1 << GRAD_VALUE);
    backward_run(&call);
    const attn_tensor query = *call.args.grad_query, key = *call.args.grad_key,
                      value = *call.args.grad_value;
    const int64_t width = 64; /* 4 + 2 + 2 heads of 8 */
    float *rows = calloc((size_t)width * 2 * 150, sizeof *rows);
    assert_non_null(rows);
    attn_tensor packed[] = {part_of_rows(&query, rows, width, 0),
                            part_of_rows(&key, rows, width, 32),
                            part_of_rows(&value, rows, width, 48)};
    call.args.grad_query = &packed[0];
    call.args.grad_key = &packed[1];
    call.args.grad_value = &packed[2];
    assert_int_equal(attn_plan_backward(call.forward.plan, &call.args), ATTN_OK);
    need_equal(&packed[0], &query);
    need_equal(&packed[1], &key);
    need_equal(&packed[2], &value);

    /* one element into the neighbour, and one past the end of the row */
    packed[1].data = rows + 31;
    expect_refusal(attn_plan_backward(call.forward.plan, &call.args), ATTN_ERR_INVALID,
                   "grad_key|grad_query|meet");
    packed[1].data = rows + 32;
    packed[2].data = rows + 49;
    expect_refusal(attn_plan_backward(call.forward.plan, &call.args), ATTN_ERR_INVALID,
                   "grad_value|grad_query|meet");
    packed[2].data = rows + 48;
    packed[2].stride[2] = width - 1;
    expect_refusal(attn_plan_backward(call.forward.plan, &call.args), ATTN_ERR_INVALID,
                   "grad_value|grad_query|meet");
    free(rows);
    backward_close(&call);
}

/* ------------------------------------------------------------ cost of a window */

static int32_t count_poll(void *user) {
    ++*(int64_t *)user;
    return 0;
}

/* The backward pass asks about once a tile, as the forward pass does, and once a step
 * over the tiles of keys: with a window these are as many as rows, not as rows times
 * keys. Each of the 256 tiles of rows here attends two tiles of keys at the most. */
static void window_costs_what_it_keeps(void **state) {
    (void)state;
    static struct test_backward call;
    int64_t polls = 0;
    backward_open(&call, "q16384 d4 causal window=64,0 threads=1", ONLY_OF_OUT,
                  1 << GRAD_QUERY | 1 << GRAD_KEY | 1 << GRAD_VALUE);
    call.args.should_stop = count_poll;
    call.args.should_stop_user = &polls;
    assert_int_equal(attn_plan_backward(call.forward.plan, &call.args), ATTN_OK);
    assert_in_range(polls, 256, 256 * 3);
    backward_close(&call);
}

/* ------------------------------------------------------------ made by hand */

/* A call of one head count and dim, with tensors of the test. */
struct manual {
    attn_context *context;
    attn_plan *plan;
    attn_forward_args forward;
    attn_backward_args args;
};

static void manual_open(struct manual *call, attn_desc *desc, const attn_bounds *bounds,
                        int32_t threads) {
    assert_int_equal(attn_context_create(&call->context), ATTN_OK);
    assert_int_equal(attn_context_set_threads(call->context, threads), ATTN_OK);
    assert_int_equal(attn_plan_create(&call->plan, call->context, desc, bounds),
                     ATTN_OK);
    attn_desc_destroy(desc);
    attn_forward_args_init(&call->forward, sizeof call->forward);
    attn_backward_args_init(&call->args, sizeof call->args);
    call->args.forward = &call->forward;
}

static void manual_close(struct manual *call) {
    attn_plan_destroy(call->plan);
    attn_context_destroy(call->context);
}

static attn_desc *desc_of(int32_t query_heads, int32_t kv_heads, int32_t dim) {
    attn_desc *desc;
    assert_int_equal(attn_desc_create(&desc), ATTN_OK);
    attn_desc_set_heads(desc, query_heads, kv_heads);
    attn_desc_set_dims(desc, dim, dim);
    return desc;
}

static attn_tensor tensor_of(int32_t rank, int64_t a, int64_t b, int64_t c, int64_t d,
                             float *data) {
    const int64_t shape[] = {a, b, c, d};
    attn_tensor tensor;
    assert_int_equal(
        attn_tensor_init(&tensor, ATTN_F32, rank, shape + (4 - rank), data), ATTN_OK);
    return tensor;
}

/* However large the batch, there is nothing to do. */
static void no_rows_take_no_time(void **state) {
    (void)state;
    const int64_t batch = INT64_C(1) << 40;
    const attn_bounds bounds = {sizeof bounds, batch, 0, 0};
    struct manual call;
    manual_open(&call, desc_of(16, 16, 4), &bounds, 2);
    float unused = 0;
    attn_tensor rows = tensor_of(4, 1, 16, 0, 4, &unused);
    attn_tensor scores = tensor_of(4, 1, 16, 0, 0, &unused);
    attn_tensor statistics = tensor_of(3, 0, 1, 16, 0, &unused);
    rows.shape[0] = scores.shape[0] = statistics.shape[0] = batch;
    attn_tensor grad_query = rows;
    call.forward.query = call.forward.key = call.forward.value = &rows;
    call.forward.out = &rows;
    call.forward.lse = &statistics;
    call.args.grad_out = &rows;
    call.args.grad_weights = &scores;
    call.args.grad_query = &grad_query;
    assert_int_equal(attn_plan_backward(call.plan, &call.args), ATTN_OK);
    manual_close(&call);
}

/* LSE is infinite and every delta 0: nothing for the sink to gain. */
static void infinite_sink(void **state) {
    (void)state;
    const attn_bounds bounds = {sizeof bounds, 1, 2, 2};
    attn_desc *desc = desc_of(1, 1, 1);
    attn_desc_set_sinks(desc, 1);
    attn_desc_set_mask(desc, ATTN_BOOL);
    struct manual call;
    manual_open(&call, desc, &bounds, 1);
    float x[2] = {1, 2}, sink = INFINITY, grad_sink = NAN, out[2], lse[2];
    uint8_t nothing = 0;
    const int64_t one = 1;
    attn_tensor rows = tensor_of(4, 1, 1, 2, 1, x),
                sinks = tensor_of(1, 0, 0, 0, 1, &sink);
    attn_tensor grad_sinks = tensor_of(1, 0, 0, 0, 1, &grad_sink);
    attn_tensor result = tensor_of(4, 1, 1, 2, 1, out);
    attn_tensor statistics = tensor_of(3, 0, 1, 1, 2, lse), mask;
    assert_int_equal(attn_tensor_init(&mask, ATTN_BOOL, 1, &one, &nothing), ATTN_OK);
    call.forward.query = call.forward.key = call.forward.value = &rows;
    call.forward.sinks = &sinks;
    call.forward.mask = &mask;
    call.forward.out = &result;
    call.forward.lse = &statistics;
    assert_int_equal(attn_plan_forward(call.plan, &call.forward), ATTN_OK);
    call.args.grad_out = &rows;
    call.args.grad_sinks = &grad_sinks;
    assert_int_equal(attn_plan_backward(call.plan, &call.args), ATTN_OK);
    assert_true(grad_sink == 0);
    manual_close(&call);
}

enum { HEADS = 4, ROWS = 64, KEYS = 300, DIM = 64 };
static const int64_t padded_rows = 1000;

/* The gradient of a bias of one number, over the first ROWS rows of each head, which
 * lie within tensors of this many. */
static float sum_of_scores(float *data, int64_t rows) {
    const attn_bounds bounds = {sizeof bounds, 1, rows, KEYS};
    attn_desc *desc = desc_of(HEADS, 1, DIM);
    attn_desc_set_bias(desc, ATTN_F32);
    attn_desc_set_lengths(desc, 1, 0);
    attn_desc_set_dropout(desc, 0.2f);
    struct manual call;
    manual_open(&call, desc, &bounds, 1);
    const int64_t one = 1;
    int64_t length = ROWS;
    float *query = data, *grad_out = data + padded_rows * HEADS * DIM;
    float *key = grad_out + padded_rows * HEADS * DIM;
    float *out = calloc((size_t)(padded_rows * HEADS * DIM), sizeof *out);
    float *lse = calloc((size_t)(padded_rows * HEADS), sizeof *lse);
    float bias = 0, grad_bias = 0;
    assert_non_null(out);
    assert_non_null(lse);
    attn_tensor queries = tensor_of(4, 1, HEADS, rows, DIM, query);
    attn_tensor gradients = tensor_of(4, 1, HEADS, rows, DIM, grad_out);
    attn_tensor keys = tensor_of(4, 1, 1, KEYS, DIM, key);
    attn_tensor result = tensor_of(4, 1, HEADS, rows, DIM, out);
    attn_tensor statistics = tensor_of(3, 0, 1, HEADS, rows, lse), lengths;
    attn_tensor biases = tensor_of(1, 0, 0, 0, 1, &bias);
    attn_tensor grad_biases = tensor_of(1, 0, 0, 0, 1, &grad_bias);
    queries.stride[1] = gradients.stride[1] = result.stride[1] = padded_rows * DIM;
    assert_int_equal(attn_tensor_init(&lengths, ATTN_I64, 1, &one, &length), ATTN_OK);
    call.forward.query = &queries;
    call.forward.key = call.forward.value = &keys;
    call.forward.out = &result;
    call.forward.lse = &statistics;
    call.forward.bias = &biases;
    call.forward.q_lengths = &lengths;
    assert_int_equal(attn_plan_forward(call.plan, &call.forward), ATTN_OK);
    call.args.grad_out = &gradients;
    call.args.grad_bias = &grad_biases;
    assert_int_equal(attn_plan_backward(call.plan, &call.args), ATTN_OK);
    free(out);
    free(lse);
    manual_close(&call);
    return grad_bias;
}

/* Four heads of 64 rows make one block; of 1000 they do not. */
static void padding_changes_no_sum(void **state) {
    (void)state;
    const size_t count = (size_t)((2 * padded_rows * HEADS + KEYS) * DIM);
    float *data = malloc(count * sizeof *data);
    assert_non_null(data);
    struct random random = random_stream(5, 0);
    for (size_t i = 0; i < count; i++) {
        data[i] = random_float(&random);
    }
    const float tight = sum_of_scores(data, ROWS),
                padded = sum_of_scores(data, padded_rows);
    assert_memory_equal(&tight, &padded, sizeof tight);
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(largest_distances),
        cmocka_unit_test(packed_gradients),
        cmocka_unit_test(packed_gradients_of_wide_values),
        cmocka_unit_test(window_costs_what_it_keeps),
        cmocka_unit_test(no_rows_take_no_time),
        cmocka_unit_test(infinite_sink),
        cmocka_unit_test(padding_changes_no_sum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
