/*
 * Calls from inside the OpenMP regions of an application, flat and nested, and loops of
 * a context that are regions: all calls end, and give the bits of the same calls made
 * one after another outside. Threads are counted where /proc does it: a context of n
 * starts n - 1, however many call, and BLAS starts none, since products of attention
 * are small enough for the thread that asks (attn/common.h).
 */
#include "tests/support/test.h"

#ifndef _OPENMP
#include <stdio.h>

int main(void) {
    printf("skipped: built without OpenMP\n");
    return EXIT_SKIPPED;
}
#else
#include <limits.h>
#include <omp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/backward.h"
#include "tests/support/check.h"
#include "tests/support/run.h"

enum { TEAM = 4, INNER = 2, SEQUENCES = 9, ROUNDS = 8, SECONDS = 240 };

static const char text[] = "h4/2 q330 k330 d64 causal bias sinks dropout=0.1";

/* A sequence has a length of its own, and a call forward and one backward. */
static struct sequence {
    struct test_backward call, right;
    void *workspace;
    attn_status status;
} sequences[SEQUENCES];

static int idle;                /* threads of this process while no context has any */
static atomic_int most_threads; /* seen inside of a call */

/* 0 where it cannot be found out. The folder has a link for each thread, and two. */
static int count_threads(void) {
    struct stat status;
    return stat("/proc/self/task", &status) == 0 && status.st_nlink > 2
               ? (int)status.st_nlink - 2
               : 0;
}

static void sleep_milliseconds(long milliseconds) {
    const struct timespec time = {0, milliseconds * 1000000};
    nanosleep(&time, NULL);
}

/* A thread that has ended may be counted a moment longer. */
static void need_threads(int count) {
    for (int n = 0; n < 1000 && idle > 0 && count_threads() != count; n++) {
        sleep_milliseconds(10);
    }
    if (idle > 0) {
        assert_int_equal(count_threads(), count);
    }
}

/* The should_stop of all calls: looks from whatever thread works on one. */
static int32_t look(void *user) {
    (void)user;
    const int count = count_threads();
    int most = atomic_load(&most_threads);
    while (count > most && !atomic_compare_exchange_weak(&most_threads, &most, count)) {
    }
    return 0;
}

/* Nothing of CMocka here: its failures belong to the main thread. */
static attn_status step(const attn_plan *plan, struct test_backward *call) {
    outputs_reset(&call->forward.outputs);
    outputs_reset(&call->gradients);
    const attn_status status = attn_plan_forward(plan, &call->forward.args);
    return status == ATTN_OK ? attn_plan_backward(plan, &call->args) : status;
}

static void work(const attn_plan *plan, struct sequence *sequence) {
    sequence->status = step(plan, &sequence->call);
}

static void in_a_row(const attn_plan *plan) {
    for (int n = 0; n < SEQUENCES; n++) {
        work(plan, &sequences[n]);
    }
}

static void in_a_region(const attn_plan *plan) {
#pragma omp parallel for num_threads(TEAM) schedule(dynamic)
    for (int n = 0; n < SEQUENCES; n++) {
        work(plan, &sequences[n]);
    }
}

static void in_nested_regions(const attn_plan *plan) {
#pragma omp parallel for num_threads(TEAM)
    for (int first = 0; first < TEAM; first++) {
#pragma omp parallel for num_threads(INNER) schedule(dynamic)
        for (int n = first; n < SEQUENCES; n += TEAM) {
            work(plan, &sequences[n]);
        }
    }
}

/* Runs all sequences on a plan of theirs, inside of which there are so many threads. */
static void need_right(void (*run)(const attn_plan *plan), const attn_plan *plan,
                       int least, int most) {
    atomic_store(&most_threads, 0);
    run(plan);
    for (int n = 0; n < SEQUENCES; n++) {
        const struct test_backward *call = &sequences[n].call;
        const struct test_backward *right = &sequences[n].right;
        assert_int_equal(sequences[n].status, ATTN_OK);
        assert_true(outputs_all_same(&call->forward.outputs, &right->forward.outputs));
        assert_true(outputs_all_same(&call->gradients, &right->gradients));
    }
    if (idle > 0) {
        assert_in_range(atomic_load(&most_threads), least, most);
    }
}

/* A plan for all sequences, and workspace for each. */
static attn_plan *open_plan(int32_t threads, attn_parallel_for *loop) {
    struct test_problem problem = run_parse(text);
    problem.threads = threads;
    attn_context *context = run_context(&problem);
    assert_int_equal(attn_context_set_parallel_for(context, loop, NULL), ATTN_OK);
    attn_plan *plan = run_plan(context, &problem);
    attn_context_destroy(context);
    const size_t forward = attn_plan_workspace_size(plan);
    const size_t backward = attn_plan_backward_workspace_size(plan);
    for (int n = 0; n < SEQUENCES; n++) {
        struct sequence *sequence = &sequences[n];
        free(sequence->workspace);
        sequence->workspace = aligned_alloc(64, forward + backward);
        assert_non_null(sequence->workspace);
        sequence->call.forward.args.workspace = sequence->workspace;
        sequence->call.forward.args.workspace_size = (int64_t)forward;
        sequence->call.args.workspace = (char *)sequence->workspace + forward;
        sequence->call.args.workspace_size = (int64_t)backward;
    }
    return plan;
}

