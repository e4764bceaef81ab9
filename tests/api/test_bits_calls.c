/*
 * Bitwise laws about how a call is made: threads, whose threads, outputs asked for,
 * bounds of the plan and workspace never change a bit.
 */
#include <pthread.h>
#include <stdlib.h>

#include "tests/support/call.h"
#include "tests/support/compose.h"
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

/* ----------------------------------------------- the application's own threads */

struct piece {
    attn_task *task;
    void *argument;
    int32_t index;
};

struct loops {
    int32_t calls, most;
};

static void *run_piece(void *user) {
    struct piece *piece = user;
    piece->task(piece->argument, piece->index);
    return NULL;
}

/* A thread for each index, in descending order. */
static void threads_backwards(void *user, int32_t count, attn_task *task,
                              void *argument) {
    struct loops *loops = user;
    struct piece piece[64];
    pthread_t thread[64];
    loops->calls++;
    loops->most = count > loops->most ? count : loops->most;
    assert_true(count >= 1 && count <= 64);
    for (int32_t i = count - 1; i >= 0; i--) {
        piece[i] = (struct piece){task, argument, i};
        assert_int_equal(pthread_create(&thread[i], NULL, run_piece, &piece[i]), 0);
    }
    for (int32_t i = 0; i < count; i++) {
        pthread_join(thread[i], NULL);
    }
}

/* All on the calling thread, the last index first: no task may wait for another. */
static void serial_backwards(void *user, int32_t count, attn_task *task,
                             void *argument) {
    struct loops *loops = user;
    loops->calls++;
    loops->most = count > loops->most ? count : loops->most;
    for (int32_t i = count - 1; i >= 0; i--) {
        task(argument, i);
    }
}

static void parallel_for_of_the_application(void **state) {
    (void)state;
    attn_parallel_for *const runners[] = {threads_backwards, serial_backwards};
    int32_t calls = 0, most = 0;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_call own;
        call_open(&own, texts[t], ALL_OUTPUTS);
        for (size_t r = 0; r < COUNT_OF(runners); r++) {
            struct test_call borrowed;
            struct loops loops = {0, 0};
            attn_context *context = run_context(&own.inputs.problem);
            assert_int_equal(attn_context_set_threads(context, 5), ATTN_OK);
            assert_int_equal(attn_context_set_parallel_for(context, runners[r], &loops),
                             ATTN_OK);
            call_open_on(&borrowed, context, &own.inputs.problem, DATA_RANDOM,
                         ALL_OUTPUTS);
            call_need_same(&own, &borrowed);
            assert_true(loops.most <= 5);
            calls += loops.calls;
            most = loops.most > most ? loops.most : most;
            call_close(&borrowed);
            attn_context_destroy(context);
        }
        call_close(&own);
    }
    assert_true(calls > 0);
    assert_true(most > 1);
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
