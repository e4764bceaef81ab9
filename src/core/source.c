/*
 * Reading rows, whatever they are made of.
 */
#include "core/source.h"

const float *attn_source_floats(const struct source *source, int64_t row, int rows) {
    const struct run run = attn_source_run(source, row, rows);
    if (source->dtype != ATTN_F32 || run.rows < rows) {
        return NULL;
    }
    return (const float *)(const void *)run.data;
}

void attn_source_read(const struct source *source, const struct kernels *kernels,
                      int64_t row, int rows, int dim, float *to, int64_t ld) {
    while (rows > 0) {
        const struct run run = attn_source_run(source, row, rows);
        kernels->widen(source->dtype, to, ld, run.data, source->stride, run.rows, dim);
        for (int r = 0; source->scales != NULL && r < run.rows; r++) {
            kernels->scale(to + r * ld, ld, to + r * ld, ld, 1, dim,
                           run.scales + r * source->scale_stride);
        }
        to += run.rows * ld;
        row += run.rows;
        rows -= run.rows;
    }
}
