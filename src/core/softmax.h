/*
 * The softmax normaliser: its state for a tile of rows from the first score to the
 * finished output. Order of use: start, any number of steps (each before the values of
 * its keys are added), finish.
 */
#ifndef ATTN_CORE_SOFTMAX_H
#define ATTN_CORE_SOFTMAX_H

#include "core/call.h"
#include "kernel/kernel.h"

struct softmax {
    int rows, dim;
    bool begun;     /* a step was made */
    float *maximum; /* largest score so far; -inf: none */
    float *sum;     /* of exp(score - maximum) */
    float *values;  /* rows x dim: weighted sums of values */
    float *factor;  /* scratch of a step; 1 / sum after finish, 0 for an empty row */
};

/* Starts without a score; the sums of values are left as they are. */
void attn_softmax_open(struct softmax *softmax);

/* The sums of values are 0. */
void attn_softmax_clear(struct softmax *softmax);

/* Both. */
void attn_softmax_start(struct softmax *softmax);

/*
 * A step: turns rows x n scores into weights relative to the new maximum. True if the
 * values of earlier steps must be multiplied by the factors before theirs are added.
 */
bool attn_softmax_weigh(struct softmax *softmax, const struct kernels *kernels,
                        float *scores, int64_t ld, int n, float *factor);
void attn_softmax_rescale(struct softmax *softmax, const struct kernels *kernels,
                          const float *factor);

/* Takes in the sums of other keys, and leaves those of the part undefined. */
void attn_softmax_merge(struct softmax *softmax, struct softmax *part,
                        const struct kernels *kernels);

/*
 * Calls for the rows of out that will be finished before long: else writing them would
 * have to wait for the memory that they lie in.
 */
void attn_softmax_expect(const struct softmax *softmax, const struct head *head,
                         int64_t row);

/*
 * A finish in two parts, for sums of values that are divided where they are made:
 * without sinks, sets the factors and writes lse, row_max and row_sum from this row on.
 */
void attn_softmax_divide(struct softmax *softmax, const struct head *head, int64_t row);

/* Writes sums of values that are divided already to out, which is no float32. */
void attn_softmax_narrow(const struct softmax *softmax, const struct kernels *kernels,
                         const struct head *head, int64_t row);

/* Takes in the sink and writes out, lse, row_max and row_sum from this row on. */
void attn_softmax_finish(struct softmax *softmax, const struct kernels *kernels,
                         const struct head *head, int64_t row);

/* Of that, lse, row_max and row_sum alone, where the call asks for them. */
void attn_softmax_write_rows(const struct softmax *softmax, const struct head *head,
                             int64_t row);

/* Writes rows [row, end) as rows with nothing to attend to. */
void attn_softmax_empty_rows(const struct head *head, int64_t row, int64_t end);

#endif
