/*
 * What attn_plan_backward() refuses, but for tensors that are broken in themselves
 * (test_backward_tensors): what is missing or does not go together, numbers out of
 * range, workspace. Each with the words and numbers of the message, and nothing
 * written.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/backward.h"
#include "tests/support/element.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

static struct test_backward call;

static const char everything[] =
    "b2 h4/2 q20 k30 d8/5 causal align=offsets qlens kvlens docs prefix block=8x16 "
    "mask bias alibi sinks dropout=0.25 "
    "relbias=8,20 relkeys ubias vbias segments ranks=upto seed=2";

/* All that a call may have, whatever the seed says. */
static void open_full(const char *text) {
    backward_open(&call, text, ALL_INCOMING, ALL_GRADIENTS);
    run_args(&call.forward.args, &call.forward.inputs, &call.forward.outputs);
}

static int setup(void **state) {
    (void)state;
    open_full(everything);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    backward_close(&call);
    return 0;
}

static void refused(attn_status status, const char *says) {
    expect_refusal(attn_plan_backward(call.forward.plan, &call.args), status, says);
    assert_true(outputs_untouched(&call.gradients));
}

static void the_call_is_good(void **state) {
    (void)state;
    expect_mark();
    backward_run(&call);
    expect_marked();
    assert_int_equal(backward_check(&call), 0);
}

static void null_arguments(void **state) {
    (void)state;
    expect_refusal(attn_plan_backward(NULL, &call.args), ATTN_ERR_INVALID, "plan|NULL");
    expect_refusal(attn_plan_backward(call.forward.plan, NULL), ATTN_ERR_INVALID,
                   "args|NULL");
    call.args.forward = NULL;
    refused(ATTN_ERR_INVALID, "forward|NULL");
}

/* Inputs of the forward call that the descriptor announces are required here too. */
static void missing_inputs(void **state) {
    (void)state;
    attn_forward_args *args = &call.forward.args;
    const struct {
        const char *name;
        const attn_tensor **member;
    } members[] = {{"query", &args->query},
                   {"key", &args->key},
                   {"value", &args->value},
                   {"q_lengths", &args->q_lengths},
                   {"kv_lengths", &args->kv_lengths},
                   {"query_offsets", &args->query_offsets},
                   {"prefix_lengths", &args->prefix_lengths},
                   {"q_documents", &args->q_documents},
                   {"k_documents", &args->k_documents},
                   {"block_mask", &args->block_mask},
                   {"mask", &args->mask},
                   {"bias", &args->bias},
                   {"alibi_slopes", &args->alibi_slopes},
                   {"sinks", &args->sinks},
                   {"relative_bias", &args->relative_bias},
                   {"relative_keys", &args->relative_keys},
                   {"content_bias", &args->content_bias},
                   {"position_bias", &args->position_bias},
                   {"q_segments", &args->q_segments},
                   {"k_segments", &args->k_segments},
                   {"segment_keys", &args->segment_keys},
                   {"q_ranks", &args->q_ranks},
                   {"k_ranks", &args->k_ranks}};
    for (size_t m = 0; m < COUNT_OF(members); m++) {
        const attn_tensor *before = *members[m].member;
        *members[m].member = NULL;
        refused(ATTN_ERR_INVALID, members[m].name);
        *members[m].member = before;
    }
}

static void missing_statistics(void **state) {
    (void)state;
    attn_forward_args *args = &call.forward.args;
    const attn_forward_args all = *args;
    args->lse = args->row_max = NULL;
    refused(ATTN_ERR_INVALID, "lse|row_max");
    *args = all;
    args->lse = args->row_sum = NULL;
    refused(ATTN_ERR_INVALID, "lse|row_sum");
    *args = all;
    args->lse = args->row_sum = args->row_max = NULL;
    refused(ATTN_ERR_INVALID, "lse|row_max");
    *args = all;
    args->out = NULL;
    refused(ATTN_ERR_INVALID, "out|grad_out");
    call.args.grad_out = NULL;
    backward_run(&call);
}

