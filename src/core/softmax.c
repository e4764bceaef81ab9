/*
 * The softmax normaliser, online (Milakov and Gimelshein 2018): sums are kept relative
 * to the largest score so far and rescaled when that moves. An empty row is one whose
 * sum is 0 at the end.
 *
 * The sink takes part at the end, as one more score without a value: it may raise the
 * maximum and adds to the sum.
 */
#include "core/softmax.h"

#include <math.h>
#include <string.h>

void attn_softmax_open(struct softmax *softmax) {
    softmax->begun = false;
    for (int r = 0; r < softmax->rows; r++) {
        softmax->maximum[r] = -INFINITY;
        softmax->sum[r] = 0.0f;
    }
}

void attn_softmax_clear(struct softmax *softmax) {
    memset(softmax->values, 0,
           (size_t)softmax->rows * (size_t)softmax->dim * sizeof *softmax->values);
}

void attn_softmax_start(struct softmax *softmax) {
    attn_softmax_open(softmax);
    attn_softmax_clear(softmax);
}

bool attn_softmax_weigh(struct softmax *softmax, const struct kernels *kernels,
                        float *scores, int64_t ld, int n, float *factor) {
    const bool begun = softmax->begun;
    softmax->begun = true;
    return kernels->softmax(scores, ld, softmax->rows, n, softmax->maximum,
                            softmax->sum, factor) &&
           begun;
}

void attn_softmax_rescale(struct softmax *softmax, const struct kernels *kernels,
                          const float *factor) {
    kernels->scale(softmax->values, softmax->dim, softmax->values, softmax->dim,
                   softmax->rows, softmax->dim, factor);
}

/* What sums relative to this maximum are multiplied by to be relative to `top`. */
static float rescale_to(float top, float maximum) {
    return expf(maximum - (top == -INFINITY ? 0.0f : top));
}

void attn_softmax_merge(struct softmax *softmax, struct softmax *part,
                        const struct kernels *kernels) {
    const int rows = softmax->rows, dim = softmax->dim;
    for (int r = 0; r < rows; r++) {
        const float old = softmax->maximum[r], other = part->maximum[r];
        const float top = other > old ? other : old;
        softmax->factor[r] = rescale_to(top, old);
        part->factor[r] = rescale_to(top, other);
        softmax->sum[r] =
            softmax->sum[r] * softmax->factor[r] + part->sum[r] * part->factor[r];
        softmax->maximum[r] = top;
    }
    kernels->scale_add(softmax->values, part->values, dim, rows, dim, softmax->factor,
                       part->factor);
}

/* Adds the sink to row r; returns what the weights so far are to be multiplied by. */
static float add_sink(struct softmax *softmax, int r, float sink) {
    const float maximum = softmax->maximum[r];
    if (softmax->sum[r] == 0.0f) {
        /* an empty row is all sink, whatever that is; -inf is none */
        softmax->maximum[r] = sink;
        softmax->sum[r] = sink == -INFINITY ? 0.0f : 1.0f;
        return 0.0f;
    }
    const float top = sink > maximum ? sink : maximum;
    const float rescale = rescale_to(top, maximum);
    softmax->sum[r] = softmax->sum[r] * rescale + rescale_to(top, sink);
    softmax->maximum[r] = top;
    return rescale;
}

/* True if write_row() has anything to write. */
static bool has_statistics(const struct call *call) {
    return call->lse.data != NULL || call->row_max.data != NULL ||
           call->row_sum.data != NULL;
}

static void write_row(const struct head *head, int64_t row, float maximum, float sum) {
    const struct call *call = head->call;
    if (call->lse.data != NULL) {
        *head_at(head, &call->lse, row) = maximum + logf(sum);
    }
    if (call->row_max.data != NULL) {
        /* of 0 and -0 either may come out as the larger */
        *head_at(head, &call->row_max, row) = isnan(sum) ? sum : maximum + 0.0f;
    }
    if (call->row_sum.data != NULL) {
        *head_at(head, &call->row_sum, row) = sum;
    }
}

