/*
 * Work by rows. Threads take ranges of rows from a counter; sums over rows are shared
 * out by columns instead, so that each has one owner.
 */
#include "layer/rows.h"

#include <stdatomic.h>
#include <string.h>

/* A thread is woken for this many floats: 1 MiB, some 50 us, several times what waking
 * costs. */
enum { FLOATS_OF_A_THREAD = 256 * 1024 };

/* Ranges for each thread, so that uneven ones even out. */
enum { RANGES_OF_A_THREAD = 4 };

/* Rows of a range at the most: a kernel's count is an int. */
enum { RANGE_ROWS = 1 << 20 };

/* Columns whose sums one range makes, and rows that are summed before they meet the
 * total: sums of sums keep long columns exact. */
enum { SUM_COLUMNS = 256, SUM_ROWS = 128 };

struct job {
    struct size size;
    int64_t rows; /* of a range, within the rows of all batch elements */
    int64_t ranges;
    rows_task *task;
    const void *argument;
    atomic_llong next;
};

static int32_t threads_worth(const struct attn_context *context, double floats) {
    const int32_t threads = context->threads;
    const double worth = floats / FLOATS_OF_A_THREAD;
    return worth < 2.0 ? 1 : worth < threads ? (int32_t)worth : threads;
}

/* Rows [row, end) of all, one batch element after the other. */
static void run_range(const struct job *job, int64_t row, int64_t end) {
    const int64_t rows = job->size.rows;
    while (row < end) {
        const int64_t b = row / rows, first = row % rows;
        const int64_t count = min_i64(rows - first, end - row);
        job->task(job->argument, b, first, first + count);
        row += count;
    }
}

static void run_task(void *argument, int32_t index) {
    struct job *job = argument;
    const int64_t all = job->size.batch * job->size.rows;
    long long i;
    (void)index;
    while ((i = atomic_fetch_add(&job->next, 1)) < job->ranges) {
        run_range(job, i * job->rows, min_i64(all, (i + 1) * job->rows));
    }
}

void attn_rows_run(struct attn_context *context, struct size size, int64_t cost,
                   rows_task *task, const void *argument) {
    const int64_t all = size.batch * size.rows;
    if (all == 0) {
        return;
    }
    struct job job = {.size = size, .task = task, .argument = argument};
    const int32_t threads = threads_worth(context, (double)all * (double)cost);
    const int64_t ranges = threads == 1 ? 1 : (int64_t)threads * RANGES_OF_A_THREAD;
    job.rows = min_i64(RANGE_ROWS, ceil_div(all, min_i64(ranges, all)));
    job.ranges = ceil_div(all, job.rows);
    atomic_init(&job.next, 0);
    attn_context_run(context, (int32_t)min_i64(threads, job.ranges), run_task, &job);
}

struct pair {
    const struct kernels *kernels;
    struct sequences to, from;
    int64_t n;
};

static void copy_task(const void *argument, int64_t b, int64_t row, int64_t end) {
    const struct pair *pair = argument;
    for (int64_t r = row; r < end; r++) {
        memcpy(sequence_row(&pair->to, b, r), sequence_row(&pair->from, b, r),
               (size_t)pair->n * sizeof(float));
    }
}

void attn_rows_copy(struct attn_context *context, struct size size,
                    const struct sequences *to, const struct sequences *from,
                    int64_t n) {
    const struct pair pair = {NULL, *to, *from, n};
    attn_rows_run(context, size, 2 * n, copy_task, &pair);
}

static void add_task(const void *argument, int64_t b, int64_t row, int64_t end) {
    const struct pair *pair = argument;
    pair->kernels->add_bias(
        sequence_row(&pair->to, b, row), pair->to.row_stride, (int)(end - row),
        (int)pair->n, sequence_row(&pair->from, b, row), pair->from.row_stride, 1);
}

void attn_rows_add(struct attn_context *context, const struct kernels *kernels,
                   struct size size, const struct sequences *to,
                   const struct sequences *from, int64_t n) {
    const struct pair pair = {kernels, *to, *from, n};
    attn_rows_run(context, size, 3 * n, add_task, &pair);
}

struct sum {
    const struct kernels *kernels;
    struct size size;
    float *total;
    struct sequences from;
    int64_t n;
};

/* Columns stand for rows here: ranges of blocks of columns, of one batch element. */
static void sum_task(const void *argument, int64_t b, int64_t block, int64_t end) {
    const struct sum *sum = argument;
    float part[SUM_COLUMNS];
    (void)b;
    for (; block < end; block++) {
        const int64_t c = block * SUM_COLUMNS;
        const int columns = (int)min_i64(SUM_COLUMNS, sum->n - c);
        for (int64_t batch = 0; batch < sum->size.batch; batch++) {
            for (int64_t row = 0; row < sum->size.rows; row += SUM_ROWS) {
                const int rows = (int)min_i64(SUM_ROWS, sum->size.rows - row);
                memset(part, 0, sizeof part);
                sum->kernels->add_columns(part,
                                          sequence_row(&sum->from, batch, row) + c,
                                          sum->from.row_stride, rows, columns);
                sum->kernels->add_columns(sum->total + c, part, columns, 1, columns);
            }
        }
    }
}

void attn_rows_sum(struct attn_context *context, const struct kernels *kernels,
                   struct size size, float *total, const struct sequences *from,
                   int64_t n) {
    const struct sum sum = {kernels, size, total, *from, n};
    const struct size blocks = {1, ceil_div(n, SUM_COLUMNS)};
    attn_rows_run(context, blocks, size.batch * size.rows * SUM_COLUMNS, sum_task,
                  &sum);
}
