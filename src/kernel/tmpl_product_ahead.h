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

/*
 * What is called for: so many lines in each step, one after the other, from `at` on.
 * For a piece to be turned they make rows of `row` lines, each of which starts `jump`
 * floats beyond the end of the one before.
 */
struct calls {
    const float *at;
    ptrdiff_t jump;
    int lines, row;
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
piece_of_rows(int rows, bool turned, int steps, const float *a, ptrdiff_t row_a,
              const float *b, struct calls *calls, bool first, float *sums) {
    vec sum[BLOCK_ROWS][BLOCK_VECS];
    UNROLL_LOOP
    for (int r = 0; r < rows; r++) {
        UNROLL_LOOP
        for (int v = 0; v < BLOCK_VECS; v++) {
            const float *from = sums + (ptrdiff_t)(r * BLOCK_VECS + v) * WIDTH;
            sum[r][v] = first ? vec_set(0.0f) : vec_load(from);
        }
    }
    struct calls mine = *calls;
    const int of_row = turned && mine.lines > 0 ? mine.row / mine.lines : steps;
    for (int l = 0, end; l < steps; mine.at += mine.jump) {
        end = turned && steps - l > of_row ? l + of_row : steps;
        for (; l < end; l++, b += BLOCK_COLUMNS) {
            call_lines(&mine);
            whole_steps(sum, rows, 1, false, a + l, row_a, 1, b, BLOCK_COLUMNS);
        }
    }
    UNROLL_LOOP
    for (int r = 0; r < rows; r++) {
        UNROLL_LOOP
        for (int v = 0; v < BLOCK_VECS; v++) {
            vec_store(sums + (ptrdiff_t)(r * BLOCK_VECS + v) * WIDTH, sum[r][v]);
        }
    }
    *calls = mine;
}

typedef void piece_of_few(int steps, const float *a, ptrdiff_t row_a, const float *b,
                          struct calls *calls, bool first, float *sums);

/* A function for each number of rows, in which registers suffice. */
#define PIECE(rows, name, turned)                                                      \
    static NEVER_INLINE void name##_##rows(int steps, const float *a, ptrdiff_t row_a, \
                                           const float *b, struct calls *calls,        \
                                           bool first, float *sums) {                  \
        enum { ROWS = (rows) < BLOCK_ROWS ? (rows) : BLOCK_ROWS };                     \
        piece_of_rows(ROWS, turned, steps, a, row_a, b, calls, first, sums);           \
    }
#define PIECES(name, turned)                                                           \
    PIECE(1, name, turned)                                                             \
    PIECE(2, name, turned)                                                             \
    PIECE(3, name, turned)                                                             \
    PIECE(4, name, turned)                                                             \
    PIECE(5, name, turned)                                                             \
    PIECE(6, name, turned)                                                             \
    static piece_of_few *const name[] = {name##_1, name##_2, name##_3,                 \
                                         name##_4, name##_5, name##_6};
PIECES(pieces_ahead, false)
PIECES(pieces_turned, true)
#undef PIECES
#undef PIECE

/*
 * All strips of a piece, the first of which call for the next one, in even parts; if
 * the number of strips does not divide its lines, processors fetch the rest by
 * themselves.
 */
static void piece_of_all(piece_of_few *const functions[], int m, int steps,
                         const float *a, ptrdiff_t row_a, const float *b,
                         struct calls calls, bool first, float *sums) {
    const int strips = m > BLOCK_ROWS ? (m + BLOCK_ROWS - 1) / BLOCK_ROWS : 1;
    const int share = ROW_LINES / strips;
    calls.lines = share > 0 ? share : 1;
    for (int i = 0, called = 0, rows; i < m; i += rows) {
        rows = strip_rows(m - i);
        if (called == ROW_LINES) {
            calls.lines = 0;
        }
        functions[rows - 1](steps, a + i * row_a, row_a, b, &calls, first,
                            sums + (ptrdiff_t)i * BLOCK_COLUMNS);
        called += calls.lines;
    }
}

/* m rows of n columns of c from sums. */
static void write_sums(int m, int n, const float *sums, bool accumulate, float *c,
                       ptrdiff_t ldc) {
    for (int r = 0; r < m; r++, sums += BLOCK_COLUMNS, c += ldc) {
        for (int j = 0; j < n; j += WIDTH) {
            vec y = vec_load(sums + j);
            y = accumulate ? vec_add(load_some(c + j, n - j, 0.0f), y) : y;
            store_some(c + j, n - j, y);
        }
    }
}

static void kernel_product_ahead(int m, int n, int k, const float *a, ptrdiff_t row_a,
                                 const float *b, const float *ahead, bool accumulate,
                                 float *c, ptrdiff_t ldc) {
    ALIGNED(64) float sums[PRODUCT_AHEAD_ROWS(WIDTH) * BLOCK_COLUMNS];
    for (int l = 0; l == 0 || l < k; l += PIECE_STEPS) {
        const float *piece = b + (ptrdiff_t)l * BLOCK_COLUMNS;
        const bool last = k - l <= PIECE_STEPS;
        const struct calls calls = {.at = last ? ahead : piece + PIECE_FLOATS};
        piece_of_all(pieces_ahead, m, last ? k - l : PIECE_STEPS, a + l, row_a, piece,
                     calls, l == 0, sums);
    }
    write_sums(m, n, sums, accumulate, c, ldc);
}

/* The transpose of n rows of `steps` floats, filled up with zeros to whole vectors. */
static void turn_piece(float *to, const float *from, ptrdiff_t ld, int n, int steps) {
    for (int l = 0; l < steps; l += WIDTH) {
        for (int j = 0; j < BLOCK_COLUMNS; j += WIDTH) {
            vec square[WIDTH];
            turned_square(square, from + j * ld + l, ld, n - j, steps - l);
            UNROLL_LOOP
            for (int i = 0; i < WIDTH; i++) {
                vec_store(to + (ptrdiff_t)(l + i) * BLOCK_COLUMNS + j, square[i]);
            }
        }
    }
}

static void kernel_product_turned(int m, int n, int k, const float *a, ptrdiff_t row_a,
                                  const float *b, ptrdiff_t ldb, const float *ahead,
                                  bool accumulate, float *c, ptrdiff_t ldc) {
    enum { PIECE_LINES = PIECE_STEPS / LINE_FLOATS };
    ALIGNED(64) float sums[PRODUCT_AHEAD_ROWS(WIDTH) * BLOCK_COLUMNS];
    ALIGNED(64) float piece[PIECE_FLOATS];
    for (int l = 0; l == 0 || l < k; l += PIECE_STEPS) {
        const bool last = k - l <= PIECE_STEPS;
        const int steps = last ? k - l : PIECE_STEPS;
        const struct calls calls = {
            .at = last ? ahead : b + l + PIECE_STEPS,
            .jump = ldb - PIECE_STEPS,
            .row = PIECE_LINES,
        };
        turn_piece(piece, b + l, ldb, n, steps);
        piece_of_all(pieces_turned, m, steps, a + l, row_a, piece, calls, l == 0, sums);
    }
    write_sums(m, n, sums, accumulate, c, ldc);
}

#endif
