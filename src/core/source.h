/*
 * The source: where the rows of one head's queries, keys or values lie, and of what
 * type they are. Rows follow each other at a stride, or lie in pages of a cache. The
 * steps of attention read rows by runs, which is all they know of pages.
 */
#ifndef ATTN_CORE_SOURCE_H
#define ATTN_CORE_SOURCE_H

#include "kernel/kernel.h"

struct source {
    const char *data; /* of row 0, or of page 0 */
    int32_t dtype;    /* ATTN_F32, _F16, _BF16, _I8 */
    int64_t stride;   /* between rows, in elements */
    /* of int8, a number is its row's scale times the byte */
    const float *scales;
    int64_t scale_stride; /* between rows */
    /* in a cache; NULL: all rows follow each other */
    const int32_t *pages;
    int64_t first;                   /* row 0 is this row of pages[0] */
    int64_t page_rows;               /* rows of a page */
    int64_t page_stride, scale_page; /* between pages: elements, scales */
};

/* Rows that follow each other at the source's stride. */
struct run {
    const char *data;
    const float *scales;
    int rows;
};

/* Bytes of a number of this type. */
static inline int64_t source_bytes(int32_t dtype) {
    return dtype == ATTN_F32 ? 4 : dtype == ATTN_I8 ? 1 : 2;
}

/* The run that starts at this row, at most so many rows of it. */
static inline struct run attn_source_run(const struct source *source, int64_t row,
                                         int rows) {
    int64_t at = row, page = 0;
    if (source->pages != NULL) {
        at += source->first;
        page = source->pages[at / source->page_rows];
        at %= source->page_rows;
        if (source->page_rows - at < rows) {
            rows = (int)(source->page_rows - at);
        }
    }
    struct run run = {
        .data = source->data + (page * source->page_stride + at * source->stride) *
                                   source_bytes(source->dtype),
        .rows = rows,
    };
    if (source->scales != NULL) {
        run.scales =
            source->scales + page * source->scale_page + at * source->scale_stride;
    }
    return run;
}

/* These rows as floats `stride` apart, if they lie so in memory; else NULL. */
const float *attn_source_floats(const struct source *source, int64_t row, int rows);

/* Copies rows, as floats, to rows of `to` that are ld floats apart. */
void attn_source_read(const struct source *source, const struct kernels *kernels,
                      int64_t row, int rows, int dim, float *to, int64_t ld);

#endif
