/*
 * The source: where the rows of one head's queries, keys or values lie, and of what
 * type they are. Rows follow each other at a stride, or lie in pages of a cache, in
 * blocks (kernel/block.h). The steps of attention read rows by runs, which is all they
 * know of pages.
 */
#ifndef ATTN_CORE_SOURCE_H
#define ATTN_CORE_SOURCE_H

#include "kernel/block.h"
#include "kernel/kernel.h"

enum order { ORDER_ROWS, ORDER_KEY_BLOCKS, ORDER_VALUE_BLOCKS };

struct source {
    const char *data; /* of row 0, or of page 0 */
    int32_t dtype;    /* ATTN_F32, _F16, _BF16, _I8 */
    enum order order;
    int64_t stride; /* between rows, in elements; of blocks, elements of a row */
    /* of int8, a number is its row's scale times the byte */
    const float *scales;
    int64_t scale_stride; /* between rows */
    /* of blocks */
    const int32_t *pages;
    int64_t first;                   /* row 0 is this row of pages[0] */
    int64_t page_rows;               /* rows of a page */
    int64_t page_stride, scale_page; /* between pages: elements, scales */
};

/*
 * Rows that follow each other at the source's stride, or in blocks: in one block, or in
 * several whole ones that follow each other, of which the first starts with `lane`.
 */
struct run {
    const char *data; /* of the first row, or its block */
    const float *scales;
    int rows;
    int block_rows, lane;
};

/* Bytes of a number of this type. */
static inline int64_t source_bytes(int32_t dtype) {
    return dtype == ATTN_F32 ? 4 : dtype == ATTN_I8 ? 1 : 2;
}

/* True if its numbers are bfloat16, which are one piece each (kernel/pieces.h). */
static inline bool source_is_single(const struct source *source) {
    return source->dtype == ATTN_BF16;
}

/* The run that starts at this row, at most so many rows of it. */
struct run attn_source_run(const struct source *source, int64_t row, int rows);

/* These rows as floats `stride` apart, if they lie so in memory; else NULL. */
const float *attn_source_floats(const struct source *source, int64_t row, int rows);

/* The same of bfloat16. */
const uint16_t *attn_source_bf16(const struct source *source, int64_t row, int rows);

/* Copies rows, as floats, to rows of `to` that are ld floats apart. Not keys in blocks:
 * only a backward call, which takes no cache, wants them as they are. */
void attn_source_read(const struct source *source, const struct kernels *kernels,
                      int64_t row, int rows, int dim, float *to, int64_t ld);

/* Copies keys in blocks, transposed: to[c * ld + j] is element c of row + j. */
void attn_source_read_turned(const struct source *source, const struct kernels *kernels,
                             int64_t row, int rows, int dim, float *to, int64_t ld);

#endif
