/*
 * Sequences of rows, and work on them that goes row by row: shared out to threads, with
 * the same result however it is.
 */
#ifndef ATTN_LAYER_ROWS_H
#define ATTN_LAYER_ROWS_H

#include "base/arith.h"
#include "exec/context.h"
#include "kernel/kernel.h"

/* (batch, rows, features) of floats; features are next to each other. */
struct sequences {
    float *data; /* NULL: not there */
    int64_t batch_stride, row_stride;
};

/* How many. */
struct size {
    int64_t batch, rows;
};

static inline float *sequence_row(const struct sequences *sequences, int64_t b,
                                  int64_t row) {
    return sequences->data + b * sequences->batch_stride + row * sequences->row_stride;
}

/* Rows one after the other, of this many features. */
static inline struct sequences sequences_at(float *data, struct size size,
                                            int64_t features) {
    return (struct sequences){data, size.rows * features, features};
}

/* The same where rows of the same number, of all batch elements, follow each other. */
static inline struct sequences sequences_across(float *data, struct size size,
                                                int64_t features) {
    return (struct sequences){data, features, size.batch * features};
}

/* The same shifted by so many features. */
static inline struct sequences sequences_from(struct sequences sequences,
                                              int64_t feature) {
    sequences.data += feature;
    return sequences;
}

/* True if row r of batch element b follows the row before by the same stride, also from
 * one batch element to the next. */
static inline bool sequences_even(const struct sequences *sequences, struct size size) {
    return size.batch <= 1 || size.rows == 0 ||
           sequences->batch_stride == size.rows * sequences->row_stride;
}

/* True if the batch elements of a row follow each other by the same stride, also from
 * one row to the next. */
static inline bool sequences_even_across(const struct sequences *sequences,
                                         struct size size) {
    return size.batch > 1 && size.rows > 1 &&
           sequences->row_stride == size.batch * sequences->batch_stride;
}

/* Work on rows [row, end) of batch element b. */
typedef void rows_task(const void *argument, int64_t b, int64_t row, int64_t end);

/* Runs task over all rows. cost: floats that it reads and writes for a row. */
void attn_rows_run(struct attn_context *context, struct size size, int64_t cost,
                   rows_task *task, const void *argument);

/* to = from for rows of n features. */
void attn_rows_copy(struct attn_context *context, struct size size,
                    const struct sequences *to, const struct sequences *from,
                    int64_t n);

/* to += from. */
void attn_rows_add(struct attn_context *context, const struct kernels *kernels,
                   struct size size, const struct sequences *to,
                   const struct sequences *from, int64_t n);

/* total[c] += the sum over all rows, in an order that only their number decides. */
void attn_rows_sum(struct attn_context *context, const struct kernels *kernels,
                   struct size size, float *total, const struct sequences *from,
                   int64_t n);

#endif
