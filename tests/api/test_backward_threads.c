/*
 * Threads of the application that make forward and backward calls at once, on one plan:
 * the bits are those of one thread alone.
 */
#include <pthread.h>
#include <string.h>

#include "tests/support/backward.h"
#include "tests/support/run.h"

enum { THREADS = 6, ROUNDS = 8 };

static const char text[] = "b2 h4/2 q200 k300 d32 causal bias sinks dropout=0.1 seed=1";

struct worker {
    pthread_t thread;
    struct test_backward call; /* on a plan that others use too */
    int is_forward;
    const struct test_outputs *right;
    attn_status status;
    int different;
    pthread_barrier_t *start;
};

/* Bytes that differ; nothing of CMocka here, its failures belong to the main thread. */
static int differences(const struct test_outputs *a, const struct test_outputs *b) {
    int different = 0;
    for (int o = 0; o < SLOTS; o++) {
        different += a->block[o] != NULL && b->block[o] != NULL &&
                     memcmp(a->block[o], b->block[o],
                            (size_t)a->elements[o] * sizeof(float)) != 0;
    }
    return different;
}

static void *run_rounds(void *user) {
    struct worker *worker = user;
    struct test_backward *call = &worker->call;
    struct test_outputs *outputs =
        worker->is_forward ? &call->forward.outputs : &call->gradients;
    pthread_barrier_wait(worker->start);
    for (int round = 0; round < ROUNDS; round++) {
        outputs_reset(outputs);
        attn_status status =
            worker->is_forward
                ? attn_plan_forward(call->forward.plan, &call->forward.args)
                : attn_plan_backward(call->forward.plan, &call->args);
        worker->status = worker->status == ATTN_OK ? status : worker->status;
        worker->different += differences(outputs, worker->right);
    }
    return NULL;
}

static void one_plan_for_all(void **state) {
    (void)state;
    static struct worker workers[THREADS];
    struct test_backward right;
    pthread_barrier_t start;
    struct test_problem problem = run_parse(text);
    problem.threads = 1;
    backward_open_on(&right, NULL, &problem, DATA_RANDOM, ONLY_OF_OUT, ALL_GRADIENTS);
    backward_run(&right);
    assert_int_equal(backward_check(&right), 0);
    problem.threads = 3;
    attn_context *context = run_context(&problem);
    attn_plan *plan = run_plan(context, &problem);
    assert_int_equal(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (int n = 0; n < THREADS; n++) {
        struct worker *worker = &workers[n];
        struct test_call *forward = &worker->call.forward;
        worker->is_forward = n % 2;
        worker->right = n % 2 ? &right.forward.outputs : &right.gradients;
        worker->start = &start;
        backward_open_on(&worker->call, context, &problem, DATA_RANDOM, ONLY_OF_OUT,
                         ALL_GRADIENTS);
        attn_plan_destroy(forward->plan);
        forward->plan = plan;
        if (worker->is_forward) {
            run_args(&forward->args, &forward->inputs, &forward->outputs);
        }
    }
    for (int n = 0; n < THREADS; n++) {
        assert_int_equal(
            pthread_create(&workers[n].thread, NULL, run_rounds, &workers[n]), 0);
    }
    for (int n = 0; n < THREADS; n++) {
        assert_int_equal(pthread_join(workers[n].thread, NULL), 0);
        assert_int_equal(workers[n].status, ATTN_OK);
        assert_int_equal(workers[n].different, 0);
        workers[n].call.forward.plan = NULL;
        backward_close(&workers[n].call);
    }
    pthread_barrier_destroy(&start);
    attn_plan_destroy(plan);
    backward_close(&right);
    attn_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_plan_for_all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
