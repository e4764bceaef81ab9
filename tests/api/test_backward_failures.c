/*
 * Backward calls that fail half-way or are stopped: every allocation fails in turn,
 * should_stop says yes at every question; nothing leaks, nothing is written that should
 * not be, and what comes after is as good as before.
 */
#include <stdatomic.h>

#include "tests/support/backward.h"
#include "tests/support/counting.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

static const char *const texts[] = {
    "b2 h4/2 q200 k300 d24 causal threads=4 seed=1",
    "h2 q100 k900 d16 bias mask sinks threads=2 dropout=0.1 seed=2",
    "b3 h2 q20 k30 d8 kvlens qlens docs threads=1 seed=3",
    "q400 k500 d16 alibi threads=3 seed=4"};

/* ---------------------------------------------------------------- allocations */

static attn_context *counting_context(const struct test_problem *problem,
                                      struct counting *counting) {
    attn_context *context = run_context(problem);
    assert_int_equal(attn_context_set_allocator(context, counting_allocate,
                                                counting_release, counting),
                     ATTN_OK);
    return context;
}

/* The forward call is made on a context of its own, so that no workspace is at hand. */
static void every_allocation_fails_in_turn(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_problem problem = run_parse(texts[t]);
        struct test_backward call;
        int refusals = 0, failed = 1;
        backward_open_on(&call, NULL, &problem, DATA_RANDOM, ALL_INCOMING,
                         ALL_GRADIENTS);
        for (long n = 1; failed; n++) {
            struct counting counting = {0};
            attn_context *context = counting_context(&problem, &counting);
            attn_plan *plan = run_plan(context, &problem);
            outputs_reset(&call.gradients);
            counting.fail_at = counting.calls + n;
            attn_status status = attn_plan_backward(plan, &call.args);
            failed = counting.calls >= counting.fail_at;
            if (status != ATTN_OK) {
                expect_refusal(status, ATTN_ERR_NO_MEMORY, "memory");
                assert_true(failed);
                assert_true(outputs_untouched(&call.gradients));
                refusals++;
                assert_int_equal(attn_plan_backward(plan, &call.args), ATTN_OK);
            }
            assert_int_equal(backward_check(&call), 0);
            attn_plan_destroy(plan);
            attn_context_destroy(context);
            assert_int_equal(counting.live, 0);
            assert_int_equal(counting.bytes, 0);
            assert_int_equal(counting.violations, 0);
            assert_true(n < 100);
        }
        /* At least the workspace cannot be done without. */
        assert_true(refusals >= 1);
        backward_close(&call);
    }
}

/* With workspace given, or once borrowed, a call allocates nothing more. */
static void nothing_is_allocated_twice(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_problem problem = run_parse(texts[t]);
        struct counting counting = {0}, other = {0};
        attn_context *context = counting_context(&problem, &counting);
        struct test_backward call;
        backward_open_on(&call, context, &problem, DATA_RANDOM, ALL_INCOMING,
                         ALL_GRADIENTS);
        size_t bytes = attn_plan_backward_workspace_size(call.forward.plan);
        call.args.workspace = counting_allocate(&other, bytes, 64);
        call.args.workspace_size = (int64_t)bytes;
        const long before = counting.calls;
        backward_run(&call);
        /* The first threaded call makes the pool. */
        assert_true(counting.calls - before <= (problem.threads > 1 ? 1 : 0));
        long settled = counting.calls;
        backward_run(&call);
        assert_int_equal(counting.calls, settled);
        counting_release(&other, call.args.workspace);
        call.args.workspace = NULL;
        call.args.workspace_size = 0;
        backward_run(&call);
        settled = counting.calls;
        for (int n = 0; n < 5; n++) {
            backward_run(&call);
        }
        assert_int_equal(counting.calls, settled);
        assert_int_equal(backward_check(&call), 0);
        backward_close(&call);
        attn_context_destroy(context);
        assert_int_equal(counting.live, 0);
    }
}

/* --------------------------------------------------------------- cancellation */

struct stopper {
    atomic_long asked;
    long stop_at; /* the question, counted from 1, that is answered with yes; 0: none */
};

static int32_t should_stop(void *user) {
    struct stopper *stopper = user;
    long asked = atomic_fetch_add(&stopper->asked, 1) + 1;
    /* Any number but 0 means yes. */
    return stopper->stop_at > 0 && asked >= stopper->stop_at ? -7 : 0;
}

/* Once for each tile at the least; asking changes no bit. */
static void asked_often(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_backward asked, plain;
        struct stopper stopper = {.stop_at = 0};
        backward_open(&asked, texts[t], ALL_INCOMING, ALL_GRADIENTS);
        backward_open(&plain, texts[t], ALL_INCOMING, ALL_GRADIENTS);
        asked.args.should_stop = should_stop;
        asked.args.should_stop_user = &stopper;
        backward_need_same(&asked, &plain);
        const struct test_problem *p = &asked.forward.inputs.problem;
        int64_t rows, keys;
        call_tiles(asked.forward.plan, &rows, &keys);
        const int64_t tiles = p->batch * p->q_heads * gen_blocks(p->q_length, rows) *
                              gen_blocks(p->kv_length, keys);
        /* The causal mask leaves out half of the tiles, lengths may leave out all. */
        assert_true(stopper.asked >= (p->kv_lengths ? 0
                                      : p->causal   ? tiles / 2
                                                    : tiles));
        backward_close(&asked);
        backward_close(&plain);
    }
}

static void obeyed_at_every_question(void **state) {
    (void)state;
    const unsigned incoming[] = {ONLY_OF_OUT, ALL_INCOMING};
    for (size_t n = 0; n < COUNT_OF(texts) * 2; n++) {
        struct test_backward call;
        struct stopper stopper = {.stop_at = 0};
        backward_open(&call, texts[n / 2], incoming[n % 2], ALL_GRADIENTS);
        call.args.should_stop = should_stop;
        call.args.should_stop_user = &stopper;
        backward_run(&call);
        const long questions = stopper.asked;
        for (long stop_at = 1; stop_at <= questions; stop_at += 1 + questions / 11) {
            stopper.asked = 0;
            stopper.stop_at = stop_at;
            expect_refusal(attn_plan_backward(call.forward.plan, &call.args),
                           ATTN_ERR_CANCELLED, "should_stop");
            /* Each thread may ask once more, no matter how much work is left. */
            assert_true(stopper.asked <= stop_at + call.forward.inputs.problem.threads);
        }
        /* The plan is as good as before, and writes anew what was left half done. */
        call.args.should_stop = NULL;
        run_need(attn_plan_backward(call.forward.plan, &call.args),
                 &call.forward.inputs.problem, "attn_plan_backward");
        assert_int_equal(backward_check(&call), 0);
        backward_close(&call);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_fails_in_turn),
        cmocka_unit_test(nothing_is_allocated_twice),
        cmocka_unit_test(asked_often),
        cmocka_unit_test(obeyed_at_every_question),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
