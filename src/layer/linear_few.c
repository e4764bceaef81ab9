/*
 * Products of a few rows with a parameter: packing the parameter, as BLAS does for
 * large products, takes longer than what follows. Its small-matrix kernels take it as
 * it lies; where there are none, kernels of our own do, for rows so few that reading
 * the parameter is the work. Threads share its outputs.
 */
#include "layer/linear_few.h"

#include <stdatomic.h>

#include "base/arith.h"
#include "exec/blas.h"

/* Without small-matrix kernels up to so many rows, and numbers of them: those stay in
 * the nearest cache beside the parameter's. */
enum { ROWS_MOST = 8, NUMBERS_MOST = 8192 };

/* Outputs that a thread takes at a time. */
enum { OUTPUTS = 128 };

/* With small-matrix kernels: from so many rows on, packing is worth its time, for them
 * or for a faster kernel of ours; outputs that a thread takes at a time, which with
 * DEPTH inputs stay in its own cache. */
enum { ROWS_WORTH_PACKING = 128, ROWS_WORTH_PACKING_OWN = 40, OUTPUTS_SMALL = 64 };

/*
 * Inputs that a small product sums over, and its rows: up to twice as many, less one,
 * if they are the last. Longer sums read a transposed b along its rows, and the others
 * would wait for more pages than processors keep track of.
 */
enum { DEPTH_TRANSPOSED = 1024, DEPTH = 192 };
enum { ROWS_TRANSPOSED = 4, ROWS = 8 };

typedef void run_outputs(const struct linear_product *product, int64_t output, int n);

struct job {
    const struct linear_product *product;
    run_outputs *run;
    int outputs; /* at a time */
    int64_t pieces;
    atomic_llong next;
};

bool attn_linear_is_few(const struct linear_product *product) {
    if (product->transpose_a) {
        return false;
    }
    if (attn_blas()->small_kernels) {
        return product->m < (attn_product_own_is_faster(product->kernels)
                                 ? ROWS_WORTH_PACKING_OWN
                                 : ROWS_WORTH_PACKING);
    }
    return product->kernels->width > 1 && product->transpose_b &&
           product->m <= ROWS_MOST && (int64_t)product->m * product->k <= NUMBERS_MOST;
}

const char *attn_linear_few_words(void) {
    return attn_blas()->small_kernels
               ? "small-matrix kernels of BLAS, the weight as it lies"
               : "kernels of our own that read the weight once, as it lies";
}

/* c = a b^T, or c += a b^T, for up to ROWS_MOST rows and OUTPUTS columns. */
static void multiply_few(const struct linear_product *p, int rows, int n, int k,
                         const float *a, const float *b, bool add, float *c) {
    float products[ROWS_MOST * OUTPUTS];
    p->kernels->few_scores(ATTN_F32, rows, n, k, 1.0f, a, p->lda, b, p->ldb,
                           add ? products : c, add ? OUTPUTS : p->ldc);
    if (add) {
        p->kernels->add_bias(c, p->ldc, rows, n, products, OUTPUTS, 1);
    }
}

/* By kernels of our own, for which b is transposed. */
static void run_own(const struct linear_product *p, int64_t output, int n) {
    const bool add = linear_product_start(p, 0, p->m, output, n);
    multiply_few(p, p->m, n, p->k, p->a, p->b + output * p->ldb, add, p->c + output);
}

/*
 * One of the products that a sum of products is made of. Those with one row or column
 * are not for BLAS, which may hand them on to kernels with other rules for threads.
 */
static void multiply(const struct linear_product *p, int rows, int n, int k,
                     const float *a, const float *b, bool add, float *c) {
    if (rows > 1 && n > 1) {
        attn_blas_product(rows, n, k, 1.0f, a, (int)p->lda, false, b, (int)p->ldb,
                          p->transpose_b, add, c, (int)p->ldc);
    } else if (p->transpose_b && n > 1) {
        multiply_few(p, rows, n, k, a, b, add, c);
    } else {
        const float one = 1.0f;
        p->kernels->product(rows, n, k, &one, 0, a, p->lda, 1, b,
                            p->transpose_b ? 1 : p->ldb, add, c, p->ldc);
    }
}

/* By small products. */
static void run_small(const struct linear_product *p, int64_t output, int n) {
    const bool add = linear_product_start(p, 0, p->m, output, n);
    const int64_t most = p->transpose_b ? ROWS_TRANSPOSED : ROWS;
    const int depth = p->transpose_b ? DEPTH_TRANSPOSED : DEPTH;
    const int64_t output_b = p->transpose_b ? p->ldb : 1,
                  input_b = p->transpose_b ? 1 : p->ldb;
    for (int64_t l = 0; l < p->k; l += depth) {
        const float *b = p->b + output * output_b + l * input_b;
        int rows;
        for (int64_t r = 0; r < p->m; r += rows) {
            rows = (int)(p->m - r < 2 * most ? p->m - r : most);
            multiply(p, rows, n, (int)min_i64(depth, p->k - l), p->a + r * p->lda + l,
                     b, add || l > 0, p->c + r * p->ldc + output);
        }
    }
}

static void run_task(void *argument, int32_t index) {
    struct job *job = argument;
    const struct linear_product *p = job->product;
    long long i;
    (void)index;
    while ((i = atomic_fetch_add(&job->next, 1)) < job->pieces) {
        const int64_t output = i * job->outputs;
        job->run(p, output, (int)min_i64(job->outputs, p->n - output));
    }
}

/* Threads that have something to do. */
static int32_t threads_worth(const struct attn_context *context,
                             const struct linear_product *p, int64_t pieces) {
    const struct blas *blas = attn_blas();
    if (blas->small_kernels && blas->one_at_a_time) {
        return 1;
    }
    return (int32_t)min_i64(linear_product_threads(p, context), pieces);
}

void attn_linear_few(struct attn_context *context,
                     const struct linear_product *product) {
    const bool small = attn_blas()->small_kernels;
    struct job job = {
        .product = product,
        .run = small ? run_small : run_own,
        .outputs = small ? OUTPUTS_SMALL : OUTPUTS,
    };
    job.pieces = ceil_div(product->n, job.outputs);
    atomic_init(&job.next, 0);
    attn_context_run(context, threads_worth(context, product, job.pieces), run_task,
                     &job);
}
