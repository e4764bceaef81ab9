/*
 * Template: the product of a few rows with a block of columns that comes from far away.
 * Include after tmpl_product.h.
 *
 * Each strip of rows reads all of the block, and the first would wait for it. So the
 * block is gone through in pieces that stay in the nearest cache, by all strips after
 * each other, while they call for the next piece: what is called for arrives meanwhile,
 * since only the first strip reads from farther than the nearest cache.
 */
#ifndef ATTN_KERNEL_TMPL_PRODUCT_AHEAD_H
#define ATTN_KERNEL_TMPL_PRODUCT_AHEAD_H

#include "kernel/tmpl_product.h"

/* Floats and steps of a piece: it, the next one and rows of a share the nearest cache.
 */
enum { PIECE_FLOATS = 4096, PIECE_STEPS = PIECE_FLOATS / BLOCK_COLUMNS };

/* Floats of a line of the caches, and lines that a row of the block takes. */
enum {
    LINE_FLOATS = 16,
    ROW_LINES = BLOCK_COLUMNS > LINE_FLOATS ? BLOCK_COLUMNS / LINE_FLOATS : 1,
};

/* What a strip calls for: so many lines in each step, one after the other from `at` on.
 */
struct calls {
    const float *at;
    int lines;
};

/* Those of a step. Without a loop, which would keep its counters in the other. */
static inline __attribute__((always_inline)) void call_lines(struct calls *calls) {
    if (calls->lines > 0) {
        __builtin_prefetch(calls->at);
        if (ROW_LINES > 1 && calls->lines > 1) {
            __builtin_prefetch(calls->at + LINE_FLOATS);
        }
        if (ROW_LINES > 2 && calls->lines > 2) {
            __builtin_prefetch(calls->at + (ptrdiff_t)2 * LINE_FLOATS);
            __builtin_prefetch(calls->at + (ptrdiff_t)3 * LINE_FLOATS);
        }
        calls->at += (ptrdiff_t)calls->lines * LINE_FLOATS;
    }
}

/* Adds a piece to the sums of `rows` rows, which start at 0 with it if it is the first.
 * rows is a constant where this is called. */
static inline __attribute__((always_inline)) void
piece_of_rows(int rows, int steps, const float *a, ptrdiff_t row_a, const float *b,
              struct calls calls, bool first, float *sums) {
    vec sum[BLOCK_ROWS][BLOCK_VECS];
    UNROLL_LOOP
    for (int r = 0; r < rows; r++) {
        UNROLL_LOOP
        for (int v = 0; v < BLOCK_VECS; v++) {
            const float *from = sums + (ptrdiff_t)r * BLOCK_COLUMNS + v * WIDTH;
            sum[r][v] = first ? vec_set(0.0f) : vec_load(from);
        }
    }
    for (int l = 0; l < steps; l++, b += BLOCK_COLUMNS) {
        call_lines(&calls);
        whole_steps(sum, rows, 1, false, a + l, row_a, 1, b, BLOCK_COLUMNS);
    }
    UNROLL_LOOP
    for (int r = 0; r < rows; r++) {
        UNROLL_LOOP
        for (int v = 0; v < BLOCK_VECS; v++) {
            vec_store(sums + (ptrdiff_t)r * BLOCK_COLUMNS + v * WIDTH, sum[r][v]);
        }
    }
}

typedef void piece_of_few(int steps, const float *a, ptrdiff_t row_a, const float *b,
                          struct calls calls, bool first, float *sums);

/* A function for each number of rows, in which registers suffice. */
#define PIECE(rows)                                                                    \
    static NEVER_INLINE void piece_of_##rows(                                          \
        int steps, const float *a, ptrdiff_t row_a, const float *b,                    \
        struct calls calls, bool first, float *sums) {                                 \
        enum { ROWS = (rows) < BLOCK_ROWS ? (rows) : BLOCK_ROWS };                     \
        piece_of_rows(ROWS, steps, a, row_a, b, calls, first, sums);                   \
    }
PIECE(1)
PIECE(2)
PIECE(3)
PIECE(4)
PIECE(5)
PIECE(6)
#undef PIECE

/*
 * All strips of a piece, the first of which call for the next one, in even parts; if
 * the number of strips does not divide its lines, processors fetch the rest by
 * themselves.
 */
static void piece_of_all(int m, int steps, const float *a, ptrdiff_t row_a,
                         const float *b, const float *ahead, bool first, float *sums) {
    static piece_of_few *const functions[] = {piece_of_1, piece_of_2, piece_of_3,
                                              piece_of_4, piece_of_5, piece_of_6};
    const int strips = (m + BLOCK_ROWS - 1) / BLOCK_ROWS;
    struct calls calls = {ahead, strips < ROW_LINES ? ROW_LINES / strips : 1};
    for (int i = 0, called = 0, rows; i < m; i += rows) {
        rows = strip_rows(m - i);
        if (called == ROW_LINES) {
            calls.lines = 0;
        }
        functions[rows - 1](steps, a + i * row_a, row_a, b, calls, first,
                            sums + (ptrdiff_t)i * BLOCK_COLUMNS);
        calls.at += (ptrdiff_t)steps * calls.lines * LINE_FLOATS;
        called += calls.lines;
    }
}

static void kernel_product_ahead(int m, int n, int k, const float *a, ptrdiff_t row_a,
                                 const float *b, const float *ahead, bool accumulate,
                                 float *c, ptrdiff_t ldc) {
    ALIGNED(64) float sums[PRODUCT_AHEAD_ROWS(WIDTH) * BLOCK_COLUMNS];
    for (int l = 0; l == 0 || l < k; l += PIECE_STEPS) {
        const float *piece = b + (ptrdiff_t)l * BLOCK_COLUMNS;
        const bool last = k - l <= PIECE_STEPS;
        piece_of_all(m, last ? k - l : PIECE_STEPS, a + l, row_a, piece,
                     last ? ahead : piece + PIECE_STEPS * BLOCK_COLUMNS, l == 0, sums);
    }
    const float *sum = sums;
    for (int r = 0; r < m; r++, sum += BLOCK_COLUMNS, c += ldc) {
        for (int j = 0; j < n; j += WIDTH) {
            const int count = n - j;
            vec y = vec_load(sum + j);
            y = accumulate ? vec_add(load_some(c + j, count, 0.0f), y) : y;
            store_some(c + j, count, y);
        }
    }
}

#endif
