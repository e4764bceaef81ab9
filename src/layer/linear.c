/*
 * Products of rows with a parameter.
 *
 * Rows of all batch elements that lie at even steps, those of a batch element together
 * or those of a place in the sequence, make one product; otherwise each batch element
 * makes one. BLAS takes its int for the number of rows, which longer calls are cut for.
 */
#include "layer/linear.h"

#include <limits.h>

#include "exec/blas.h"
#include "layer/linear_few.h"

/* Rows of one product at the most. */
enum { ROWS_MAX = 1 << 30 };

struct product {
    const struct linear *linear;
    struct weight weight;
    int outputs, inputs;
    const float *bias; /* NULL: none; not with add */
    bool add;
};

/* A product of `rows` rows from x and y on. */
typedef void product_of_rows(const struct product *product, int rows, float *y,
                             int ld_y, const float *x, int ld_x);

/* What BLAS is told of the distance between so many rows. */
static int leading(const struct sequences *sequences, int width, int64_t rows) {
    return rows > 1 ? (int)max_i64(sequences->row_stride, width) : width;
}

/* Cuts rows into products; y and x are so many features wide. */
static void for_panels(struct size size, const struct sequences *y, int width_y,
                       const struct sequences *x, int width_x, product_of_rows *run,
                       const struct product *product) {
    int64_t most = ROWS_MAX;
    struct sequences across_y = *y, across_x = *x;
    if (size.batch * size.rows > 1 &&
        (x->row_stride < width_x || y->row_stride < width_y)) {
        most = 1; /* rows that share memory, which BLAS does not take */
    } else if (sequences_even(y, size) && sequences_even(x, size)) {
        size = (struct size){min_i64(1, size.batch), size.batch * size.rows};
    } else if (sequences_even_across(y, size) && sequences_even_across(x, size)) {
        size = (struct size){1, size.batch * size.rows};
        across_y.row_stride = y->batch_stride;
        across_x.row_stride = x->batch_stride;
        y = &across_y;
        x = &across_x;
    }
    if (max_i64(x->row_stride, y->row_stride) > INT_MAX) {
        most = 1; /* further apart than BLAS takes */
    }
    for (int64_t b = 0; b < size.batch; b++) {
        for (int64_t row = 0; row < size.rows; row += most) {
            const int64_t rows = min_i64(most, size.rows - row);
            run(product, (int)rows, sequence_row(y, b, row), leading(y, width_y, rows),
                sequence_row(x, b, row), leading(x, width_x, rows));
        }
    }
}

/* Puts the bias, if there is one, where the product is then added to. */
static void start_with_bias(const struct linear *linear, struct linear_product *p) {
    if (p->bias != NULL) {
        const struct size rows = {1, p->m};
        const struct sequences y = {p->c, 0, p->ldc},
                               same = {(float *)(uintptr_t)p->bias, 0, 0};
        attn_rows_copy(linear->context, rows, &y, &same, p->n);
        p->bias = NULL;
        p->add = true;
    }
}

static void multiply(const struct linear *linear, struct linear_product product) {
    const struct linear_product *p = &product;
    product.kernels = linear->kernels;
    if (attn_linear_is_tiled(p)) {
        attn_linear_tiled(linear->context, linear->memory, p);
        return;
    }
    if (attn_linear_is_few(p)) {
        attn_linear_few(linear->context, p);
        return;
    }
    start_with_bias(linear, &product);
    attn_blas_large(p->m, p->n, p->k, p->a, (int)p->lda, p->transpose_a, p->b,
                    (int)p->ldb, p->transpose_b, p->add, p->c, (int)p->ldc);
}

/* The product that makes outputs. */
static struct linear_product product_forward(const struct product *p, int rows,
                                             float *y, int ld_y, const float *x,
                                             int ld_x) {
    return (struct linear_product){
        .kernels = p->linear->kernels,
        .m = rows,
        .n = p->outputs,
        .k = p->inputs,
        .a = x,
        .lda = ld_x,
        .b = p->weight.data,
        .ldb = p->weight.ld,
        .transpose_b = !p->weight.transposed,
        .bias = p->bias,
        .add = p->add,
        .own = p->linear->reproducible,
        .packed = p->weight.packed,
        .c = y,
        .ldc = ld_y,
    };
}