static void nothing_in_or_out(void **state) {
    (void)state;
    const attn_backward_args all = call.args;
    call.args.grad_out = call.args.grad_lse = NULL;
    call.args.grad_weights = call.args.grad_key_sums = NULL;
    refused(ATTN_ERR_INVALID, "grad_out|grad_lse|grad_weights|grad_key_sums");
    call.args = all;
    call.args.grad_query = call.args.grad_key = call.args.grad_value = NULL;
    call.args.grad_bias = call.args.grad_alibi_slopes = call.args.grad_sinks = NULL;
    call.args.grad_relative_bias = call.args.grad_relative_keys = NULL;
    call.args.grad_content_bias = call.args.grad_position_bias = NULL;
    call.args.grad_segment_keys = call.args.grad_segment_bias = NULL;
    refused(ATTN_ERR_INVALID, "gradient");
}

/* Gradients of inputs that the call does not have. */
static void gradients_of_nothing(void **state) {
    (void)state;
    const struct test_backward full = call;
    const attn_tensor *gradients = full.gradients.tensor;
    open_full("b2 h4/2 q20 k30 d8/5");
    const attn_backward_args plain = call.args;
    call.args.grad_bias = &gradients[GRAD_BIAS];
    refused(ATTN_ERR_INVALID, "grad_bias|bias is not");
    call.args = plain;
    call.args.grad_alibi_slopes = &gradients[GRAD_ALIBI_SLOPES];
    refused(ATTN_ERR_INVALID, "grad_alibi_slopes|alibi_slopes is not");
    call.args = plain;
    call.args.grad_sinks = &gradients[GRAD_SINKS];
    refused(ATTN_ERR_INVALID, "grad_sinks|sinks is not");
    const struct {
        const attn_tensor **member;
        int gradient;
        const char *says;
    } more[] = {{&call.args.grad_relative_bias, GRAD_RELATIVE_BIAS,
                 "grad_relative_bias|relative_bias is not"},
                {&call.args.grad_relative_keys, GRAD_RELATIVE_KEYS,
                 "grad_relative_keys|relative_keys is not"},
                {&call.args.grad_content_bias, GRAD_CONTENT_BIAS,
                 "grad_content_bias|content_bias is not"},
                {&call.args.grad_position_bias, GRAD_POSITION_BIAS,
                 "grad_position_bias|position_bias is not"},
                {&call.args.grad_segment_keys, GRAD_SEGMENT_KEYS,
                 "grad_segment_keys|segment_keys is not"},
                {&call.args.grad_segment_bias, GRAD_SEGMENT_BIAS,
                 "grad_segment_bias|segment_bias is not"}};
    for (size_t m = 0; m < COUNT_OF(more); m++) {
        call.args = plain;
        *more[m].member = &gradients[more[m].gradient];
        refused(ATTN_ERR_INVALID, more[m].says);
    }
    assert_true(outputs_untouched(&full.gradients));
    backward_close(&call);
    call = full; /* for the teardown */
}

/* A bias of (20, 30) whose gradient is of another shape that would broadcast too. */
static void gradients_of_other_shapes(void **state) {
    (void)state;
    static float numbers[2 * 4 * 20 * 30], gradient[COUNT_OF(numbers)];
    const int64_t shape[4] = {2, 4, 20, 30};
    attn_tensor grad;
    assert_int_equal(
        attn_tensor_init(&call.forward.inputs.bias, ATTN_F32, 2, shape + 2, numbers),
        ATTN_OK);
    call.args.grad_bias = &grad;
    assert_int_equal(attn_tensor_init(&grad, ATTN_F32, 4, shape, gradient), ATTN_OK);
    refused(ATTN_ERR_INVALID, "grad_bias|rank 4|2");
    assert_int_equal(attn_tensor_init(&grad, ATTN_F32, 1, shape + 3, gradient),
                     ATTN_OK);
    refused(ATTN_ERR_INVALID, "grad_bias|rank 1|2");
    assert_int_equal(attn_tensor_init(&grad, ATTN_F32, 2, shape + 2, gradient),
                     ATTN_OK);
    grad.shape[0] = 1;
    refused(ATTN_ERR_INVALID, "grad_bias|1|20");
    grad.shape[0] = 20;
    backward_run(&call);

    attn_tensor slopes = call.gradients.tensor[GRAD_ALIBI_SLOPES];
    slopes.rank = 3 - slopes.rank;
    call.args.grad_alibi_slopes = &slopes;
    outputs_reset(&call.gradients);
    refused(ATTN_ERR_INVALID, "grad_alibi_slopes|rank");
    call.args.grad_alibi_slopes = NULL;

    attn_tensor rows = call.gradients.tensor[GRAD_RELATIVE_KEYS];
    call.args.grad_relative_keys = &rows;
    rows.shape[rows.rank - 2]++;
    refused(ATTN_ERR_INVALID, "grad_relative_keys");
    rows.rank = 5 - rows.rank;
    refused(ATTN_ERR_INVALID, "grad_relative_keys|rank");
}

