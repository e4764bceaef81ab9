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

void attn_softmax_start(struct softmax *softmax) {
    softmax->begun = false;
    for (int r = 0; r < softmax->rows; r++) {
        softmax->maximum[r] = -INFINITY;
        softmax->sum[r] = 0.0f;
    }
    memset(softmax->values, 0,
           (size_t)softmax->rows * (size_t)softmax->dim * sizeof *softmax->values);
}

void attn_softmax_step(struct softmax *softmax, const struct kernels *kernels,
                       float *scores, int64_t ld, int n) {
    bool moved = kernels->softmax(scores, ld, softmax->rows, n, softmax->maximum,
                                  softmax->sum, softmax->factor);
    if (moved && softmax->begun) {
        kernels->scale(softmax->values, softmax->dim, softmax->values, softmax->dim,
                       softmax->rows, softmax->dim, softmax->factor);
    }
    softmax->begun = true;
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
    const float shift = top == -INFINITY ? 0.0f : top;
    const float rescale = expf(maximum - shift);
    softmax->sum[r] = softmax->sum[r] * rescale + expf(sink - shift);
    softmax->maximum[r] = top;
    return rescale;
}

static void write_row(const struct head *head, int64_t row, float maximum, float sum) {
    const struct call *call = head->call;
    if (call->lse.data != NULL) {
        *view_at(&call->lse, head->b, head->h, row, 0) = maximum + logf(sum);
    }
    if (call->row_max.data != NULL) {
        *view_at(&call->row_max, head->b, head->h, row, 0) = isnan(sum) ? sum : maximum;
    }
    if (call->row_sum.data != NULL) {
        *view_at(&call->row_sum, head->b, head->h, row, 0) = sum;
    }
}

void attn_softmax_finish(struct softmax *softmax, const struct kernels *kernels,
                         const struct head *head, int64_t row) {
    const struct view *out = &head->call->out;
    for (int r = 0; r < softmax->rows; r++) {
        float rescale = 1.0f;
        if (head->problem->sinks) {
            rescale = add_sink(softmax, r, head->sink);
        }
        const float sum = softmax->sum[r];
        softmax->factor[r] = sum == 0.0f ? 0.0f : rescale / sum;
        write_row(head, row + r, softmax->maximum[r], sum);
    }
    kernels->scale(view_at(out, head->b, head->h, row, 0), out->stride[ROW],
                   softmax->values, softmax->dim, softmax->rows, softmax->dim,
                   softmax->factor);
    if (head->problem->sinks) {
        for (int r = 0; r < softmax->rows; r++) {
            const float sum = softmax->sum[r];
            softmax->factor[r] = sum == 0.0f ? 0.0f : 1.0f / sum;
        }
    }
}

void attn_softmax_empty_rows(const struct head *head, int64_t row, int64_t end) {
    const struct view *out = &head->call->out;
    const size_t bytes = (size_t)head->problem->value_dim * sizeof(float);
    const bool sink = head->problem->sinks && head->sink != -INFINITY;
    for (int64_t i = row; i < end; i++) {
        memset(view_at(out, head->b, head->h, i, 0), 0, bytes);
        write_row(head, i, sink ? head->sink : -INFINITY, sink ? 1.0f : 0.0f);
    }
}