/* The threads of a context come with the first call and stay as long as its plan. */
static void regions(void **state) {
    (void)state;
    for (int32_t threads = 1; threads <= 3; threads++) {
        attn_plan *plan = open_plan(threads, NULL);
        const int count = idle + threads - 1;
        need_threads(idle);
        for (int round = 0; round < ROUNDS; round++) {
            need_right(in_a_region, plan, count, count);
        }
        need_right(in_a_row, plan, count, count);
        omp_set_max_active_levels(2);
        need_right(in_nested_regions, plan, count + 1, count + TEAM * (INNER - 1));
        need_threads(count);
        need_right(in_a_region, plan, count, count);
        omp_set_max_active_levels(1);
        need_right(in_nested_regions, plan, count, count);
        attn_plan_destroy(plan);
        need_threads(idle);
    }
}

static void loop(void *user, int32_t count, attn_task *task, void *argument) {
    (void)user;
#pragma omp parallel for num_threads(TEAM) schedule(dynamic)
    for (int32_t i = 0; i < count; i++) {
        task(argument, i);
    }
}

/* A context that takes its threads from OpenMP starts none. */
static void loops_of_openmp(void **state) {
    (void)state;
    attn_plan *plan = open_plan(TEAM, loop);
    for (int round = 0; round < ROUNDS; round++) {
        need_right(in_a_row, plan, idle, idle);
        need_right(in_a_region, plan, idle, idle);
    }
    omp_set_max_active_levels(2);
    /* Each loop has a team, some of it still there when the next one comes. */
    need_right(in_a_region, plan, idle + 1, INT_MAX);
    omp_set_max_active_levels(1);
    need_threads(idle);
    attn_plan_destroy(plan);
}

/* Threads of the process before the library works: the first, and its team. OpenBLAS
 * starts some when it is loaded, which could do a large product unseen; a fork ends
 * them, and such a product would have to start them again. */
static int count_idle(void) {
    const pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    sleep_milliseconds(100);
    int team = 0;
#pragma omp parallel num_threads(TEAM)
#pragma omp single
    team = omp_get_num_threads();
    assert_int_equal(team, TEAM);
    return count_threads();
}

static void open_call(struct test_backward *call, attn_context *context, int n) {
    struct test_problem problem = run_parse(text);
    problem.q_length = problem.kv_length -= 30 * n;
    problem.seed = (uint64_t)n;
    backward_open_on(call, context, &problem, DATA_RANDOM, ALL_INCOMING, ALL_GRADIENTS);
    run_args(&call->forward.args, &call->forward.inputs, &call->forward.outputs);
}

/* What is right: the same calls one after another, on one thread. */
static int open_sequences(void **state) {
    (void)state;
    struct test_problem problem = run_parse(text);
    problem.threads = 1;
    idle = count_idle();
    if (idle == 0) {
        print_message("/proc does not count threads here\n");
    }
    attn_context *context = run_context(&problem);
    attn_plan *plan = run_plan(context, &problem);
    for (int n = 0; n < SEQUENCES; n++) {
        struct sequence *sequence = &sequences[n];
        open_call(&sequence->right, context, n);
        open_call(&sequence->call, context, n);
        assert_int_equal(step(plan, &sequence->right), ATTN_OK);
        sequence->call.forward.args.should_stop = look;
        sequence->call.args.should_stop = look;
    }
    const struct test_backward *longest = &sequences[0].right;
    assert_int_equal(check_outputs(&longest->forward.inputs, &longest->forward.outputs),
                     0);
    assert_int_equal(backward_check(longest), 0);
    attn_plan_destroy(plan);
    attn_context_destroy(context);
    return 0;
}

static int close_sequences(void **state) {
    (void)state;
    for (int n = 0; n < SEQUENCES; n++) {
        backward_close(&sequences[n].call);
        backward_close(&sequences[n].right);
        free(sequences[n].workspace);
    }
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regions),
        cmocka_unit_test(loops_of_openmp),
    };
    alarm(SECONDS); /* who waits for ever ends by a signal */
    omp_set_dynamic(0);
    omp_set_max_active_levels(1);
    /* A team of BLAS would be a larger one, and show. */
    omp_set_num_threads(2 * TEAM);
    return cmocka_run_group_tests(tests, open_sequences, close_sequences);
}
#endif
