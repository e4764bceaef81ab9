/*
 * Products of a few rows with the keys and values of a tile, which are read where they
 * lie: nothing is packed, for each is used once.
 */
#include "core/work.h"

#include <string.h>

#include "base/arith.h"

/*
 * Calls for the block of this row while those before it are read, if it is the first of
 * another page: that, the processor cannot know. Less of it is of no use, and where
 * rows go on it would be in the way.
 */
static void call_for(const struct source *source, int64_t row, int64_t end) {
    enum { MOST = 8192 };
    if (row < end && (source->first + row) % source->page_rows == 0) {
        const struct run run = attn_source_run(source, row, 1);
        const int64_t bytes = min_i64(MOST, run.block_rows * source->stride *
                                                source_bytes(source->dtype));
        for (int64_t i = 0; i < bytes; i += 64) {
            __builtin_prefetch(run.data + i, 0, 2);
        }
    }
}

/*
 * Pages of a few blocks, in which the processor hardly begins to read ahead, and rows
 * enough that there is time to call for a block while another is multiplied.
 */
enum { SHORT_PAGE = 64, ROWS_WORTH_CALLING = 2 };

/*
 * Calls for what comes after a run in blocks; or cuts the run to one block, and returns
 * how far ahead its kernel should call to get the one after it.
 */
static ptrdiff_t look_ahead(const struct source *source, int64_t row, int64_t end,
                            int rows, struct run *run) {
    if (source->page_rows > SHORT_PAGE || rows < ROWS_WORTH_CALLING) {
        call_for(source, row + run->rows, end);
        return 0;
    }
    run->rows = (int)min_i64(run->rows, run->block_rows - run->lane);
    const int64_t next = row + run->rows;
    return next < end ? attn_source_run(source, next, 1).data - run->data : 0;
}

void attn_few_scores(const struct work *work, const struct head *head,
                     const struct tile *tile, int rows, struct matrix query,
                     float *scores, int64_t ld) {
    const struct kernels *kernels = work->tools->kernels;
    const struct problem *problem = head->problem;
    const struct source *key = &head->key;
    const enum stage before = work_turn(work, STAGE_SCORES);
    for (int j = 0; j < tile->keys;) {
        struct run run = attn_source_run(key, tile->key + j, tile->keys - j);
        if (key->order == ORDER_ROWS) {
            kernels->few_scores(key->dtype, rows, run.rows, problem->key_dim,
                                problem->scale, query.data, query.ld, run.data,
                                key->stride, scores + j, ld);
        } else {
            const ptrdiff_t ahead =
                look_ahead(key, tile->key + j, head->keys, rows, &run);
            kernels->block_scores(key->dtype, rows, run.block_rows, run.lane, run.rows,
                                  problem->key_dim, problem->scale, query.data,
                                  query.ld, run.data, ahead, scores + j, ld);
        }
        if (run.scales != NULL) {
            kernels->scale_columns(scores + j, ld, rows, run.rows, run.scales,
                                   key->scale_stride);
        }
        j += run.rows;
    }
    work_turn(work, before);
}

void attn_few_values(const struct work *work, const struct head *head,
                     const struct tile *tile, int rows, float *weights, int64_t ld,
                     float *sums, float *total, int taken) {
    const struct kernels *kernels = work->tools->kernels;
    const struct source *value = &head->value;
    const int dim = head->problem->value_dim;
    const bool blocks = value->order != ORDER_ROWS;
    const enum stage stage = work_turn(work, STAGE_VALUES);
    for (int j = 0; j < tile->keys;) {
        const int left = tile->keys - j, before = (taken + j) % SUM_KEYS;
        struct run run =
            attn_source_run(value, tile->key + j,
                            blocks ? left : (int)min_i64(left, SUM_KEYS - before));
        const ptrdiff_t ahead =
            blocks ? look_ahead(value, tile->key + j, head->keys, rows, &run) : 0;
        if (run.scales != NULL) {
            kernels->scale_columns(weights + j, ld, rows, run.rows, run.scales,
                                   value->scale_stride);
        }
        if (blocks) {
            kernels->block_values(value->dtype, rows, run.block_rows, run.lane,
                                  run.rows, dim, weights + j, ld, run.data, ahead, sums,
                                  dim, total, before);
        } else {
            kernels->few_values(value->dtype, rows, run.rows, dim, weights + j, ld,
                                run.data, value->stride, sums, dim);
            if (before + run.rows == SUM_KEYS) {
                kernels->add_columns(total, sums, 0, 1, rows * dim);
                memset(sums, 0, (size_t)rows * (size_t)dim * sizeof *sums);
            }
        }
        j += run.rows;
    }
    work_turn(work, stage);
}
