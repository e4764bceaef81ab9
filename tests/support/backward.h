/*
 * A backward call of a problem, ready to be made: the forward call, which has been run,
 * the gradients that come in and the memory of those that go out.
 */
#ifndef TEST_BACKWARD_H
#define TEST_BACKWARD_H

#include "tests/support/call.h"
#include "tests/support/incoming.h"

/* What the backward call reads of the forward call. */
enum { STATISTICS = 1 << OUT | 1 << LSE | 1 << ROW_MAX | 1 << ROW_SUM };

struct test_backward {
    struct test_call forward;
    struct test_incoming incoming;
    struct test_outputs gradients;
    attn_backward_args args; /* points into this struct, which must not move */
};

/*
 * Random data, on a context of its own. The seed decides what else is left open:
 * whether the call gets row_max and row_sum, LSE, or all, and whether it gets out where
 * it does not need it.
 */
void backward_open(struct test_backward *call, const char *text, unsigned given,
                   unsigned wanted);

/* As call_open_on(). */
void backward_open_on(struct test_backward *call, attn_context *context,
                      const struct test_problem *problem, int data, unsigned given,
                      unsigned wanted);
void backward_close(struct test_backward *call);

/* Runs the forward call again, after a change of its inputs. */
void backward_forward(struct test_backward *call);

/* Makes the call, on gradients that hold nothing; fails the test unless it succeeds. */
void backward_run(struct test_backward *call);

/* Makes the two calls; fails the test unless all gradients that both have agree. */
void backward_need_same(struct test_backward *a, struct test_backward *b);

/* Compares all gradients with the oracle, as check_outputs() does. Returns the number
 * that are wrong. */
int backward_check(const struct test_backward *call);

/* Makes the data, runs the call and checks it. */
int backward_run_and_check(const struct test_problem *problem, int data, unsigned given,
                           unsigned wanted);

/* The same for everything that a text has. */
int backward_run_text(const char *text, int data);

#endif
