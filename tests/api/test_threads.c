/*
 * Many threads of the application at once, on one plan and on one context, whose pool
 * can serve one of them at a time: the bits are those of one thread alone.
 */
#include <pthread.h>
#include <string.h>

#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/run.h"

enum { THREADS = 6, ROUNDS = 8 };

static const char *const texts[] = {
    "b2 h4/2 q200 k300 d64 causal threads=3 seed=1",
    "h2 q300 k400 d32 window=30,30 threads=3 seed=2",
    "b2 h2 q100 k700 d16 kvlens sinks bias threads=3 seed=3",
    "h4/1 q2 k20000 d64 causal align=br threads=3 seed=4"};

/* Threads share the keys of the last one if it has no outputs for pairs. */
static unsigned wanted(int t) {
    return t == (int)COUNT_OF(texts) - 1 ? ONLY_OUT : ALL_OUTPUTS;
}

struct worker {
    pthread_t thread;
    struct test_call *call; /* its own outputs, a plan that others use too */
    const struct test_call *right;
    attn_status status;
    int different;
    pthread_barrier_t *start;
};

/* Nothing of CMocka here: its failures belong to the main thread. */
static void *run_rounds(void *user) {
    struct worker *worker = user;
    pthread_barrier_wait(worker->start);
    for (int round = 0; round < ROUNDS; round++) {
        outputs_reset(&worker->call->outputs);
        attn_status status = attn_plan_forward(worker->call->plan, &worker->call->args);
        worker->status = worker->status == ATTN_OK ? status : worker->status;
        for (int o = 0; o < OUTPUTS; o++) {
            worker->different +=
                worker->right->outputs.elements[o] > 0 &&
                memcmp(worker->call->outputs.block[o], worker->right->outputs.block[o],
                       (size_t)worker->right->outputs.elements[o] * sizeof(float)) != 0;
        }
    }
    return NULL;
}

/* Thread n makes calls[n]. */
static void run_at_once(struct test_call *calls, const struct test_call *right) {
    struct worker workers[THREADS];
    pthread_barrier_t start;
    assert_int_equal(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (int n = 0; n < THREADS; n++) {
        workers[n] = (struct worker){.call = &calls[n],
                                     .right = &right[n % (int)COUNT_OF(texts)],
                                     .start = &start};
        assert_int_equal(
            pthread_create(&workers[n].thread, NULL, run_rounds, &workers[n]), 0);
    }
    for (int n = 0; n < THREADS; n++) {
        assert_int_equal(pthread_join(workers[n].thread, NULL), 0);
        assert_int_equal(workers[n].status, ATTN_OK);
        assert_int_equal(workers[n].different, 0);
    }
    pthread_barrier_destroy(&start);
}

static void open_right(struct test_call *right) {
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_problem problem = run_parse(texts[t]);
        problem.threads = 1;
        call_open_on(&right[t], NULL, &problem, DATA_RANDOM, wanted((int)t));
        call_run(&right[t]);
        assert_int_equal(check_outputs(&right[t].inputs, &right[t].outputs), 0);
    }
}

static void close_calls(struct test_call *calls, size_t count) {
    for (size_t n = 0; n < count; n++) {
        call_close(&calls[n]);
    }
}

static void many_plans_on_one_context(void **state) {
    (void)state;
    struct test_call right[COUNT_OF(texts)], calls[THREADS];
    struct test_problem problem = run_parse(texts[0]);
    attn_context *context = run_context(&problem);
    open_right(right);
    for (int n = 0; n < THREADS; n++) {
        const int t = n % (int)COUNT_OF(texts);
        problem = run_parse(texts[t]);
        call_open_on(&calls[n], context, &problem, DATA_RANDOM, wanted(t));
    }
    run_at_once(calls, right);
    close_calls(calls, THREADS);
    close_calls(right, COUNT_OF(texts));
    attn_context_destroy(context);
}

static void one_plan_for_all(void **state) {
    (void)state;
    struct test_call right[COUNT_OF(texts)], calls[THREADS];
    struct test_problem problem = run_parse(texts[0]);
    attn_context *context = run_context(&problem);
    open_right(right);
    for (int n = 0; n < THREADS; n++) {
        call_open_on(&calls[n], context, &problem, DATA_RANDOM, ALL_OUTPUTS);
        if (n > 0) {
            attn_plan_destroy(calls[n].plan);
            calls[n].plan = calls[0].plan;
        }
    }
    struct test_call same[COUNT_OF(texts)] = {right[0], right[0], right[0], right[0]};
    run_at_once(calls, same);
    for (int n = 1; n < THREADS; n++) {
        calls[n].plan = NULL;
    }
    close_calls(calls, THREADS);
    close_calls(right, COUNT_OF(texts));
    attn_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_plans_on_one_context),
        cmocka_unit_test(one_plan_for_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
