/*
 * More of what attn_plan_forward() refuses: shapes that do not go together, calls
 * beyond the plan's bounds, numbers out of range in the integer inputs, and workspace.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

static struct test_call call;

static void open_call(const char *text) {
    call_open(&call, text, ALL_OUTPUTS);
}

static void refused(attn_status status, const char *says) {
    expect_refusal(attn_plan_forward(call.plan, &call.args), status, says);
    assert_true(outputs_untouched(&call.outputs));
}

static void shapes_that_differ(void **state) {
    (void)state;
    /* A shape that one member should not have, and what the message must say. */
    static const struct {
        size_t tensor; /* in the table below */
        int dimension;
        int64_t size;
        const char *says;
    } cases[] = {
        {0, 1, 6, "query|6|4|heads"},
        {0, 3, 7, "query|7|8|key_dim"},
        {1, 0, 1, "key|1|2|batch"},
        {1, 1, 4, "key|4|2|heads"},
        {1, 3, 5, "key|5|8|key_dim"},
        {2, 0, 1, "value|1|2|batch"},
        {2, 1, 1, "value|1|2|heads"},
        {2, 2, 29, "value|29|30|kv_length"},
        {2, 3, 4, "value|4|5|value_dim"},
        {3, 2, 19, "out|19|20|q_length"},
        {3, 3, 8, "out|8|5|value_dim"},
        {4, 2, 21, "lse|21|20|q_length"},
        {5, 3, 20, "weights|20|30|kv_length"},
    };
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        open_call("b2 h4/2 q20 k30 d8/5");
        attn_tensor *tensors[] = {
            &call.inputs.query,        &call.inputs.key,
            &call.inputs.value,        &call.outputs.tensor[OUT],
            &call.outputs.tensor[LSE], &call.outputs.tensor[WEIGHTS]};
        int64_t *size = &tensors[cases[c].tensor]->shape[cases[c].dimension];
        const int64_t right = *size;
        *size = cases[c].size;
        expect_refusal(attn_plan_forward(call.plan, &call.args), ATTN_ERR_INVALID,
                       cases[c].says);
        *size = right;
        assert_true(outputs_untouched(&call.outputs));
        call_close(&call);
    }
}

static void beyond_the_bounds(void **state) {
    (void)state;
    static const char *const larger[] = {"b3 h4/2 q20 k30 d8", "b2 h4/2 q21 k30 d8",
                                         "b2 h4/2 q20 k31 d8"};
    static const char *const says[] = {"batch|3|2", "q_length|21|20",
                                       "kv_length|31|30"};
    struct test_call small;
    call_open(&small, "b2 h4/2 q20 k30 d8", ONLY_OUT);
    for (size_t n = 0; n < COUNT_OF(larger); n++) {
        open_call(larger[n]);
        expect_refusal(attn_plan_forward(small.plan, &call.args), ATTN_ERR_INVALID,
                       says[n]);
        assert_true(outputs_untouched(&call.outputs));
        call_close(&call);
    }
    /* Less than the bounds is fine. */
    open_call("b1 h4/2 q3 k7 d8");
    run_need(attn_plan_forward(small.plan, &call.args), &call.inputs.problem,
             "forward");
    call_close(&call);
    call_close(&small);
}

static void numbers_out_of_range(void **state) {
    (void)state;
    static const struct {
        int tensor;
        int64_t value;
        const char *says;
    } cases[] = {
        {0, -1, "q_lengths|-1|20"},
        {0, 21, "q_lengths|21|20"},
        {1, -7, "kv_lengths|-7|30"},
        {1, 31, "kv_lengths|31|30"},
        {2, -1, "prefix_lengths|-1|30"},
        {2, 31, "prefix_lengths|31|30"},
        {3, ((int64_t)1 << 53) + 1, "query_offsets|9007199254740993"},
        {3, INT64_MIN, "query_offsets|-9223372036854775808"},
    };
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        open_call("b3 h2 q20 k30 d8 qlens kvlens causal prefix align=offsets");
        attn_tensor *tensors[] = {&call.inputs.q_lengths, &call.inputs.kv_lengths,
                                  &call.inputs.prefix_lengths,
                                  &call.inputs.query_offsets};
        int64_t numbers[3] = {1, 1, cases[c].value};
        tensors[cases[c].tensor]->dtype = ATTN_I64;
        tensors[cases[c].tensor]->data = numbers;
        refused(ATTN_ERR_INVALID, cases[c].says);
        call_close(&call);
    }
}

