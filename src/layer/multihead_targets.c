/*
 * Targets (XLNet's query stream, Yang et al. 2019): rows of input that stand for some
 * of the queries, each at its own place among all.
 */
#include <string.h>

#include "layer/multihead_parts.h"

struct move {
    const struct multihead_call *call;
    struct sequences all; /* a row for each query */
    float *rows;          /* one for each target */
    int64_t n;
    bool scatter;
};

/* All rows of a batch element, since rows may share a target. */
static void scatter(const struct move *move, int64_t b) {
    const struct multihead_call *call = move->call;
    for (int64_t q = 0; q < call->q_length; q++) {
        memset(sequence_row(&move->all, b, q), 0, (size_t)move->n * sizeof(float));
    }
    for (int64_t t = 0; t < call->rows; t++) {
        float *to = sequence_row(&move->all, b, integer_at(&call->targets, b, t));
        call->linear.kernels->add_columns(
            to, move->rows + (b * call->rows + t) * move->n, move->n, 1, (int)move->n);
    }
}

static void gather(const struct move *move, int64_t b) {
    const struct multihead_call *call = move->call;
    for (int64_t t = 0; t < call->rows; t++) {
        memcpy(move->rows + (b * call->rows + t) * move->n,
               sequence_row(&move->all, b, integer_at(&call->targets, b, t)),
               (size_t)move->n * sizeof(float));
    }
}

/* Batch elements stand for rows here. */
static void move_task(const void *argument, int64_t unused, int64_t b, int64_t end) {
    const struct move *move = argument;
    (void)unused;
    for (; b < end; b++) {
        if (move->scatter) {
            scatter(move, b);
        } else {
            gather(move, b);
        }
    }
}

static void run(const struct move *move) {
    const struct multihead_call *call = move->call;
    attn_rows_run(call->linear.context, (struct size){1, call->batch},
                  (call->q_length + 2 * call->rows) * move->n, move_task, move);
}

void attn_multihead_scatter(const struct multihead_call *call,
                            const struct sequences *to, const float *from, int64_t n) {
    const struct move move = {call, *to, (float *)(uintptr_t)from, n, true};
    run(&move);
}

void attn_multihead_gather(const struct multihead_call *call, float *to,
                           const struct sequences *from, int64_t n) {
    const struct move move = {call, *from, to, n, false};
    run(&move);
}
