/*
 * Bitwise laws about how a call is made: threads, whose threads, outputs asked for,
 * bounds of the plan and workspace never change a bit.
 */
#include <stdlib.h>

#include "tests/support/call.h"
#include "tests/support/compose.h"
#include "tests/support/loops.h"
#include "tests/support/run.h"

/* Long rows and many, so that work is split in every way there is. */
static const char *const texts[] = {
    "b3 h4/2 q200 k700 d64 causal align=br seed=1",
    "h2 q1000 k1000 d32 window=100,0 seed=2",
    "b2 h8/2 q1 k3000 d64 seed=3",
    "b4 h2 q150 k150 d16 docs kvlens qlens mask bias sinks seed=4",
    "q3 k5000 d128 softcap=20 engine=flash seed=5",
    "b2 h3 q100 k90 d40 alibi engine=dense seed=6",
    "b8 h8 q10 k30 d16 layout=bshd seed=7",
    "b2 h4/2 q200 k300 d24 dropout=0.3 seed=8",
    "b2 h4/2 q200 k300 d24 relkeys ubias vbias relbias=32,128 bidir softcap=5 seed=9",
    "h3 q150 k400 d16 segments ranks=upto relkeys vbias causal align=br seed=10",
    "h2 q3 k3000 d32 relkeys relbias=32,128 align=br segments seed=11",
    "b2 h4/2 q3 k3000 d64 key=i8 value=i8 query=bf16 out=f16 kvlens seed=12",
    "h4/2 q150 k700 d40 key=f16 value=bf16 out=bf16 causal align=br seed=13",
    "b7 h4/2 q200 k700 d24 qpacked kpacked causal align=br seed=14",
    "b5 h4/2 q3 k4000 d64 qpacked kpacked value=i8 sinks align=br seed=15",
    "b2 h4/2 q300 k500 d64 causal align=br seed=16",
    "b9 h2 q400 k900 d40 qpacked kpacked causal seed=17",
    "q510 k510 d24 window=-1,3 seed=18",
};

static void number_of_threads(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_problem problem = run_parse(texts[t]);
        struct test_call one;
        problem.threads = 1;
        call_open_on(&one, NULL, &problem, DATA_RANDOM, ALL_OUTPUTS);
        for (problem.threads = 2; problem.threads <= 9; problem.threads += 3) {
            struct test_call many;
            call_open_on(&many, NULL, &problem, DATA_RANDOM, ALL_OUTPUTS);
            call_need_same(&one, &many);
            call_close(&many);
        }
        call_close(&one);
    }
}

static void outputs_asked_for(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_call all;
        call_open(&all, texts[t], ALL_OUTPUTS);
        for (int o = 0; o < OUTPUTS; o++) {
            struct test_call few;
            call_open(&few, texts[t], ONLY_OUT | 1u << o);
            call_need_same(&few, &all);
            call_close(&few);
        }
        call_close(&all);
    }
}

static void random_problems(void **state) {
    (void)state;
    for (uint64_t number = 5000; number < 5080; number += TEST_SHARE) {
        int data;
        struct test_call one, many;
        struct test_problem problem = compose_problem(number, &data);
        problem.threads = 1;
        call_open_on(&one, NULL, &problem, data, ONLY_OUT);
        problem.threads = 4;
        call_open_on(&many, NULL, &problem, data, ALL_OUTPUTS);
        call_need_same(&one, &many);
        call_close(&one);
        call_close(&many);
    }
}

static void bounds_of_the_plan(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_call tight, wide;
        call_open(&tight, texts[t], ALL_OUTPUTS);
        call_open(&wide, texts[t], ALL_OUTPUTS);
        attn_bounds bounds = {sizeof bounds, 50, 100000, 100000};
        attn_desc *desc = run_desc(&wide.inputs.problem);
        attn_plan_destroy(wide.plan);
        run_need(attn_plan_create(&wide.plan, wide.context, desc, &bounds),
                 &wide.inputs.problem, "attn_plan_create");
        attn_desc_destroy(desc);
        call_need_same(&tight, &wide);
        call_close(&tight);
        call_close(&wide);
    }
}

/* The second call finds what the first left behind in workspace and outputs. */
static void calls_again(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_call first, second;
        call_open(&first, texts[t], ALL_OUTPUTS);
        call_open(&second, texts[t], ALL_OUTPUTS);
        call_run(&second);
        call_need_same(&first, &second);
        call_close(&first);
        call_close(&second);
    }
}

static void parallel_for_of_the_application(void **state) {
    (void)state;
    attn_parallel_for *const runners[] = {loops_on_threads, loops_on_caller};
    struct loops loops = {0, 0};
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_call own;
        call_open(&own, texts[t], ALL_OUTPUTS);
        for (size_t r = 0; r < COUNT_OF(runners); r++) {
            struct test_call borrowed;
            attn_context *context =
                loops_context(&own.inputs.problem, 5, runners[r], &loops);
            call_open_on(&borrowed, context, &own.inputs.problem, DATA_RANDOM,
                         ALL_OUTPUTS);
            call_need_same(&own, &borrowed);
            call_close(&borrowed);
            attn_context_destroy(context);
        }
        call_close(&own);
    }
    assert_true(loops.calls > 0);
    assert_true(loops.most > 1 && loops.most <= 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(number_of_threads),
        cmocka_unit_test(outputs_asked_for),
        cmocka_unit_test(random_problems),
        cmocka_unit_test(bounds_of_the_plan),
        cmocka_unit_test(calls_again),
        cmocka_unit_test(parallel_for_of_the_application),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
