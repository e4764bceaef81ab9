/*
 * Calls of attn_merge() with data of their own, and an oracle: the formulas in
 * attn/merge.h in float64, with the errors that the header allows.
 */
#ifndef TEST_MERGE_H
#define TEST_MERGE_H

#include "tests/support/random.h"
#include "tests/support/test.h"

struct merge_problem {
    int32_t count;
    int64_t batch, heads, rows, dim;
    double spread; /* numbers lse are up to about twice that size; 0: all are 0 */
    int empty;     /* of 100 rows of a state so many are, with poison in out */
    int plain;     /* contiguous; else gaps, either order of heads and rows, and inputs
                      that repeat */
    uint64_t seed;
};

struct merge_call {
    struct merge_problem problem;
    attn_tensor *outs, *lses; /* `count` each */
    const attn_tensor **out_list, **lse_list;
    attn_tensor out, lse;
    void **block;
    /* what merge_expect() found, by the number of an element */
    double *out_value, *out_error, *lse_value, *lse_error;
};

/* Problem number n of an endless list. */
struct merge_problem merge_compose(uint64_t number);

/* Makes the data; outputs and all gaps are NaN. */
void merge_open(struct merge_call *call, const struct merge_problem *problem);
void merge_close(struct merge_call *call);

/* Makes one row of a state empty, and NaN, infinite and huge what nobody looks at. */
void merge_make_empty(struct merge_call *call, int32_t state, int64_t row);

/* Computes what is right for the inputs as they are now. */
void merge_expect(struct merge_call *call);

/* Runs the call, which must succeed. */
void merge_run(const struct merge_call *call, attn_context *context);

/* Fails the test unless the outputs are as merge_expect() found. */
void merge_check(const struct merge_call *call);

/* All three. Besides, nothing may be written but the elements of the outputs. */
void merge_run_and_check(struct merge_call *call, attn_context *context);

/* Fails the test unless two tensors, in whatever strides, have the same bits. */
void merge_need_same(const attn_tensor *a, const attn_tensor *b);

/* A context of so many threads. */
attn_context *merge_context(int32_t threads);

/* ----------------------------------------------------------------------- oracle */

/* A number and how far off what a float32 library computes for it may be. */
struct merge_number {
    double value, error;
};

/* lse of n states, which may be off themselves. */
struct merge_number merge_lse(int32_t n, const struct merge_number *lse);

/* An element of out, from those of the states; NaN if an lse is not a number or
 * +infinity. Not for elements that are infinite or NaN in a state that is not empty. */
struct merge_number merge_out(int32_t n, const struct merge_number *lse,
                              const struct merge_number *out);

#endif
