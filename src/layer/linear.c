/*
 * Products of rows with a parameter.
 *
 * Rows of all batch elements that lie at even steps, those of a batch element together
 * or those of a place in the sequence, make one product; otherwise each batch element
 * makes one. BLAS takes its int for the number of rows, which longer calls are cut for.
 * Where the bits of a sequence must not depend on the others, rows are cut at multiples
 * of PANEL within their sequence: BLAS may compute a product of many rows in another
 * way than one of few.
 */
#include "layer/linear.h"

#include "exec/blas.h"
#include "layer/linear_few.h"

/* Rows of a panel of one sequence: enough that packing the weight costs little. */
enum { PANEL = 256 };

/* Rows of one product at the most. */
enum { ROWS_MAX = 1 << 30 };

struct product {
    const struct linear *linear;
    struct weight weight;
    int outputs, inputs;
    bool add;
};

/* A product of `rows` rows from x and y on. */
typedef void product_of_rows(const struct product *product, int rows, float *y,
                             int ld_y, const float *x, int ld_x);

/* Cuts rows into products; y and x are so many features wide. */
static void for_panels(const struct linear *linear, struct size size,
                       const struct sequences *y, int width_y,
                       const struct sequences *x, int width_x, product_of_rows *run,
                       const struct product *product) {
    int64_t most = ROWS_MAX;
    struct sequences across_y = *y, across_x = *x;
    if (size.batch * size.rows > 1 &&
        (x->row_stride < width_x || y->row_stride < width_y)) {
        most = 1; /* rows that share memory, which BLAS does not take */
    } else if (linear->reproducible) {
        most = PANEL;
    } else if (sequences_even(y, size) && sequences_even(x, size)) {
        size = (struct size){min_i64(1, size.batch), size.batch * size.rows};
    } else if (sequences_even_across(y, size) && sequences_even_across(x, size)) {
        size = (struct size){1, size.batch * size.rows};
        across_y.row_stride = y->batch_stride;
        across_x.row_stride = x->batch_stride;
        y = &across_y;
        x = &across_x;
    }
    for (int64_t b = 0; b < size.batch; b++) {
        for (int64_t row = 0; row < size.rows; row += most) {
            run(product, (int)min_i64(most, size.rows - row), sequence_row(y, b, row),
                (int)max_i64(y->row_stride, width_y), sequence_row(x, b, row),
                (int)max_i64(x->row_stride, width_x));
        }
    }
}

static void forward(const struct product *p, int rows, float *y, int ld_y,
                    const float *x, int ld_x) {
    const struct few_product few = {
        .kernels = p->linear->kernels,
        .rows = rows,
        .add = p->add,
        .outputs = p->outputs,
        .inputs = p->inputs,
        .weight = p->weight.data,
        .x = x,
        .y = y,
        .ld_weight = p->weight.ld,
        .ld_x = ld_x,
        .ld_y = ld_y,
    };
    /* how many rows come together is not the sequence's own */
    if (!p->linear->reproducible && !p->weight.transposed && attn_linear_is_few(&few)) {
        attn_linear_few(p->linear->context, &few);
        return;
    }
    attn_blas_large(rows, p->outputs, p->inputs, x, ld_x, false, p->weight.data,
                    (int)p->weight.ld, !p->weight.transposed, p->add, y, ld_y);
}

static void backward(const struct product *p, int rows, float *grad_x, int ld_x,
                     const float *grad_y, int ld_y) {
    attn_blas_large(rows, p->inputs, p->outputs, grad_y, ld_y, false, p->weight.data,
                    (int)p->weight.ld, p->weight.transposed, p->add, grad_x, ld_x);
}

static void gradient(const struct product *p, int rows, float *x, int ld_x,
                     const float *grad_y, int ld_y) {
    if (p->weight.transposed) {
        attn_blas_large(p->inputs, p->outputs, rows, x, ld_x, true, grad_y, ld_y, false,
                        true, p->weight.data, (int)p->weight.ld);
    } else {
        attn_blas_large(p->outputs, p->inputs, rows, grad_y, ld_y, true, x, ld_x, false,
                        true, p->weight.data, (int)p->weight.ld);
    }
}

/* Every row of y is the bias, or gets it added. */
static void start_with_bias(const struct linear *linear, struct size size,
                            const struct sequences *y, const float *bias, int64_t n,
                            bool add) {
    const struct sequences rows = {(float *)(uintptr_t)bias, 0, 0};
    if (add) {
        attn_rows_add(linear->context, linear->kernels, size, y, &rows, n);
    } else {
        attn_rows_copy(linear->context, size, y, &rows, n);
    }
}

void attn_linear(const struct linear *linear, struct size size,
                 const struct sequences *y, const struct sequences *x,
                 struct weight weight, const float *bias, int64_t outputs,
                 int64_t inputs, bool add) {
    if (bias != NULL) {
        start_with_bias(linear, size, y, bias, outputs, add);
    }
    const struct product product = {linear, weight, (int)outputs, (int)inputs,
                                    add || bias != NULL};
    for_panels(linear, size, y, product.outputs, x, product.inputs, forward, &product);
}

void attn_linear_input(const struct linear *linear, struct size size,
                       const struct sequences *grad_x, const struct sequences *grad_y,
                       struct weight weight, int64_t outputs, int64_t inputs,
                       bool add) {
    const struct product product = {linear, weight, (int)outputs, (int)inputs, add};
    for_panels(linear, size, grad_x, product.inputs, grad_y, product.outputs, backward,
               &product);
}

void attn_linear_parameters(const struct linear *linear, struct size size,
                            struct weight grad_weight, float *grad_bias,
                            const struct sequences *grad_y, const struct sequences *x,
                            int64_t outputs, int64_t inputs) {
    if (grad_weight.data != NULL) {
        const struct product product = {linear, grad_weight, (int)outputs, (int)inputs,
                                        true};
        for_panels(linear, size, x, product.inputs, grad_y, product.outputs, gradient,
                   &product);
    }
    if (grad_bias != NULL) {
        attn_rows_sum(linear->context, linear->kernels, size, grad_bias, grad_y,
                      outputs);
    }
}