/* Distances of 2^53 are no error either: they have the last bucket and an outer row. */
static void largest_distances(void **state) {
    (void)state;
    open_call("b2 h2 q20 k30 d8 relbias=32,128 bidir relkeys vbias align=offsets");
    int64_t offsets[2] = {(int64_t)1 << 53, -((int64_t)1 << 53)};
    call.inputs.query_offsets.dtype = ATTN_I64;
    call.inputs.query_offsets.data = offsets;
    call_run(&call);
    assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
    call_close(&call);
}

/* The largest offsets are no error, nothing overflows, and no engine goes all the way
 * to where such rows would find their keys, which would take forever. */
static void largest_offsets(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b2 h2 q20 k30 d8 causal window=5,5 align=offsets",
        "b2 h2 q20 k30 d8 causal window=5,5 align=offsets engine=decode",
        "b2 h2 q20 k700 d8 causal window=5,5 align=offsets engine=flash"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        open_call(texts[i]);
        int64_t offsets[2] = {(int64_t)1 << 53, -((int64_t)1 << 53)};
        call.inputs.query_offsets.dtype = ATTN_I64;
        call.inputs.query_offsets.data = offsets;
        call_run(&call);
        for (int64_t n = 0; n < 40; n++) {
            assert_true(
                element_float(&call.outputs.tensor[OUT], n / 20, 1, n % 20, 7) == 0);
        }
        call_close(&call);
    }
}

static void bad_workspace(void **state) {
    (void)state;
    open_call("b2 h4/2 q20 k300 d8");
    size_t bytes = attn_plan_workspace_size(call.plan);
    char says[64];
    char *memory = aligned_alloc(64, (bytes + 255) / 64 * 64);
    assert_non_null(memory);
    assert_true(bytes > 0);
    call.args.workspace = memory;
    call.args.workspace_size = (int64_t)bytes - 1;
    snprintf(says, sizeof says, "workspace|%zu|%zu", bytes - 1, bytes);
    refused(ATTN_ERR_INVALID, says);
    call.args.workspace_size = 0;
    refused(ATTN_ERR_INVALID, "workspace|0");
    call.args.workspace_size = -1;
    refused(ATTN_ERR_INVALID, "workspace|-1");
    call.args.workspace = memory + 32;
    call.args.workspace_size = (int64_t)bytes;
    refused(ATTN_ERR_INVALID, "workspace|64");
    call.args.workspace = memory;
    call_run(&call);
    free(memory);
    call_close(&call);
}

static void workspace_on_a_tensor(void **state) {
    (void)state;
    open_call("b2 h4/2 q20 k300 d8");
    const size_t bytes = attn_plan_workspace_size(call.plan);
    /* which has room for a tensor of its own */
    char *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_non_null(memory);
    call.args.workspace = memory;
    call.args.workspace_size = (int64_t)bytes;
    const attn_tensor **const tensors[] = {&call.args.key, &call.args.out};
    const char *const says[] = {"workspace|key|overlap", "workspace|out|overlap"};
    for (size_t i = 0; i < COUNT_OF(tensors); i++) {
        const attn_tensor *before = *tensors[i];
        attn_tensor moved = *before;
        moved.data = memory;
        *tensors[i] = &moved;
        refused(ATTN_ERR_INVALID, says[i]);
        *tensors[i] = before;
    }
    free(memory);
    call_close(&call);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_that_differ),    cmocka_unit_test(beyond_the_bounds),
        cmocka_unit_test(numbers_out_of_range),  cmocka_unit_test(largest_offsets),
        cmocka_unit_test(largest_distances),     cmocka_unit_test(bad_workspace),
        cmocka_unit_test(workspace_on_a_tensor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
