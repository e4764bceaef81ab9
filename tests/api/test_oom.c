/*
 * Every allocation of a context with an allocator of its own fails in turn: the call
 * says so or does without, nothing leaks, nothing is written, and the next try
 * succeeds.
 */
#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/counting.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

static const char *const texts[] = {
    "b2 h4/2 q200 k300 d64 causal threads=4 seed=1",
    "h2 q100 k2000 d32 bias mask sinks threads=2 engine=flash seed=2",
    "b3 h2 q20 k30 d8 kvlens qlens docs threads=1 engine=dense seed=3"};

static attn_context *counting_context(const struct test_problem *problem,
                                      struct counting *counting) {
    attn_context *context = run_context(problem);
    assert_int_equal(attn_context_set_allocator(context, counting_allocate,
                                                counting_release, counting),
                     ATTN_OK);
    return context;
}

/* Plan and two calls. Returns the first status that is not ATTN_OK. */
static attn_status plan_and_call(attn_context *context,
                                 const struct test_inputs *inputs,
                                 struct test_outputs *outputs) {
    attn_desc *desc = run_desc(&inputs->problem);
    attn_bounds bounds = {sizeof bounds, inputs->problem.batch,
                          inputs->problem.q_length, inputs->problem.kv_length};
    attn_plan *plan = NULL;
    attn_status status = attn_plan_create(&plan, context, desc, &bounds);
    attn_desc_destroy(desc);
    if (status != ATTN_OK) {
        assert_null(plan);
        return status;
    }
    attn_forward_args args;
    run_args(&args, inputs, outputs);
    status = attn_plan_forward(plan, &args);
    if (status == ATTN_ERR_NO_MEMORY) {
        assert_true(outputs_untouched(outputs));
    } else if (status == ATTN_OK) {
        outputs_reset(outputs);
        status = attn_plan_forward(plan, &args);
    }
    attn_plan_destroy(plan);
    return status;
}

static void every_allocation_fails_in_turn(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_problem problem = run_parse(texts[t]);
        struct test_inputs inputs;
        int refusals = 0, failed = 1;
        gen_inputs(&inputs, &problem, DATA_RANDOM);
        for (long n = 1; failed; n++) {
            struct counting counting = {.fail_at = n};
            struct test_outputs outputs;
            attn_context *context = counting_context(&problem, &counting);
            outputs_open(&outputs, &problem, ALL_OUTPUTS);
            attn_status status = plan_and_call(context, &inputs, &outputs);
            failed = counting.calls >= n;
            if (status == ATTN_OK) {
                assert_int_equal(check_outputs(&inputs, &outputs), 0);
            } else {
                expect_refusal(status, ATTN_ERR_NO_MEMORY, "memory");
                assert_true(failed);
                refusals++;
                assert_int_equal(plan_and_call(context, &inputs, &outputs), ATTN_OK);
            }
            attn_context_destroy(context);
            assert_int_equal(counting.live, 0);
            assert_int_equal(counting.bytes, 0);
            assert_int_equal(counting.violations, 0);
            outputs_close(&outputs);
            assert_true(n < 100);
        }
        /* At least the plan and its workspace cannot do without. */
        assert_true(refusals >= 2);
        gen_free(&inputs);
    }
}

/* With workspace given, a call on one thread allocates nothing at all. */
static void nothing_is_allocated_with_workspace(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_problem problem = run_parse(texts[t]);
        struct counting counting = {0}, other = {0};
        attn_context *context = counting_context(&problem, &counting);
        struct test_call call;
        call_open_on(&call, context, &problem, DATA_RANDOM, ALL_OUTPUTS);
        size_t bytes = attn_plan_workspace_size(call.plan);
        call.args.workspace = counting_allocate(&other, bytes, 64);
        call.args.workspace_size = (int64_t)bytes;
        const long before = counting.calls;
        call_run(&call);
        /* The first threaded call makes the pool. */
        assert_true(counting.calls - before <= (problem.threads > 1 ? 1 : 0));
        const long settled = counting.calls;
        call_run(&call);
        assert_int_equal(counting.calls, settled);
        assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
        counting_release(&other, call.args.workspace);
        call_close(&call);
        attn_context_destroy(context);
        assert_int_equal(counting.live, 0);
    }
}

/* Borrowed workspace is kept by the context: a second call allocates nothing. */
static void borrowed_workspace_is_kept(void **state) {
    (void)state;
    struct test_problem problem = run_parse(texts[0]);
    struct counting counting = {0};
    attn_context *context = counting_context(&problem, &counting);
    struct test_call call;
    call_open_on(&call, context, &problem, DATA_RANDOM, ONLY_OUT);
    call_run(&call);
    const long settled = counting.calls;
    assert_true(counting.most >= (long)attn_plan_workspace_size(call.plan));
    for (int n = 0; n < 5; n++) {
        call_run(&call);
    }
    assert_int_equal(counting.calls, settled);
    call_close(&call);
    attn_context_destroy(context);
    assert_int_equal(counting.live, 0);
}

/* A spare block that is too small for a call is replaced by one that is not. */
static void borrowed_workspace_grows(void **state) {
    (void)state;
    struct test_problem small = run_parse("q20 k30 d8 threads=1 engine=dense seed=1");
    struct test_problem large =
        run_parse("q300 k3000 d64 threads=1 engine=dense seed=2");
    struct counting counting = {0};
    attn_context *context = counting_context(&small, &counting);
    struct test_call calls[2];
    call_open_on(&calls[0], context, &small, DATA_RANDOM, ALL_OUTPUTS);
    call_open_on(&calls[1], context, &large, DATA_RANDOM, ALL_OUTPUTS);
    assert_true(attn_plan_workspace_size(calls[0].plan) <
                attn_plan_workspace_size(calls[1].plan));
    call_run(&calls[0]);
    assert_true(counting.most < (long)attn_plan_workspace_size(calls[1].plan));
    call_run(&calls[1]);
    assert_true(counting.most >= (long)attn_plan_workspace_size(calls[1].plan));
    for (int n = 0; n < 2; n++) {
        assert_int_equal(check_outputs(&calls[n].inputs, &calls[n].outputs), 0);
        call_close(&calls[n]);
    }
    attn_context_destroy(context);
    assert_int_equal(counting.live, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_fails_in_turn),
        cmocka_unit_test(nothing_is_allocated_with_workspace),
        cmocka_unit_test(borrowed_workspace_is_kept),
        cmocka_unit_test(borrowed_workspace_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