static void forward(const struct product *p, int rows, float *y, int ld_y,
                    const float *x, int ld_x) {
    multiply(p->linear, product_forward(p, rows, y, ld_y, x, ld_x));
}

static void backward(const struct product *p, int rows, float *grad_x, int ld_x,
                     const float *grad_y, int ld_y) {
    const struct linear_product product = {
        .m = rows,
        .n = p->inputs,
        .k = p->outputs,
        .a = grad_y,
        .lda = ld_y,
        .b = p->weight.data,
        .ldb = p->weight.ld,
        .transpose_b = p->weight.transposed,
        .add = p->add,
        .own = p->linear->reproducible,
        .c = grad_x,
        .ldc = ld_x,
    };
    multiply(p->linear, product);
}

static void gradient(const struct product *p, int rows, float *x, int ld_x,
                     const float *grad_y, int ld_y) {
    const bool turned = p->weight.transposed;
    const struct linear_product product = {
        .m = turned ? p->inputs : p->outputs,
        .n = turned ? p->outputs : p->inputs,
        .k = rows,
        .a = turned ? x : grad_y,
        .lda = turned ? ld_x : ld_y,
        .transpose_a = true,
        .b = turned ? grad_y : x,
        .ldb = turned ? ld_y : ld_x,
        .add = true,
        .c = p->weight.data,
        .ldc = p->weight.ld,
    };
    multiply(p->linear, product);
}

void attn_linear(const struct linear *linear, struct size size,
                 const struct sequences *y, const struct sequences *x,
                 struct weight weight, const float *bias, int64_t outputs,
                 int64_t inputs, bool add) {
    if (bias != NULL && add) {
        const struct sequences rows = {(float *)(uintptr_t)bias, 0, 0};
        attn_rows_add(linear->context, linear->kernels, size, y, &rows, outputs);
    }
    const struct product product = {
        .linear = linear,
        .weight = weight,
        .outputs = (int)outputs,
        .inputs = (int)inputs,
        .bias = add ? NULL : bias,
        .add = add,
    };
    for_panels(size, y, product.outputs, x, product.inputs, forward, &product);
}

const char *attn_linear_words(const struct linear *linear, struct weight weight,
                              int64_t outputs, int64_t inputs, int rows) {
    const struct product of = {
        .linear = linear,
        .weight = weight,
        .outputs = (int)outputs,
        .inputs = (int)inputs,
    };
    const struct linear_product product =
        product_forward(&of, rows, NULL, of.outputs, NULL, of.inputs);
    return attn_linear_is_tiled(&product) ? attn_linear_tiled_words(&product)
           : attn_linear_is_few(&product)
               ? attn_linear_few_words()
               : "one call of cblas_sgemm, which packs the weight each time";
}

void attn_linear_input(const struct linear *linear, struct size size,
                       const struct sequences *grad_x, const struct sequences *grad_y,
                       struct weight weight, int64_t outputs, int64_t inputs,
                       bool add) {
    const struct product product = {
        .linear = linear,
        .weight = weight,
        .outputs = (int)outputs,
        .inputs = (int)inputs,
        .add = add,
    };
    for_panels(size, grad_x, product.inputs, grad_y, product.outputs, backward,
               &product);
}

void attn_linear_parameters(const struct linear *linear, struct size size,
                            struct weight grad_weight, float *grad_bias,
                            const struct sequences *grad_y, const struct sequences *x,
                            int64_t outputs, int64_t inputs) {
    if (grad_weight.data != NULL) {
        const struct product product = {
            .linear = linear,
            .weight = grad_weight,
            .outputs = (int)outputs,
            .inputs = (int)inputs,
            .add = true,
        };
        for_panels(size, x, product.inputs, grad_y, product.outputs, gradient,
                   &product);
    }
    if (grad_bias != NULL) {
        attn_rows_sum(linear->context, linear->kernels, size, grad_bias, grad_y,
                      outputs);
    }
}
