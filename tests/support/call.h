/*
 * A call of a problem, ready to be made: data, objects, args. Tests change one thing in
 * it and see what comes of that.
 */
#ifndef TEST_CALL_H
#define TEST_CALL_H

#include "tests/support/gen.h"
#include "tests/support/outputs.h"

struct test_call {
    struct test_inputs inputs;
    struct test_outputs outputs;
    attn_context *context;
    attn_plan *plan;
    attn_forward_args args; /* points into this struct, which must not move */
};

/* Random data, on a context of its own. */
void call_open(struct test_call *call, const char *text, unsigned wanted);

/* With data of a kind, on a context that the caller made and destroys, or NULL. */
void call_open_on(struct test_call *call, attn_context *context,
                  const struct test_problem *problem, int data, unsigned wanted);

void call_close(struct test_call *call);

/* Makes the call, on outputs that hold nothing; fails the test unless it succeeds. */
void call_run(struct test_call *call);

/* Whether all outputs that both have hold the same bits; else prints why not. */
int call_same(const struct test_call *a, const struct test_call *b);

/* Makes the two calls; fails the test unless all outputs that both have agree. */
void call_need_same(struct test_call *a, struct test_call *b);

/* The size of the plan's tiles, which belongs to the BLAS. */
void call_tiles(const attn_plan *plan, int64_t *rows, int64_t *keys);

#endif
