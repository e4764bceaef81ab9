/*
 * Every call of malloc and its like fails in turn, in all of the library, and threads
 * cannot be created. Links the static library with --wrap (tests/support/wrap.h).
 */
#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"
#include "tests/support/wrap.h"

/* with a softcap, threads are worth it even where products wait for each other */
static const char text[] = "b2 h4/2 q200 k300 d64 causal softcap=20 threads=4 seed=1";
static struct test_inputs inputs;
static struct test_outputs outputs;
static attn_forward_args args;

static int setup(void **state) {
    (void)state;
    struct test_problem problem = run_parse(text);
    gen_inputs(&inputs, &problem, DATA_RANDOM);
    outputs_open(&outputs, &problem, ALL_OUTPUTS);
    run_args(&args, &inputs, &outputs);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    outputs_close(&outputs);
    gen_free(&inputs);
    return 0;
}

/* From no objects to a result and back to no objects; the first refusal ends it. */
static attn_status whole_life(void) {
    attn_context *context = NULL;
    attn_desc *desc = NULL;
    attn_plan *plan = NULL;
    const attn_bounds bounds = {sizeof bounds, 2, 200, 300};
    attn_status status = attn_context_create(&context);
    status = status == ATTN_OK ? attn_context_set_threads(context, 4) : status;
    status = status == ATTN_OK ? attn_desc_create(&desc) : status;
    status = status == ATTN_OK ? attn_desc_set_heads(desc, 4, 2) : status;
    status = status == ATTN_OK ? attn_desc_set_dims(desc, 64, 64) : status;
    status = status == ATTN_OK ? attn_desc_set_causal(desc, 1) : status;
    status = status == ATTN_OK ? attn_desc_set_softcap(desc, 20.0f) : status;
    status =
        status == ATTN_OK ? attn_plan_create(&plan, context, desc, &bounds) : status;
    status = status == ATTN_OK ? attn_plan_forward(plan, &args) : status;
    attn_plan_destroy(plan);
    attn_desc_destroy(desc);
    attn_context_destroy(context);
    return status;
}

static void objects(void **state) {
    (void)state;
    /* What is looked up once and kept is looked up here. */
    assert_int_equal(whole_life(), ATTN_OK);
    int refusals = 0;
    long n = 0, allocations;
    do {
        outputs_close(&outputs);
        outputs_open(&outputs, &inputs.problem, ALL_OUTPUTS);
        run_args(&args, &inputs, &outputs);
        wrap_fail_allocation(++n);
        attn_status status = whole_life();
        const long live = wrap_live();
        allocations = wrap_allocations();
        wrap_fail_allocation(0);
        assert_int_equal(live, 0);
        if (status == ATTN_OK) {
            assert_int_equal(check_outputs(&inputs, &outputs), 0);
        } else {
            expect_refusal(status, ATTN_ERR_NO_MEMORY, "memory");
            assert_true(outputs_untouched(&outputs));
            refusals++;
        }
        assert_true(n < 100);
    } while (allocations >= n);
    /* Context, descriptor, plan, workspace. */
    assert_true(refusals >= 4);
}

static void one_call(void **state) {
    (void)state;
    static float in[3][4 * 300 * 16];
    static float out[4 * 200 * 16], right[4 * 200 * 16];
    for (int i = 0; i < 4 * 300 * 16; i++) {
        in[0][i] = in[1][i] = in[2][i] = (float)(i % 17) * 0.1f;
    }
    assert_int_equal(
        attn_sdpa(NULL, 1, 4, 4, 200, 300, 16, 16, 0, in[0], in[1], in[2], right),
        ATTN_OK);
    int refusals = 0;
    long n = 0, allocations;
    do {
        out[0] = 42.0f;
        wrap_fail_allocation(++n);
        attn_status status =
            attn_sdpa(NULL, 1, 4, 4, 200, 300, 16, 16, 0, in[0], in[1], in[2], out);
        const long live = wrap_live();
        allocations = wrap_allocations();
        wrap_fail_allocation(0);
        assert_int_equal(live, 0);
        if (status == ATTN_OK) {
            assert_memory_equal(out, right, sizeof right);
        } else {
            expect_refusal(status, ATTN_ERR_NO_MEMORY, "memory");
            assert_true(out[0] == 42.0f);
            refusals++;
        }
        assert_true(n < 100);
    } while (allocations >= n);
    assert_true(refusals >= 1);
}

/* Without threads, or with fewer than asked for, the bits are the same. */
static void threads_that_cannot_be_created(void **state) {
    (void)state;
    struct test_call all;
    call_open(&all, text, ALL_OUTPUTS);
    wrap_fail_threads_from(0);
    call_run(&all);
    const long asked = wrap_threads();
    assert_true(asked >= 1 && asked <= 3);
    for (long n = 1; n <= asked; n++) {
        struct test_call fewer;
        call_open(&fewer, text, ALL_OUTPUTS);
        wrap_fail_threads_from(n);
        call_run(&fewer);
        call_run(&fewer);
        wrap_fail_threads_from(0);
        assert_true(call_same(&all, &fewer));
        call_close(&fewer);
    }
    call_close(&all);
}

/* A small problem wakes nobody. */
static void small_problems_start_no_thread(void **state) {
    (void)state;
    struct test_call call;
    call_open(&call, "q8 k8 d8 threads=4", ALL_OUTPUTS);
    wrap_fail_threads_from(0);
    call_run(&call);
    assert_int_equal(wrap_threads(), 0);
    call_close(&call);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(objects, setup, teardown),
        cmocka_unit_test(one_call),
        cmocka_unit_test(threads_that_cannot_be_created),
        cmocka_unit_test(small_problems_start_no_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
