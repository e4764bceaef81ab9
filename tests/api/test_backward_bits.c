/*
 * Bitwise laws about how a backward call is made: threads, whose threads, bounds of the
 * plan, workspace and what an earlier call left behind never change a bit.
 */
#include <string.h>

#include "tests/support/backward.h"
#include "tests/support/compose.h"
#include "tests/support/guard.h"
#include "tests/support/loops.h"
#include "tests/support/run.h"

/* Long rows and many, few heads and many, and shared gradients, so that work is split
 * in every way there is. With weights or key sums among what comes in it is split in
 * other ways than without. */
static const unsigned incoming[] = {ONLY_OF_OUT, ALL_INCOMING};

static const char *const texts[] = {
    "b3 h4/2 q200 k300 d32 causal align=br seed=1",
    "h2 q600 k500 d16 window=100,0 seed=2",
    "b2 h8/1 q70 k300 d24 dropout=0.2 seed=3",
    "b4 h2 q90 k150 d16 docs kvlens qlens mask bias sinks seed=4",
    "b2 h4/1 q130 k90 d40 alibi sinks softcap=4 seed=5",
    "q3 k4000 d16 bias alibi seed=6",
    "b5 h8 q10 k30 d16 layout=bshd bias seed=7",
    "b2 h3 q150 k140 d8 alibi bias sinks seed=15",
    "q1500 k20 d8 bias alibi sinks seed=9",
    "b2 h4/2 q200 k300 d16 relkeys ubias vbias relbias=32,128 bidir softcap=5 seed=10",
    "b3 h3 q150 k200 d8 segments ranks=upto relkeys vbias causal align=br seed=11",
    "h4 q130 k150 d8 relkeys segments ubias relbias=9,30 dropout=0.2 seed=13",
    "h2 q3 k3000 d8 relkeys relbias=32,128 align=br segments seed=12"};

static void number_of_threads(void **state) {
    (void)state;
    for (size_t n = 0; n < 2 * COUNT_OF(texts); n++) {
        struct test_problem problem = run_parse(texts[n / 2]);
        unsigned given = incoming[n % 2];
        struct test_backward one, many;
        problem.threads = 1;
        backward_open_on(&one, NULL, &problem, DATA_RANDOM, given, ALL_GRADIENTS);
        for (problem.threads = 2; problem.threads <= 5; problem.threads++) {
            backward_open_on(&many, NULL, &problem, DATA_RANDOM, given, ALL_GRADIENTS);
            backward_need_same(&one, &many);
            backward_close(&many);
        }
        backward_close(&one);
    }
}

static void random_problems(void **state) {
    (void)state;
    for (uint64_t number = 6000; number < 6080; number += TEST_SHARE) {
        int data;
        struct test_backward one, many;
        struct test_problem problem = compose_differentiable(number, &data);
        unsigned given = number % 2 ? ALL_INCOMING : ONLY_OF_OUT;
        problem.threads = 1;
        backward_open_on(&one, NULL, &problem, data, given, ALL_GRADIENTS);
        problem.threads = 4;
        backward_open_on(&many, NULL, &problem, data, given, ALL_GRADIENTS);
        backward_need_same(&one, &many);
        backward_close(&one);
        backward_close(&many);
    }
}

static void parallel_for_of_the_application(void **state) {
    (void)state;
    attn_parallel_for *const runners[] = {loops_on_threads, loops_on_caller};
    struct loops loops = {0, 0};
    int calls = 0;
    for (size_t n = 0; n < COUNT_OF(texts) * 4; n++) {
        struct test_problem problem = run_parse(texts[n / 4]);
        unsigned given = incoming[n / 2 % 2];
        struct test_backward own, borrowed;
        attn_context *context = loops_context(&problem, 5, runners[n % 2], &loops);
        backward_open_on(&own, NULL, &problem, DATA_RANDOM, given, ALL_GRADIENTS);
        backward_open_on(&borrowed, context, &problem, DATA_RANDOM, given,
                         ALL_GRADIENTS);
        loops.calls = 0; /* of the forward call */
        backward_need_same(&own, &borrowed);
        assert_true(loops.most <= 5);
        calls += loops.calls;
        backward_close(&own);
        backward_close(&borrowed);
        attn_context_destroy(context);
    }
    assert_true(calls > (int)COUNT_OF(texts) && loops.most > 1);
}

