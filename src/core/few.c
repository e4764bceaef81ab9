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

void attn_few_scores(const struct work *work, const struct head *head,
                     const struct tile *tile, int rows, struct matrix query,
                     float *scores, int64_t ld) {
    const struct kernels *kernels = work->tools->kernels;
    const struct problem *problem = head->problem;
    const struct source *key = &head->key;
    const enum stage before = work_turn(work, STAGE_SCORES);
    for (int j = 0; j < tile->keys;) {
        const struct run run = attn_source_run(key, tile->key + j, tile->keys - j);
        if (key->order == ORDER_ROWS) {
            kernels->few_scores(key->dtype, rows, run.rows, problem->key_dim,
                                problem->scale, query.data, query.ld, run.data,
                                key->stride, scores + j, ld);
        } else {
            call_for(key, tile->key + j + run.rows, head->keys);
            kernels->block_scores(key->dtype, rows, run.block_rows, run.lane, run.rows,
                                  problem->key_dim, problem->scale, query.data,
                                  query.ld, run.data, scores + j, ld);
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
        const struct run run =
            attn_source_run(value, tile->key + j,
                            blocks ? left : (int)min_i64(left, SUM_KEYS - before));
        if (run.scales != NULL) {
            kernels->scale_columns(weights + j, ld, rows, run.rows, run.scales,
                                   value->scale_stride);
        }
        if (blocks) {
            call_for(value, tile->key + j + run.rows, head->keys);
            kernels->block_values(value->dtype, rows, run.block_rows, run.lane,
                                  run.rows, dim, weights + j, ld, run.data, sums, dim,
                                  total, before);
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