void attn_softmax_write_rows(const struct softmax *softmax, const struct head *head,
                             int64_t row) {
    if (has_statistics(head->call)) {
        for (int r = 0; r < softmax->rows; r++) {
            write_row(head, row + r, softmax->maximum[r], softmax->sum[r]);
        }
    }
}

/* Divides factors of rows by their sums; 0 for empty rows. */
static void divide(float *factor, const float *sum, int rows) {
    for (int r = 0; r < rows; r++) {
        const bool empty = sum[r] == 0.0f;
        factor[r] = (empty ? 0.0f : factor[r]) / (empty ? 1.0f : sum[r]);
    }
}

void attn_softmax_narrow(const struct softmax *softmax, const struct kernels *kernels,
                         const struct head *head, int64_t row) {
    const struct view *out = &head->call->out;
    kernels->narrow(out->dtype, head_row(head, out, row), out->stride[ROW],
                    softmax->values, softmax->dim, softmax->rows, softmax->dim);
}

/* Writes rows of out: the sums of values times a factor each. */
static void write_out(const struct softmax *softmax, const struct kernels *kernels,
                      const struct head *head, int64_t row) {
    const struct view *out = &head->call->out;
    const int rows = softmax->rows, dim = softmax->dim;
    if (out->dtype == ATTN_F32) {
        kernels->scale(head_row(head, out, row), out->stride[ROW], softmax->values, dim,
                       rows, dim, softmax->factor);
        return;
    }
    kernels->scale(softmax->values, dim, softmax->values, dim, rows, dim,
                   softmax->factor);
    attn_softmax_narrow(softmax, kernels, head, row);
}

void attn_softmax_expect(const struct softmax *softmax, const struct head *head,
                         int64_t row) {
    enum { LINE = 64, KEYS_WORTH = 64 };
    const struct view *out = &head->call->out;
    if (head->keys < KEYS_WORTH) {
        return; /* they will be finished before the memory answers */
    }
    const int64_t size = source_bytes(out->dtype);
    for (int64_t r = 0; r < softmax->rows; r++) {
        const char *to = head_row(head, out, row + r);
        for (int64_t i = 0; i < softmax->dim * size; i += LINE) {
            __builtin_prefetch(to + i, 1);
        }
    }
}

void attn_softmax_divide(struct softmax *softmax, const struct head *head,
                         int64_t row) {
    for (int r = 0; r < softmax->rows; r++) {
        softmax->factor[r] = 1.0f;
    }
    divide(softmax->factor, softmax->sum, softmax->rows);
    attn_softmax_write_rows(softmax, head, row);
}

void attn_softmax_finish(struct softmax *softmax, const struct kernels *kernels,
                         const struct head *head, int64_t row) {
    const int rows = softmax->rows;
    const bool sinks = head->problem->sinks;
    for (int r = 0; r < rows; r++) {
        softmax->factor[r] = sinks ? add_sink(softmax, r, head->sink) : 1.0f;
    }
    divide(softmax->factor, softmax->sum, rows);
    attn_softmax_write_rows(softmax, head, row);
    write_out(softmax, kernels, head, row);
    if (sinks) {
        for (int r = 0; r < rows; r++) {
            softmax->factor[r] = 1.0f;
        }
        divide(softmax->factor, softmax->sum, rows);
    }
}

void attn_softmax_empty_rows(const struct head *head, int64_t row, int64_t end) {
    const struct view *out = &head->call->out;
    const size_t bytes = (size_t)(head->problem->value_dim * source_bytes(out->dtype));
    const bool sink = head->problem->sinks && head->sink != -INFINITY;
    for (int64_t i = row; i < end; i++) {
        memset(head_row(head, out, i), 0, bytes);
        write_row(head, i, sink ? head->sink : -INFINITY, sink ? 1.0f : 0.0f);
    }
}
