/*
 * What attn_plan_forward() refuses of relative positions, segments and ranks: shapes
 * that do not go together and rows that are not there.
 */
#include <stdlib.h>

#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

enum { HEADS = 4, ROWS = 6, DIM = 8 };

static struct test_call call;
static float numbers[HEADS * ROWS * DIM]; /* relative_keys in the test's own shape */

static void set_relative_keys(int32_t rank, int64_t first, int64_t rows, int64_t dim) {
    const int64_t shape[3] = {first, rows, dim};
    assert_int_equal(attn_tensor_init(&call.inputs.relative_keys, ATTN_F32, rank,
                                      shape + 3 - rank, numbers),
                     ATTN_OK);
}

static int setup(void **state) {
    (void)state;
    call_open(&call,
              "b2 h4/2 q20 k30 d8/5 relbias=6,20 relkeys ubias vbias segments "
              "ranks=upto seed=2",
              ALL_OUTPUTS);
    set_relative_keys(3, HEADS, ROWS, DIM);
    call.args.relative_zero = call.inputs.relative_zero = 2;
    return call.args.segment_bias == NULL; /* which a seed may leave out */
}

static int teardown(void **state) {
    (void)state;
    call_close(&call);
    return 0;
}

static void refused(const char *says) {
    expect_refusal(attn_plan_forward(call.plan, &call.args), ATTN_ERR_INVALID, says);
    assert_true(outputs_untouched(&call.outputs));
}

static void the_call_is_good(void **state) {
    (void)state;
    call_run(&call);
    assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
    call.args.segment_bias = NULL;
    call.inputs.segment_bias.rank = 0;
    call_run(&call);
    assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
}

/* A tensor in a shape that it should not have: its last dimensions as in `shape`. */
struct misshapen {
    const attn_tensor **member;
    int32_t rank;
    int64_t shape[3];
    const char *says;
};

static void shapes_that_differ(void **state) {
    (void)state;
    attn_forward_args *args = &call.args;
    const struct misshapen cases[] = {
        {&args->relative_bias, 2, {5, 4}, "relative_bias|5|6|buckets"},
        {&args->relative_bias, 2, {7, 4}, "relative_bias|7|6|buckets"},
        {&args->relative_bias, 2, {6, 2}, "relative_bias|2|4|query_heads"},
        {&args->relative_bias, 1, {6}, "relative_bias|6|4"},
        {&args->relative_keys, 3, {2, 6, 8}, "relative_keys|2|4|query_heads"},
        {&args->relative_keys, 3, {4, 6, 7}, "relative_keys|7|8|key_dim"},
        {&args->relative_keys, 2, {6, 5}, "relative_keys|5|8|key_dim"},
        {&args->relative_keys, 1, {8}, "relative_keys|rank 1"},
        {&args->content_bias, 2, {1, 8}, "content_bias|1|4|query_heads"},
        {&args->content_bias, 2, {4, 5}, "content_bias|5|8|key_dim"},
        {&args->position_bias, 2, {2, 8}, "position_bias|2|4|query_heads"},
        {&args->position_bias, 1, {8}, "position_bias|8|4"},
        {&args->segment_keys, 3, {1, 4, 8}, "segment_keys|1|2"},
        {&args->segment_keys, 3, {3, 4, 8}, "segment_keys|3|2"},
        {&args->segment_keys, 3, {2, 1, 8}, "segment_keys|1|4|query_heads"},
        {&args->segment_keys, 2, {2, 8}, "segment_keys|2|4"},
        {&args->segment_bias, 2, {4, 5}, "segment_bias|5|8|key_dim"},
        {&args->segment_bias, 3, {1, 4, 8}, "segment_bias|1|4"},
    };
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        const struct misshapen *one = &cases[c];
        const attn_tensor *before = *one->member;
        attn_tensor tensor;
        assert_int_equal(
            attn_tensor_init(&tensor, ATTN_F32, one->rank, one->shape, numbers),
            ATTN_OK);
        *one->member = &tensor;
        refused(one->says);
        *one->member = before;
    }
}

static void numbers_of_tokens(void **state) {
    (void)state;
    static int32_t tokens[3 * 40];
    attn_forward_args *args = &call.args;
    const struct misshapen cases[] = {
        {&args->q_segments, 2, {3, 20}, "q_segments|3|2|batch"},
        {&args->q_segments, 2, {2, 30}, "q_segments|30|20|q_length"},
        {&args->q_segments, 1, {30}, "q_segments|30|20|q_length"},
        {&args->k_segments, 2, {2, 20}, "k_segments|20|30|kv_length"},
        {&args->k_segments, 3, {2, 1, 30}, "k_segments|1|30"},
        {&args->q_ranks, 2, {3, 20}, "q_ranks|3|2|batch"},
        {&args->q_ranks, 1, {1}, "q_ranks|1|20|q_length"},
        {&args->k_ranks, 2, {1, 31}, "k_ranks|31|30|kv_length"},
    };
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        const struct misshapen *one = &cases[c];
        const attn_tensor *before = *one->member;
        attn_tensor tensor;
        assert_int_equal(
            attn_tensor_init(&tensor, ATTN_I32, one->rank, one->shape, tokens),
            ATTN_OK);
        *one->member = &tensor;
        refused(one->says);
        *one->member = before;
    }
}

static void rows_that_are_not_there(void **state) {
    (void)state;
    static const struct {
        int64_t zero;
        const char *says;
    } cases[] = {{-1, "relative_zero|-1|6"},
                 {ROWS, "relative_zero|6"},
                 {INT64_MAX, "relative_zero|9223372036854775807|6"},
                 {INT64_MIN, "relative_zero|-9223372036854775808|6"}};
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        call.args.relative_zero = cases[c].zero;
        refused(cases[c].says);
    }
    call.args.relative_zero = 0;
    set_relative_keys(3, HEADS, 0, DIM);
    refused("relative_keys|0 rows");
    set_relative_keys(2, 0, 0, DIM);
    refused("relative_keys|0 rows");
    set_relative_keys(2, 0, 1, DIM);
    call_run(&call);
    assert_int_equal(call.args.relative_zero, 0);
    call.args.relative_zero = 1;
    outputs_reset(&call.outputs);
    refused("relative_zero|1");
}

/* Every row of the table may be that of j = p, in all of its shapes. */
static void every_row_may_be_zero(void **state) {
    (void)state;
    for (int64_t n = 0; n < (int64_t)COUNT_OF(numbers); n++) {
        numbers[n] = 0.25F * (float)(n % 7) - 0.125F * (float)(n % 5);
    }
    for (int64_t n = 0; n < 3 * (int64_t)ROWS; n++) {
        set_relative_keys(n % 3 == 0 ? 2 : 3, n % 3 == 1 ? 1 : HEADS, ROWS, DIM);
        call.args.relative_zero = call.inputs.relative_zero = n / 3;
        call_run(&call);
        assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
    }
}

static void zero_of_nothing(void **state) {
    (void)state;
    struct test_call plain;
    call_open(&plain, "q3 k5 d4", ALL_OUTPUTS);
    plain.args.relative_zero = 1;
    expect_refusal(attn_plan_forward(plain.plan, &plain.args), ATTN_ERR_INVALID,
                   "relative_zero|1|announce");
    assert_true(outputs_untouched(&plain.outputs));
    call_close(&plain);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_call_is_good),      TEST(shapes_that_differ),
        TEST(numbers_of_tokens),     TEST(rows_that_are_not_there),
        TEST(every_row_may_be_zero), TEST(zero_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
