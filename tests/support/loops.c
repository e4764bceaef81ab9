/*
 * Loops in descending order.
 */
#include "tests/support/loops.h"

#include <pthread.h>

#include "tests/support/run.h"

enum { MOST_THREADS = 64 };

struct piece {
    attn_task *task;
    void *argument;
    int32_t index;
};

static void note(struct loops *loops, int32_t count) {
    loops->calls++;
    loops->most = count > loops->most ? count : loops->most;
}

static void *run_piece(void *user) {
    struct piece *piece = user;
    piece->task(piece->argument, piece->index);
    return NULL;
}

void loops_on_threads(void *user, int32_t count, attn_task *task, void *argument) {
    struct piece piece[MOST_THREADS];
    pthread_t thread[MOST_THREADS];
    note(user, count);
    assert_true(count >= 1 && count <= MOST_THREADS);
    for (int32_t i = count - 1; i >= 0; i--) {
        piece[i] = (struct piece){task, argument, i};
        assert_int_equal(pthread_create(&thread[i], NULL, run_piece, &piece[i]), 0);
    }
    for (int32_t i = 0; i < count; i++) {
        pthread_join(thread[i], NULL);
    }
}

void loops_on_caller(void *user, int32_t count, attn_task *task, void *argument) {
    note(user, count);
    for (int32_t i = count - 1; i >= 0; i--) {
        task(argument, i);
    }
}

attn_context *loops_context(const struct test_problem *problem, int32_t threads,
                            attn_parallel_for *loop, struct loops *loops) {
    attn_context *context = run_context(problem);
    assert_int_equal(attn_context_set_threads(context, threads), ATTN_OK);
    assert_int_equal(attn_context_set_parallel_for(context, loop, loops), ATTN_OK);
    return context;
}
