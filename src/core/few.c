/*
 * Products of a few rows with the keys and values of a tile, which are read where they
 * lie: nothing is packed, for each is used once.
 */
#include "core/work.h"

void attn_few_scores(const struct work *work, const struct head *head,
                     const struct tile *tile, int rows, struct matrix query,
                     float *scores, int64_t ld) {
    const struct kernels *kernels = work->tools->kernels;
    const struct problem *problem = head->problem;
    const struct source *key = &head->key;
    for (int j = 0; j < tile->keys;) {
        const struct run run = attn_source_run(key, tile->key + j, tile->keys - j);
        kernels->few_scores(key->dtype, rows, run.rows, problem->key_dim,
                            problem->scale, query.data, query.ld, run.data, key->stride,
                            scores + j, ld);
        if (run.scales != NULL) {
            kernels->scale_columns(scores + j, ld, rows, run.rows, run.scales,
                                   key->scale_stride);
        }
        j += run.rows;
    }
}

void attn_few_values(const struct work *work, const struct head *head,
                     const struct tile *tile, int rows, float *weights, int64_t ld,
                     float *sums) {
    const struct kernels *kernels = work->tools->kernels;
    const struct source *value = &head->value;
    const int dim = head->problem->value_dim;
    for (int j = 0; j < tile->keys;) {
        const struct run run = attn_source_run(value, tile->key + j, tile->keys - j);
        if (run.scales != NULL) {
            kernels->scale_columns(weights + j, ld, rows, run.rows, run.scales,
                                   value->scale_stride);
        }
        kernels->few_values(value->dtype, rows, run.rows, dim, weights + j, ld,
                            run.data, value->stride, sums, dim);
        j += run.rows;
    }
}
