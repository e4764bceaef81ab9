/*
 * Running a rotation.
 *
 * Threads take pieces, ranges of rows and batch elements, from a counter. A piece goes
 * over chunks of pairs and, within, over blocks of rows; the angles of a block serve
 * all heads and, where positions are the same, all batch elements of the piece. An
 * angle depends on its position and pair alone, so how a call is cut changes no bit.
 */
#include "layer/rotary.h"

#include <stdatomic.h>
#include <string.h>

#include "base/arith.h"

/*
 * A thread is woken for this many features: 1 MiB read and written, some 50 us, several
 * times what waking costs. A sine with its cosine takes as long as 64 features.
 */
enum { FEATURES_OF_A_THREAD = 128 * 1024, FEATURES_OF_AN_ANGLE = 64 };

/* Pieces for each thread, so that uneven ones even out. */
enum { PIECES_OF_A_THREAD = 4 };

/* Rows of a piece at the most: eight blocks share the powers of the base. */
enum { PIECE_ROWS = 8 * ROTARY_ROWS };

struct job {
    const struct rotary *rotary;
    const struct kernels *kernels;
    int64_t rows, batches; /* of a piece */
    int64_t row_ranges, batch_ranges;
    atomic_llong next;
};

static int32_t threads_worth(const struct rotary *rotary,
                             const struct attn_context *context) {
    const int32_t threads = context != NULL ? context->threads : 1;
    const double rows = (double)rotary->batch * (double)rotary->rows;
    const double features = rows * (double)rotary->heads * (double)rotary->dim;
    double angles = 0;
    if (rotary->cosines.data == NULL) {
        angles = (double)rotary->pairs * (rotary->shared ? (double)rotary->rows : rows);
    }
    const double worth =
        (features + angles * FEATURES_OF_AN_ANGLE) / FEATURES_OF_A_THREAD;
    return worth < 2.0 ? 1 : worth < threads ? (int32_t)worth : threads;
}

static int64_t pieces(const struct job *job) {
    return ceil_div(job->rotary->rows, job->rows) *
           ceil_div(job->rotary->batch, job->batches);
}

/* Cuts a call up. Batch elements that share angles stay together if rows are enough. */
static void split(struct job *job, int32_t tasks) {
    const struct rotary *rotary = job->rotary;
    const int64_t wanted = tasks == 1 ? 1 : (int64_t)tasks * PIECES_OF_A_THREAD;
    job->rows = min_i64(rotary->rows, PIECE_ROWS);
    job->batches = rotary->batch;
    while (!rotary->shared && job->batches > 1 && pieces(job) < wanted) {
        job->batches = ceil_div(job->batches, 2);
    }
    while (job->rows > 1 && pieces(job) < wanted) {
        job->rows = ceil_div(job->rows, 2);
    }
    while (job->batches > 1 && pieces(job) < wanted) {
        job->batches = ceil_div(job->batches, 2);
    }
    job->row_ranges = ceil_div(rotary->rows, job->rows);
    job->batch_ranges = ceil_div(rotary->batch, job->batches);
}

/* A range of rows of a batch element, and of pairs. */
struct block {
    int64_t b, row, pair;
    int rows, pairs;
};

/* Rotates `count` rows of a head from row r of the block on or, along HEAD, the heads
 * from h on of that row. */
static void rotate(const struct job *job, const struct block *block,
                   const struct angles *angles, int64_t h, int r, int axis, int count) {
    const struct rotary *rotary = job->rotary;
    const struct view *output = &rotary->output, *input = &rotary->input;
    const int64_t row = block->row + r;
    const int64_t first = rotary->interleaved ? 2 * block->pair : block->pair;
    float *to = view_at(output, block->b, h, row, first);
    const float *from = view_at(input, block->b, h, row, first);
    const ptrdiff_t ld_angles = axis == ROW ? ROTARY_PAIRS : 0;
    if (rotary->interleaved) {
        job->kernels->rotate_pairs(to, output->stride[axis], from, input->stride[axis],
                                   count, block->pairs, angles->cosines[r],
                                   angles->sines[r], ld_angles);
    } else {
        job->kernels->rotate_halves(to, output->stride[axis], from, input->stride[axis],
                                    count, block->pairs, rotary->pairs,
                                    angles->cosines[r], angles->sines[r], ld_angles);
    }
}

