/*
 * Products of rows with a parameter, forwards and backwards: each one large product
 * where the strides allow it.
 */
#ifndef ATTN_LAYER_LINEAR_H
#define ATTN_LAYER_LINEAR_H

#include "layer/linear_tiles.h"
#include "layer/rows.h"

/* What all products of a call have in common. */
struct linear {
    struct attn_context *context;
    const struct kernels *kernels;
    bool reproducible; /* by kernels of our own */
    float *memory; /* attn_linear_tiled_floats() for each thread; of a call: that of its
                      multihead_call, for products between attention */
};

/* (outputs, inputs), row after row or, transposed, column after column. */
struct weight {
    float *data; /* NULL: not there */
    int64_t ld;
    bool transposed;
    struct factor packed; /* its transpose once more, for products forwards; data NULL:
                             not there */
};

/* The weight of outputs from this one on. */
static inline struct weight weight_from(struct weight weight, int64_t output) {
    weight.data += weight.transposed ? output : output * weight.ld;
    struct factor *packed = &weight.packed;
    if (packed->data != NULL) {
        const bool whole = output % packed->columns == 0;
        packed->data =
            whole ? packed->data + output / packed->columns * packed->step : NULL;
    }
    return weight;
}

/* y = x W^T + b, or y += with add; b NULL: none. x has `inputs` features, y `outputs`.
 */
void attn_linear(const struct linear *linear, struct size size,
                 const struct sequences *y, const struct sequences *x,
                 struct weight weight, const float *bias, int64_t outputs,
                 int64_t inputs, bool add);

/* How so many rows are multiplied with a weight, in words. */
const char *attn_linear_words(const struct linear *linear, struct weight weight,
                              int64_t outputs, int64_t inputs, int rows);

/* grad_x = grad_y W, or += with add. */
void attn_linear_input(const struct linear *linear, struct size size,
                       const struct sequences *grad_x, const struct sequences *grad_y,
                       struct weight weight, int64_t outputs, int64_t inputs, bool add);

/* grad_W += grad_y^T x and grad_b += sum of grad_y, each if it is there. */
void attn_linear_parameters(const struct linear *linear, struct size size,
                            struct weight grad_weight, float *grad_bias,
                            const struct sequences *grad_y, const struct sequences *x,
                            int64_t outputs, int64_t inputs);

#endif
