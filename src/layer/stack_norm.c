/*
 * The norms of a stack. Rows are shared out to threads; the gradients of gain and
 * shift, which are sums over all rows, are made of a fixed number of parts.
 */
#include <string.h>

#include "layer/stack.h"

enum { PARTS_OF_ROWS = 16 };

struct norm {
    const struct kernels *kernels;
    struct sequences to, from;
    int n;
    float epsilon;
    const float *gain, *shift;
    float *mean, *inverse; /* mean NULL: of squares alone */
    int64_t rows;          /* of a batch element */
};

static float *value_of(const struct parameter *parameter) {
    return parameter != NULL ? parameter_vector(&parameter->value) : NULL;
}

static float *gradient_of(const struct parameter *parameter) {
    return parameter != NULL ? parameter_vector(&parameter->gradient) : NULL;
}

static void norm_task(const void *argument, int64_t b, int64_t row, int64_t end) {
    const struct norm *norm = argument;
    const int64_t at = b * norm->rows + row;
    norm->kernels->norm(sequence_row(&norm->to, b, row), norm->to.row_stride,
                        sequence_row(&norm->from, b, row), norm->from.row_stride,
                        (int)(end - row), norm->n, norm->epsilon, norm->gain,
                        norm->shift, norm->mean != NULL ? norm->mean + at : NULL,
                        norm->inverse + at);
}

void attn_stack_norm(const struct stack_call *stack, const struct sequences *to,
                     const float *from, const struct parameter *gain,
                     const struct parameter *shift, float *mean, float *inverse) {
    const struct attn_layer *layer = stack->layer;
    const int64_t n = layer->self.facts.embed_dim;
    const struct norm norm = {
        .kernels = stack->call->linear.kernels,
        .to = *to,
        .from = sequences_at((float *)(uintptr_t)from, stack->size, n),
        .n = (int)n,
        .epsilon = (float)layer->stack.epsilon,
        .gain = value_of(gain),
        .shift = value_of(shift),
        .mean = layer->stack.norm == ATTN_NORM_RMS ? NULL : mean,
        .inverse = inverse,
        .rows = stack->size.rows,
    };
    attn_rows_run(layer->context, stack->size, 4 * n, norm_task, &norm);
}

int64_t attn_stack_norm_parts(int64_t embed_dim) {
    return (int64_t)2 * PARTS_OF_ROWS * embed_dim;
}

struct norm_gradient {
    const struct kernels *kernels;
    float *grad_from;
    const float *grad_to, *from;
    int64_t n, rows; /* rows of a part */
    int64_t all;
    const float *gain, *mean, *inverse;
    bool accumulate;
    float *gains, *shifts; /* a row for each part; NULL: not asked for */
};

static void gradient_task(const void *argument, int64_t b, int64_t part, int64_t end) {
    const struct norm_gradient *g = argument;
    const int64_t n = g->n;
    (void)b;
    for (; part < end; part++) {
        const int64_t row = min_i64(g->all, part * g->rows);
        const int64_t count = min_i64(g->all - row, g->rows);
        const int64_t at = row * n;
        float *gains = g->gains != NULL ? g->gains + part * n : NULL;
        float *shifts = g->shifts != NULL ? g->shifts + part * n : NULL;
        if (gains != NULL) {
            memset(gains, 0, (size_t)n * sizeof *gains);
        }
        if (shifts != NULL) {
            memset(shifts, 0, (size_t)n * sizeof *shifts);
        }
        g->kernels->norm_gradient(g->grad_from + at, n, g->grad_to + at, n,
                                  g->from + at, n, (int)count, (int)n, g->gain,
                                  g->mean != NULL ? g->mean + row : NULL,
                                  g->inverse + row, g->accumulate, gains, shifts);
    }
}

void attn_stack_norm_gradient(const struct stack_call *stack, float *grad_from,
                              const float *grad_to, const float *from,
                              const struct parameter *gain,
                              const struct parameter *shift, const float *mean,
                              const float *inverse, bool accumulate, float *parts) {
    const struct attn_layer *layer = stack->layer;
    const struct kernels *kernels = stack->call->linear.kernels;
    const int64_t n = layer->self.facts.embed_dim;
    const int64_t all = stack->size.batch * stack->size.rows;
    float *grad_gain = gradient_of(gain), *grad_shift = gradient_of(shift);
    const struct norm_gradient gradient = {
        .kernels = kernels,
        .grad_from = grad_from,
        .grad_to = grad_to,
        .from = from,
        .n = n,
        .rows = max_i64(1, ceil_div(all, PARTS_OF_ROWS)),
        .all = all,
        .gain = value_of(gain),
        .mean = layer->stack.norm == ATTN_NORM_RMS ? NULL : mean,
        .inverse = inverse,
        .accumulate = accumulate,
        .gains = grad_gain != NULL ? parts : NULL,
        .shifts = grad_shift != NULL ? parts + PARTS_OF_ROWS * n : NULL,
    };
    attn_rows_run(layer->context, (struct size){1, PARTS_OF_ROWS},
                  5 * n * gradient.rows, gradient_task, &gradient);
    if (grad_gain != NULL) {
        kernels->add_columns(grad_gain, gradient.gains, n, PARTS_OF_ROWS, (int)n);
    }
    if (grad_shift != NULL) {
        kernels->add_columns(grad_shift, gradient.shifts, n, PARTS_OF_ROWS, (int)n);
    }
}
