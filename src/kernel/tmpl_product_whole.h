/*
 * Template: the blocks of a product that are whole, in which most of the time of
 * attention goes. Include after a vec_*.h.
 */
#ifndef ATTN_KERNEL_TMPL_PRODUCT_WHOLE_H
#define ATTN_KERNEL_TMPL_PRODUCT_WHOLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

/* Rows and vectors of the register block. */
enum { BLOCK_ROWS = PRODUCT_ROWS(WIDTH), BLOCK_VECS = PRODUCT_VECS(WIDTH) };

/* Columns of a block. */
enum { BLOCK_COLUMNS = BLOCK_VECS * WIDTH };

/*
 * The last steps are taken by two rows after the other, so that results are written
 * while others are still multiplied. A processor (Zen 3) that writes all of a block at
 * once multiplies little meanwhile: 28 cycles beside the 384 of 64 steps, now 16.
 */
enum { LAST_ROWS = 2, LAST_STEPS = 4 };

/*
 * Adds the products of `rows` rows of a and `steps` of b. For the last steps addresses
 * are made as they are needed: otherwise the compiler makes all of them beforehand, and
 * loads them from the stack.
 */
static inline __attribute__((always_inline)) void
whole_steps(vec (*sum)[BLOCK_VECS], int rows, int steps, bool last, const float *a,
            ptrdiff_t row_a, ptrdiff_t column_a, const float *b, ptrdiff_t ldb) {
    UNROLL_SOME
    for (int l = 0; l < steps; l++, a += column_a, b += ldb) {
        if (last) {
            MAKE_LATER(a);
            MAKE_LATER(b);
        }
        vec x[BLOCK_VECS];
        UNROLL_LOOP
        for (int v = 0; v < BLOCK_VECS; v++) {
            x[v] = vec_held(vec_load(b + (ptrdiff_t)v * WIDTH));
        }
        UNROLL_LOOP
        for (int r = 0; r < rows; r++) {
            const vec y = vec_set(a[r * row_a]);
            UNROLL_LOOP
            for (int v = 0; v < BLOCK_VECS; v++) {
                sum[r][v] = vec_muladd(y, x[v], sum[r][v]);
            }
        }
    }
}

/* A row of results from its sums. */
static inline __attribute__((always_inline)) void
whole_row(const vec sum[BLOCK_VECS], vec factor, bool accumulate, float *c) {
    UNROLL_LOOP
    for (int v = 0; v < BLOCK_VECS; v++) {
        float *p = c + (ptrdiff_t)v * WIDTH;
        const vec y = vec_mul(factor, sum[v]);
        vec_store(p, accumulate ? vec_add(vec_load(p), y) : y);
    }
}

/* The last steps of one or two rows, and their results. */
static inline __attribute__((always_inline)) void
whole_last(vec (*sum)[BLOCK_VECS], int rows, float alpha, const float *a,
           ptrdiff_t row_a, ptrdiff_t column_a, const float *b, ptrdiff_t ldb,
           bool accumulate, float *c, ptrdiff_t ldc) {
    whole_steps(sum, rows, LAST_STEPS, true, a, row_a, column_a, b, ldb);
    const vec factor = vec_set(alpha);
    MAKE_LATER(c);
    UNROLL_LOOP
    for (int r = 0; r < rows; r++, c += ldc) {
        whole_row(sum[r], factor, accumulate, c);
    }
}

#ifdef STEPS_ASSEMBLED
/* The results of all rows. */
static inline __attribute__((always_inline)) void whole_rows(vec (*sum)[BLOCK_VECS],
                                                             float alpha,
                                                             bool accumulate, float *c,
                                                             ptrdiff_t ldc) {
    const vec factor = vec_set(alpha);
    UNROLL_LOOP
    for (int r = 0; r < BLOCK_ROWS; r++, c += ldc) {
        MAKE_LATER(c);
        whole_row(sum[r], factor, accumulate, c);
    }
}

/* A block of BLOCK_ROWS rows with steps in assembler; false: there are none for it. */
static inline __attribute__((always_inline)) bool
assembled_block(int k, float alpha, const float *a, ptrdiff_t row_a, ptrdiff_t column_a,
                const float *b, ptrdiff_t ldb, bool accumulate, float *c,
                ptrdiff_t ldc) {
    if (ldb != BLOCK_COLUMNS || (column_a != 1 && row_a != 1)) {
        return false;
    }
    vec sum[BLOCK_ROWS][BLOCK_VECS];
    const int even = k - k % 2;
    const struct steps steps = {a, b, b + (ptrdiff_t)even * BLOCK_COLUMNS,
                                row_a * (ptrdiff_t)sizeof *a,
                                column_a * (ptrdiff_t)sizeof *a};
    if (column_a == 1) {
        steps_beside(sum, &steps);
    } else {
        steps_apart(sum, &steps);
    }
    whole_steps(sum, BLOCK_ROWS, k - even, false, a + even * column_a, row_a, column_a,
                steps.b_end, ldb);
    if (alpha == 1.0f && accumulate) {
        whole_rows(sum, 1.0f, true, c, ldc);
    } else if (alpha == 1.0f) {
        whole_rows(sum, 1.0f, false, c, ldc);
    } else {
        whole_rows(sum, alpha, accumulate, c, ldc);
    }
    return true;
}
#endif

