/*
 * The state of a tile of rows in the backward pass: what its weights are made of, delta
 * (see engine/backward_tile.c), and the gradient of its queries.
 */
#include <math.h>
#include <string.h>

#include "engine/backward.h"

/*
 * From the row's maximum and sum, or its LSE, to what weights are made of. A row that
 * attends nothing gets a maximum that makes every weight 0, whatever the scores.
 */
static void start_row(const struct rows_state *rows, int r) {
    const struct head *head = rows->head;
    const struct call *call = head->call;
    const int64_t i = rows->row + r;
    float maximum, sum = 1.0f;
    if (call->row_max.data != NULL && call->row_sum.data != NULL) {
        maximum = *view_at(&call->row_max, head->b, head->h, i, 0);
        sum = *view_at(&call->row_sum, head->b, head->h, i, 0);
    } else {
        maximum = *view_at(&call->lse, head->b, head->h, i, 0);
    }
    const bool empty = sum == 0.0f || maximum == -INFINITY;
    rows->maximum[r] = empty ? INFINITY : maximum;
    rows->factor[r] = empty ? 0.0f : 1.0f / sum;
    rows->delta[r] = 0.0f;
    if (call->grad_lse.data != NULL && !empty) {
        rows->delta[r] = -*view_at(&call->grad_lse, head->b, head->h, i, 0);
    }
}

void attn_backward_start_rows(const struct work *work, const struct rows_state *rows) {
    const struct head *head = rows->head;
    const struct call *call = head->call;
    for (int r = 0; r < rows->count; r++) {
        start_row(rows, r);
    }
    if (head->grad_out != NULL) {
        /* out is 0 where a row attends nothing: there grad_out may be NaN */
        work->tools->kernels->dot_rows(
            rows->delta, view_at(&call->out, head->b, head->h, rows->row, 0),
            call->out.stride[ROW], head->grad_out + rows->row * head->grad_out_stride,
            head->grad_out_stride, rows->count, head->problem->value_dim);
    }
    memset(rows->grad_query, 0,
           (size_t)rows->count * (size_t)head->problem->key_dim * sizeof(float));
}

void attn_backward_add_sink(const struct rows_state *rows) {
    const struct head *head = rows->head;
    float sum = 0.0f;
    for (int r = 0; r < rows->count; r++) {
        /* a row without even a sink has factor 0; one of an infinite sink, delta 0 */
        if (rows->factor[r] != 0.0f && rows->delta[r] != 0.0f) {
            sum +=
                expf(head->sink - rows->maximum[r]) * rows->factor[r] * rows->delta[r];
        }
    }
    *view_at(&head->call->grad_sinks, head->b, head->h, 0, 0) -= sum;
}

void attn_backward_write_query(const struct rows_state *rows) {
    const struct head *head = rows->head;
    const struct call *call = head->call;
    const int64_t dim = head->problem->key_dim;
    for (int64_t r = 0; r < rows->count; r++) {
        const float *from = rows->grad_query + r * dim;
        float *to = view_at(&call->grad_query, head->b, head->h, rows->row + r, 0);
        for (int64_t c = 0; c < dim; c++) {
            to[c] = call->accumulate ? to[c] + from[c] : from[c];
        }
    }
}