/* All heads of a block: those of a row at once, or the rows of a head, whichever lie
 * closer together. */
static void rotate_block(const struct job *job, const struct block *block,
                         const struct angles *angles) {
    const struct rotary *rotary = job->rotary;
    const int heads = (int)rotary->heads;
    const int64_t *stride = rotary->output.stride;
    if (heads > 1 && (rotary->rows == 1 || stride[HEAD] < stride[ROW])) {
        for (int r = 0; r < block->rows; r++) {
            rotate(job, block, angles, 0, r, HEAD, heads);
        }
    } else {
        for (int h = 0; h < heads; h++) {
            rotate(job, block, angles, h, 0, ROW, block->rows);
        }
    }
}

/* The features beyond rotary_dim. */
static void copy_rest(const struct rotary *rotary, int64_t b, int64_t row,
                      int64_t row_end) {
    const int64_t first = 2 * rotary->pairs;
    const size_t bytes = (size_t)(rotary->dim - first) * sizeof(float);
    for (int64_t h = 0; h < rotary->heads; h++) {
        for (int64_t r = row; r < row_end; r++) {
            memcpy(view_at(&rotary->output, b, h, r, first),
                   view_at(&rotary->input, b, h, r, first), bytes);
        }
    }
}

static void run_piece(const struct job *job, int64_t i) {
    const struct rotary *rotary = job->rotary;
    const int64_t row = i % job->row_ranges * job->rows;
    const int64_t row_end = min_i64(rotary->rows, row + job->rows);
    const int64_t batch = i / job->row_ranges * job->batches;
    const int64_t batch_end = min_i64(rotary->batch, batch + job->batches);
    double powers[ROTARY_PAIRS];
    struct angles angles;
    struct block block;
    for (block.pair = 0; block.pair < rotary->pairs; block.pair += ROTARY_PAIRS) {
        block.pairs = (int)min_i64(ROTARY_PAIRS, rotary->pairs - block.pair);
        if (rotary->cosines.data == NULL) {
            attn_rotary_powers(powers, rotary, block.pair, block.pairs);
        }
        for (block.row = row; block.row < row_end; block.row += ROTARY_ROWS) {
            block.rows = (int)min_i64(ROTARY_ROWS, row_end - block.row);
            for (block.b = batch; block.b < batch_end; block.b++) {
                if (block.b == batch || !rotary->shared) {
                    attn_rotary_angles(&angles, rotary, powers, block.b, block.row,
                                       block.rows, block.pair, block.pairs);
                }
                rotate_block(job, &block, &angles);
            }
        }
    }
    for (int64_t b = batch; b < batch_end && !rotary->in_place; b++) {
        copy_rest(rotary, b, row, row_end);
    }
}

static void run_task(void *argument, int32_t index) {
    struct job *job = argument;
    const int64_t count = job->row_ranges * job->batch_ranges;
    long long i;
    (void)index;
    while ((i = atomic_fetch_add(&job->next, 1)) < count) {
        run_piece(job, i);
    }
}

void attn_rotary_run(const struct rotary *rotary, struct attn_context *context,
                     const struct kernels *kernels) {
    if (rotary->batch == 0 || rotary->heads == 0 || rotary->rows == 0 ||
        rotary->dim == 0) {
        return;
    }
    struct job job = {.rotary = rotary, .kernels = kernels};
    atomic_init(&job.next, 0);
    const int32_t threads = threads_worth(rotary, context);
    split(&job, threads);
    const int32_t tasks = (int32_t)min_i64(threads, job.row_ranges * job.batch_ranges);
    if (tasks > 1) {
        attn_context_run(context, tasks, run_task, &job);
    } else {
        run_task(&job, 0);
    }
}
