/*
 * Products of a few rows with a parameter, for which reading the parameter is the work:
 * BLAS without kernels for small matrices packs it first, which takes several times as
 * long. Threads share its outputs.
 */
#include "layer/linear_few.h"

#include <stdatomic.h>

#include "base/arith.h"
#include "exec/blas.h"

/* Up to so many rows, and numbers of them: those stay in the nearest cache beside the
 * parameter's. */
enum { ROWS_MOST = 8, NUMBERS_MOST = 8192 };

/* Outputs that a thread takes at a time. */
enum { OUTPUTS = 128 };

/* A thread is woken for this many numbers of the parameter: 1.5 MB, some 50 us. */
enum { NUMBERS_OF_A_THREAD = 375 * 1000 };

struct job {
    const struct linear_product *product;
    int64_t pieces;
    atomic_llong next;
};

bool attn_linear_is_few(const struct linear_product *product) {
    return !attn_blas()->small_kernels && product->kernels->width > 1 &&
           product->transpose_b && !product->transpose_a && product->m <= ROWS_MOST &&
           (int64_t)product->m * product->k <= NUMBERS_MOST;
}

static void run_piece(const struct linear_product *p, int64_t output) {
    const int n = (int)min_i64(OUTPUTS, p->n - output);
    const float *weight = p->b + output * p->ldb;
    float *y = p->c + output;
    float products[ROWS_MOST * OUTPUTS];
    p->kernels->few_scores(ATTN_F32, p->m, n, p->k, 1.0f, p->a, p->lda, weight, p->ldb,
                           p->add ? products : y, p->add ? OUTPUTS : p->ldc);
    if (p->add) {
        p->kernels->add_bias(y, p->ldc, p->m, n, products, OUTPUTS, 1);
    }
}

static void run_task(void *argument, int32_t index) {
    struct job *job = argument;
    long long i;
    (void)index;
    while ((i = atomic_fetch_add(&job->next, 1)) < job->pieces) {
        run_piece(job->product, i * OUTPUTS);
    }
}

void attn_linear_few(struct attn_context *context,
                     const struct linear_product *product) {
    struct job job = {.product = product, .pieces = ceil_div(product->n, OUTPUTS)};
    atomic_init(&job.next, 0);
    const int64_t worth = (int64_t)product->n * product->k / NUMBERS_OF_A_THREAD;
    const int64_t most = min_i64(context->threads, job.pieces);
    attn_context_run(context, (int32_t)max_i64(1, min_i64(worth, most)), run_task,
                     &job);
}
