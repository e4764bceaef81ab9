/*
 * Reading rows, whatever they are made of.
 */
#include "core/source.h"

#include "base/arith.h"

/* The run of a source in blocks. */
static struct run block_run(const struct source *source, int64_t row, int rows) {
    const int64_t page = source->pages[(source->first + row) / source->page_rows];
    const int64_t at = (source->first + row) % source->page_rows;
    const int64_t block = at - at % BLOCK_LANES;
    const int64_t whole = source->page_rows - source->page_rows % BLOCK_LANES;
    const int64_t end = block < whole ? whole : source->page_rows;
    struct run run = {
        .data = source->data + (page * source->page_stride + block * source->stride) *
                                   source_bytes(source->dtype),
        .rows = (int)min_i64(rows, end - at),
        .block_rows = (int)min_i64(BLOCK_LANES, source->page_rows - block),
        .lane = (int)(at - block),
    };
    if (source->scales != NULL) {
        run.scales =
            source->scales + page * source->scale_page + at * source->scale_stride;
    }
    return run;
}

struct run attn_source_run(const struct source *source, int64_t row, int rows) {
    if (source->order != ORDER_ROWS) {
        return block_run(source, row, rows);
    }
    return (struct run){
        .data = source->data + row * source->stride * source_bytes(source->dtype),
        .scales =
            source->scales != NULL ? source->scales + row * source->scale_stride : NULL,
        .rows = rows,
    };
}

const float *attn_source_floats(const struct source *source, int64_t row, int rows) {
    if (source->dtype != ATTN_F32 || source->order != ORDER_ROWS) {
        return NULL;
    }
    return (const float *)(const void *)attn_source_run(source, row, rows).data;
}

const uint16_t *attn_source_bf16(const struct source *source, int64_t row, int rows) {
    if (source->dtype != ATTN_BF16 || source->order != ORDER_ROWS) {
        return NULL;
    }
    return (const uint16_t *)(const void *)attn_source_run(source, row, rows).data;
}

/* The first of the blocks that a run has left, and the run without it. */
static struct run take_block(const struct source *source, struct run *run) {
    struct run block = *run;
    block.rows = (int)min_i64(run->rows, run->block_rows - run->lane);
    run->data += run->block_rows * source->stride * source_bytes(source->dtype);
    run->rows -= block.rows;
    run->lane = 0;
    return block;
}

/* Element `at` of a run's memory. */
static const void *element(const struct source *source, const struct run *run,
                           int64_t at) {
    return run->data + at * source_bytes(source->dtype);
}

static void read_value_block(const struct source *source, const struct kernels *kernels,
                             const struct run *block, int dim, float *to, int64_t ld) {
    for (int c = 0; c < dim; c += GROUP_COLUMNS) {
        const int columns = group_columns(dim, c);
        const int64_t at = block_group_row(dim, c, block->block_rows, block->lane);
        kernels->widen(source->dtype, to + c, ld, element(source, block, at), columns,
                       block->rows, columns);
    }
}

static void read_run(const struct source *source, const struct kernels *kernels,
                     struct run run, int dim, float *to, int64_t ld) {
    if (source->order == ORDER_ROWS) {
        kernels->widen(source->dtype, to, ld, run.data, source->stride, run.rows, dim);
        return;
    }
    while (run.rows > 0) {
        const struct run block = take_block(source, &run);
        read_value_block(source, kernels, &block, dim, to, ld);
        to += block.rows * ld;
    }
}

void attn_source_read(const struct source *source, const struct kernels *kernels,
                      int64_t row, int rows, int dim, float *to, int64_t ld) {
    while (rows > 0) {
        const struct run run = attn_source_run(source, row, rows);
        read_run(source, kernels, run, dim, to, ld);
        for (int r = 0; run.scales != NULL && r < run.rows; r++) {
            kernels->scale(to + r * ld, ld, to + r * ld, ld, 1, dim,
                           run.scales + r * source->scale_stride);
        }
        to += run.rows * ld;
        row += run.rows;
        rows -= run.rows;
    }
}

void attn_source_read_turned(const struct source *source, const struct kernels *kernels,
                             int64_t row, int rows, int dim, float *to, int64_t ld) {
    while (rows > 0) {
        const struct run run = attn_source_run(source, row, rows);
        struct run left = run;
        for (int at = 0; at < run.rows;) {
            const struct run block = take_block(source, &left);
            kernels->widen(source->dtype, to + at, ld,
                           element(source, &block, block.lane), block.block_rows, dim,
                           block.rows);
            at += block.rows;
        }
        if (run.scales != NULL) {
            kernels->scale_columns(to, ld, dim, run.rows, run.scales,
                                   source->scale_stride);
        }
        to += run.rows;
        row += run.rows;
        rows -= run.rows;
    }
}
