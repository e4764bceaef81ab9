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
    const struct few_product *product;
    int64_t pieces;
    atomic_llong next;
};

bool attn_linear_is_few(const struct few_product *product) {
    return !attn_blas()->small_kernels && product->kernels->width > 1 &&
           product->rows <= ROWS_MOST &&
           product->rows * product->inputs <= NUMBERS_MOST;
}

static void run_piece(const struct few_product *p, int64_t output) {
    const int n = (int)min_i64(OUTPUTS, p->outputs - output);
    const float *weight = p->weight + output * p->ld_weight;
    float *y = p->y + output;
    float products[ROWS_MOST * OUTPUTS];
    p->kernels->few_scores(ATTN_F32, p->rows, n, (int)p->inputs, 1.0f, p->x, p->ld_x,
                           weight, p->ld_weight, p->add ? products : y,
                           p->add ? OUTPUTS : p->ld_y);
    if (p->add) {
        p->kernels->add_bias(y, p->ld_y, p->rows, n, products, OUTPUTS, 1);
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

void attn_linear_few(struct attn_context *context, const struct few_product *product) {
    struct job job = {.product = product,
                      .pieces = ceil_div(product->outputs, OUTPUTS)};
    atomic_init(&job.next, 0);
    const int64_t worth = product->outputs * product->inputs / NUMBERS_OF_A_THREAD;
    const int64_t most = min_i64(context->threads, job.pieces);
    attn_context_run(context, (int32_t)max_i64(1, min_i64(worth, most)), run_task,
                     &job);
}
