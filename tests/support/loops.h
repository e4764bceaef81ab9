/*
 * Threads of an application: functions for attn_context_set_parallel_for() that do what
 * its contract allows and nobody expects.
 */
#ifndef TEST_LOOPS_H
#define TEST_LOOPS_H

#include "tests/support/test.h"

/* What the functions below note; their user argument. */
struct loops {
    int32_t calls, most; /* loops asked for; the largest number of tasks of one */
};

/* A thread for each index, in descending order. */
void loops_on_threads(void *user, int32_t count, attn_task *task, void *argument);

/* All on the calling thread, the last index first: no task may wait for another. */
void loops_on_caller(void *user, int32_t count, attn_task *task, void *argument);

/* A context for a problem that runs on one of these, with so many tasks at most. */
attn_context *loops_context(const struct test_problem *problem, int32_t threads,
                            attn_parallel_for *loop, struct loops *loops);

#endif