static void accumulate_is_0_or_1(void **state) {
    (void)state;
    static const int64_t numbers[] = {2, -1, INT64_MIN, INT64_C(1) << 32};
    for (size_t n = 0; n < COUNT_OF(numbers); n++) {
        char says[64];
        call.args.accumulate = numbers[n];
        snprintf(says, sizeof says, "accumulate|%lld", (long long)numbers[n]);
        refused(ATTN_ERR_INVALID, says);
    }
}

/* Integers out of range, as in a forward call. */
static void numbers_out_of_range(void **state) {
    (void)state;
    element_set_int(&call.forward.inputs.kv_lengths, 0, 1, 31);
    refused(ATTN_ERR_INVALID, "kv_lengths|31|30");
    element_set_int(&call.forward.inputs.kv_lengths, 0, 1, 30);
    const int64_t two[1] = {2};
    int64_t indices[2] = {5, INT64_C(1) << 32};
    attn_tensor tensor;
    assert_int_equal(attn_tensor_init(&tensor, ATTN_I64, 1, two, indices), ATTN_OK);
    call.forward.args.rng_indices = &tensor;
    refused(ATTN_ERR_INVALID, "rng_indices|4294967296|4294967295");
    indices[1] = -1;
    refused(ATTN_ERR_INVALID, "rng_indices|-1");
}

static void beyond_the_bounds(void **state) {
    (void)state;
    static const char *const larger[] = {"b3 h4/2 q20 k30 d8", "b2 h4/2 q21 k30 d8",
                                         "b2 h4/2 q20 k31 d8"};
    static const char *const says[] = {"batch|3|2", "q_length|21|20",
                                       "kv_length|31|30"};
    struct test_call small;
    struct test_backward full = call;
    call_open(&small, "b2 h4/2 q20 k30 d8", ONLY_OUT);
    for (size_t n = 0; n < COUNT_OF(larger); n++) {
        open_full(larger[n]);
        attn_plan *own = call.forward.plan;
        call.forward.plan = small.plan;
        refused(ATTN_ERR_INVALID, says[n]);
        call.forward.plan = own;
        backward_close(&call);
    }
    call_close(&small);
    call = full; /* for the teardown */
}

static void bad_workspace(void **state) {
    (void)state;
    char says[64];
    size_t bytes = attn_plan_backward_workspace_size(call.forward.plan);
    char *memory = aligned_alloc(64, bytes + 64);
    assert_non_null(memory);
    call.args.workspace_size = 64;
    refused(ATTN_ERR_INVALID, "workspace|64|NULL");
    call.args.workspace = memory;
    call.args.workspace_size = (int64_t)bytes - 1;
    snprintf(says, sizeof says, "workspace|%zu|%zu", bytes - 1, bytes);
    refused(ATTN_ERR_INVALID, says);
    call.args.workspace_size = -1;
    refused(ATTN_ERR_INVALID, "workspace|-1");
    call.args.workspace = memory + 32;
    call.args.workspace_size = (int64_t)bytes;
    refused(ATTN_ERR_INVALID, "workspace|32|64");
    call.args.workspace = call.gradients.block[GRAD_KEY];
    refused(ATTN_ERR_INVALID, "workspace|overlap");
    call.args.workspace = memory;
    backward_run(&call);
    free(memory);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_call_is_good),
        TEST(null_arguments),
        TEST(missing_inputs),
        TEST(missing_statistics),
        TEST(nothing_in_or_out),
        TEST(gradients_of_nothing),
        TEST(gradients_of_other_shapes),
        TEST(accumulate_is_0_or_1),
        TEST(numbers_out_of_range),
        TEST(beyond_the_bounds),
        TEST(bad_workspace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