static void bounds_of_the_plan(void **state) {
    (void)state;
    for (size_t n = 0; n < 2 * COUNT_OF(texts); n++) {
        struct test_backward tight, wide;
        backward_open(&tight, texts[n / 2], incoming[n % 2], ALL_GRADIENTS);
        backward_open(&wide, texts[n / 2], incoming[n % 2], ALL_GRADIENTS);
        attn_bounds bounds = {sizeof bounds, 50, 100000, 100000};
        attn_desc *desc = run_desc(&wide.forward.inputs.problem);
        attn_plan_destroy(wide.forward.plan);
        run_need(
            attn_plan_create(&wide.forward.plan, wide.forward.context, desc, &bounds),
            &wide.forward.inputs.problem, "attn_plan_create");
        attn_desc_destroy(desc);
        backward_need_same(&tight, &wide);
        backward_close(&tight);
        backward_close(&wide);
    }
}

/* The second call finds what the first left behind in workspace and gradients. */
static void calls_again(void **state) {
    (void)state;
    for (size_t n = 0; n < 2 * COUNT_OF(texts); n++) {
        struct test_backward first, second;
        backward_open(&first, texts[n / 2], incoming[n % 2], ALL_GRADIENTS);
        backward_open(&second, texts[n / 2], incoming[n % 2], ALL_GRADIENTS);
        backward_run(&second);
        backward_need_same(&first, &second);
        backward_close(&first);
        backward_close(&second);
    }
}

/* -------------------------------------------------------- the caller's workspace */

/* Exactly as many bytes as asked for, beside pages that cannot be touched. */
static void compare_workspace(const struct test_problem *problem, int data, int fill) {
    struct test_backward borrowed, guarded;
    struct guard guard;
    unsigned given = incoming[fill % 2];
    backward_open_on(&borrowed, NULL, problem, data, given, ALL_GRADIENTS);
    backward_open_on(&guarded, NULL, problem, data, given, ALL_GRADIENTS);
    size_t bytes = attn_plan_backward_workspace_size(guarded.forward.plan);
    assert_true(bytes > 0 && bytes % 64 == 0);
    void *memory = fill % 2 ? guard_before(&guard, bytes) : guard_after(&guard, bytes);
    memset(memory, fill, bytes);
    guarded.args.workspace = memory;
    guarded.args.workspace_size = (int64_t)bytes;
    backward_need_same(&borrowed, &guarded);
    guard_free(&guard);
    backward_close(&borrowed);
    backward_close(&guarded);
}

static void workspace_of_the_caller(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_problem problem = run_parse(texts[t]);
        compare_workspace(&problem, DATA_RANDOM, 0xff);
        compare_workspace(&problem, DATA_RANDOM, 0x7e);
    }
    for (uint64_t number = 7000; number < 7040; number += TEST_SHARE) {
        int data;
        struct test_problem problem = compose_differentiable(number, &data);
        compare_workspace(&problem, data, number % 2 ? 0xff : 0x7e);
    }
}

static size_t size_of(const char *text) {
    struct test_problem problem = run_parse(text);
    attn_context *context = run_context(&problem);
    attn_plan *plan = run_plan(context, &problem);
    size_t bytes = attn_plan_backward_workspace_size(plan);
    attn_plan_destroy(plan);
    attn_context_destroy(context);
    return bytes;
}

/* Threads times tile: neither length nor batch nor heads. */
static void size_is_bounded(void **state) {
    (void)state;
    assert_int_equal(attn_plan_backward_workspace_size(NULL), 0);
    size_t large =
        size_of("b4 h8 q131072 k131072 d128 threads=1 bias sinks dropout=0.1");
    assert_true(large > 0 && large < 16 << 20);
    assert_int_equal(
        size_of("b4 h8 q1048576 k1048576 d128 threads=1 bias sinks dropout=0.1"),
        large);
    assert_int_equal(
        size_of("b4 h8 q131072 k131072 d128 threads=8 bias sinks dropout=0.1"),
        8 * large);
    assert_int_equal(
        size_of("b4000 h80/8 q131072 k131072 d128 threads=1 bias sinks dropout=0.1"),
        large);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(number_of_threads),
        cmocka_unit_test(random_problems),
        cmocka_unit_test(parallel_for_of_the_application),
        cmocka_unit_test(bounds_of_the_plan),
        cmocka_unit_test(calls_again),
        cmocka_unit_test(workspace_of_the_caller),
        cmocka_unit_test(size_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