/* A block of `rows` rows of c, over LAST_STEPS steps or more; rows is a constant. */
static inline __attribute__((always_inline)) void
whole_block(int rows, int k, float alpha, const float *a, ptrdiff_t row_a,
            ptrdiff_t column_a, const float *b, ptrdiff_t ldb, bool accumulate,
            float *c, ptrdiff_t ldc) {
#ifdef STEPS_ASSEMBLED
    if (rows == BLOCK_ROWS &&
        assembled_block(k, alpha, a, row_a, column_a, b, ldb, accumulate, c, ldc)) {
        return;
    }
#endif
    vec sum[BLOCK_ROWS][BLOCK_VECS];
    UNROLL_LOOP
    for (int r = 0; r < rows; r++) {
        UNROLL_LOOP
        for (int v = 0; v < BLOCK_VECS; v++) {
            sum[r][v] = vec_set(0.0f);
        }
    }
    const int steps = k - LAST_STEPS;
    whole_steps(sum, rows, steps, false, a, row_a, column_a, b, ldb);
    a += steps * column_a;
    b += steps * ldb;
#define LAST(r, alpha, accumulate)                                                     \
    if (rows > (r)) {                                                                  \
        whole_last(sum + (r), rows > (r) + 1 ? LAST_ROWS : 1, alpha, a + (r)*row_a,    \
                   row_a, column_a, b, ldb, accumulate, c + (r)*ldc, ldc);             \
    }
#define EVERY_LAST(alpha, accumulate)                                                  \
    LAST(0, alpha, accumulate)                                                         \
    LAST(2, alpha, accumulate)                                                         \
    LAST(4, alpha, accumulate)
    if (accumulate && alpha == 1.0f) {
        EVERY_LAST(1.0f, true)
    } else if (accumulate) {
        EVERY_LAST(alpha, true)
    } else if (alpha == 1.0f) {
        EVERY_LAST(1.0f, false)
    } else {
        EVERY_LAST(alpha, false)
    }
#undef EVERY_LAST
#undef LAST
}

/*
 * m rows of c, a multiple of `rows`, in the columns of a block: a function for each
 * number of rows, in which registers suffice, and one more where columns of a are
 * apart.
 */
#define STRIPS(name, rows, step)                                                       \
    static NEVER_INLINE void name##_##rows(int m, int k, float alpha, const float *a,  \
                                           ptrdiff_t row_a, ptrdiff_t column_a,        \
                                           const float *b, ptrdiff_t ldb,              \
                                           bool accumulate, float *c, ptrdiff_t ldc) { \
        enum { ROWS = (rows) < BLOCK_ROWS ? (rows) : BLOCK_ROWS };                     \
        (void)column_a;                                                                \
        for (int i = 0; i < m; i += ROWS, a += ROWS * row_a, c += ROWS * ldc) {        \
            whole_block(ROWS, k, alpha, a, row_a, step, b, ldb, accumulate, c, ldc);   \
        }                                                                              \
    }
#define EVERY_STRIPS(name, step)                                                       \
    STRIPS(name, 2, step)                                                              \
    STRIPS(name, 3, step)                                                              \
    STRIPS(name, 4, step)                                                              \
    STRIPS(name, 5, step)                                                              \
    STRIPS(name, 6, step)
EVERY_STRIPS(strips_beside, 1)
EVERY_STRIPS(strips_apart, column_a)
#undef EVERY_STRIPS
#undef STRIPS

static void whole_strips(int rows, int m, int k, float alpha, const float *a,
                         ptrdiff_t row_a, ptrdiff_t column_a, const float *b,
                         ptrdiff_t ldb, bool accumulate, float *c, ptrdiff_t ldc) {
#define CASE(n)                                                                        \
    if (rows == (n) && BLOCK_ROWS >= (n)) {                                            \
        (column_a == 1 ? strips_beside_##n : strips_apart_##n)(                        \
            m, k, alpha, a, row_a, column_a, b, ldb, accumulate, c, ldc);              \
    }
    CASE(2)
    CASE(3)
    CASE(4)
    CASE(5)
    CASE(6)
#undef CASE
}

/*
 * A product of more than BLOCK_ROWS rows, the columns of one block, and LAST_STEPS
 * steps or more. Where a strip would be left that does not hide the latency, the last
 * two share their rows.
 */
static void product_whole(int m, int k, float alpha, const float *a, ptrdiff_t row_a,
                          ptrdiff_t column_a, const float *b, ptrdiff_t ldb,
                          bool accumulate, float *c, ptrdiff_t ldc) {
    const int over = m % BLOCK_ROWS, left = over == 0 ? 0 : over + BLOCK_ROWS;
    const int full = m - left, half = left - left / 2;
    whole_strips(BLOCK_ROWS, full, k, alpha, a, row_a, column_a, b, ldb, accumulate, c,
                 ldc);
    if (left > 0) {
        a += full * row_a;
        c += full * ldc;
        whole_strips(half, half, k, alpha, a, row_a, column_a, b, ldb, accumulate, c,
                     ldc);
        whole_strips(left - half, left - half, k, alpha, a + half * row_a, row_a,
                     column_a, b, ldb, accumulate, c + half * ldc, ldc);
    }
}

#endif
