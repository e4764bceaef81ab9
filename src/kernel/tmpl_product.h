/*
 * Template: the matrix product for what BLAS has no advantage in, and the transposed
 * copy. Include after a vec_*.h.
 */
#ifndef ATTN_KERNEL_TMPL_PRODUCT_H
#define ATTN_KERNEL_TMPL_PRODUCT_H

#include "kernel/tmpl_product_whole.h"
#include "kernel/tmpl_some.h"

/*
 * A block of rows x (vecs * WIDTH) of c, or with part > 0 only the first part columns
 * of the last vector. Row r of the product is multiplied by alpha[r * step], with a
 * step after 0 was added, which makes 0 of -0, as terms of 0 that follow would. rows,
 * vecs and whether part is 0 are constants where this is called.
 */
static inline __attribute__((always_inline)) void
product_block(int rows, int vecs, int part, int k, const float *alpha, ptrdiff_t step,
              const float *a, ptrdiff_t row_a, ptrdiff_t column_a, const float *b,
              ptrdiff_t ldb, bool accumulate, float *c, ptrdiff_t ldc) {
    vec sum[BLOCK_ROWS][BLOCK_VECS];
    for (int r = 0; r < rows; r++) {
        for (int v = 0; v < vecs; v++) {
            sum[r][v] = vec_set(0.0f);
        }
    }
    UNROLL_SOME
    for (int l = 0; l < k; l++) {
        vec x[BLOCK_VECS];
        const float *p = b + l * ldb;
        for (int v = 0; v < vecs; v++, p += WIDTH) {
            x[v] =
                part > 0 && v == vecs - 1 ? vec_load_part(p, part, 0.0f) : vec_load(p);
        }
        for (int r = 0; r < rows; r++) {
            vec y = vec_set(a[r * row_a + l * column_a]);
            for (int v = 0; v < vecs; v++) {
                sum[r][v] = vec_muladd(y, x[v], sum[r][v]);
            }
        }
    }
    READ_LATER(alpha);
    if (step > 0) {
        const vec zero = vec_set(0.0f);
        for (int r = 0; r < rows; r++) {
            for (int v = 0; v < vecs; v++) {
                sum[r][v] = vec_add(sum[r][v], zero);
            }
        }
    }
    for (int r = 0; r < rows; r++) {
        float *p = c + r * ldc;
        const vec factor = vec_set(alpha[r * step]);
        for (int v = 0; v < vecs; v++, p += WIDTH) {
            vec y = vec_mul(factor, sum[r][v]);
            if (part > 0 && v == vecs - 1) {
                y = accumulate ? vec_add(vec_load_part(p, part, 0.0f), y) : y;
                vec_store_part(p, part, y);
            } else {
                y = accumulate ? vec_add(vec_load(p), y) : y;
                vec_store(p, y);
            }
        }
    }
}

/* The strip of `rows` rows of c; rows is a constant where this is called. */
static inline __attribute__((always_inline)) void
product_strip(int rows, int n, int k, const float *alpha, ptrdiff_t step,
              const float *a, ptrdiff_t row_a, ptrdiff_t column_a, const float *b,
              ptrdiff_t ldb, bool accumulate, float *c, ptrdiff_t ldc) {
    int j = 0;
    for (; j + BLOCK_COLUMNS <= n; j += BLOCK_COLUMNS) {
        product_block(rows, BLOCK_VECS, 0, k, alpha, step, a, row_a, column_a, b + j,
                      ldb, accumulate, c + j, ldc);
    }
#define REST(vecs, part)                                                               \
    product_block(rows, vecs, part, k, alpha, step, a, row_a, column_a, b + j, ldb,    \
                  accumulate, c + j, ldc)
    if (BLOCK_VECS > 2) {
        /* with vectors so long the last is seldom whole, which costs no more */
        const int left = n - j;
        if (left > 3 * WIDTH) {
            REST(BLOCK_VECS > 2 ? 4 : 1, left - 3 * WIDTH);
        } else if (left > 2 * WIDTH) {
            REST(BLOCK_VECS > 2 ? 3 : 1, left - 2 * WIDTH);
        } else if (left > WIDTH) {
            REST(2, left - WIDTH);
        } else if (left > 0) {
            REST(1, left);
        }
        return;
    }
    for (; j + WIDTH <= n; j += WIDTH) {
        REST(1, 0);
    }
    if (j < n) {
        REST(1, n - j);
    }
#undef REST
}

/* A strip of 1 to BLOCK_ROWS rows of c. */
static inline __attribute__((always_inline)) void
product_few_rows(int m, int n, int k, const float *alpha, ptrdiff_t step,
                 const float *a, ptrdiff_t row_a, ptrdiff_t column_a, const float *b,
                 ptrdiff_t ldb, bool accumulate, float *c, ptrdiff_t ldc) {
#define STRIP(rows)                                                                    \
    if (m == (rows) && BLOCK_ROWS >= (rows)) {                                         \
        product_strip(BLOCK_ROWS >= (rows) ? (rows) : 1, n, k, alpha, step, a, row_a,  \
                      column_a, b, ldb, accumulate, c, ldc);                           \
        return;                                                                        \
    }
    STRIP(BLOCK_ROWS)
    STRIP(1)
    STRIP(2)
    STRIP(3)
    STRIP(4)
    STRIP(5)
#undef STRIP
}

/* Rows of the next strip. Where one would be left that does not hide the latency, the
 * last two share their rows. */
static inline int strip_rows(int left) {
    return left <= BLOCK_ROWS      ? left
           : left < 2 * BLOCK_ROWS ? (left + 1) / 2
                                   : BLOCK_ROWS;
}

/* All rows of c; column_a is a constant where this is called, if it is 1. */
static inline __attribute__((always_inline)) void
product_strips(int m, int n, int k, const float *alpha, ptrdiff_t step, const float *a,
               ptrdiff_t row_a, ptrdiff_t column_a, const float *b, ptrdiff_t ldb,
               bool accumulate, float *c, ptrdiff_t ldc) {
    for (int i = 0, rows; i < m; i += rows) {
        rows = strip_rows(m - i);
        product_few_rows(rows, n, k, alpha + i * step, step, a + i * row_a, row_a,
                         column_a, b, ldb, accumulate, c + i * ldc, ldc);
    }
}

/* What is not whole. It is long: compiled once for all that call it. */
static NEVER_INLINE void product_rest(int m, int n, int k, const float *alpha,
                                      ptrdiff_t step, const float *a, ptrdiff_t row_a,
                                      ptrdiff_t column_a, const float *b, ptrdiff_t ldb,
                                      bool accumulate, float *c, ptrdiff_t ldc) {
    if (column_a == 1) {
        product_strips(m, n, k, alpha, step, a, row_a, 1, b, ldb, accumulate, c, ldc);
    } else {
        product_strips(m, n, k, alpha, step, a, row_a, column_a, b, ldb, accumulate, c,
                       ldc);
    }
}

static void kernel_product(int m, int n, int k, const float *alpha, ptrdiff_t step,
                           const float *a, ptrdiff_t row_a, ptrdiff_t column_a,
                           const float *b, ptrdiff_t ldb, bool accumulate, float *c,
                           ptrdiff_t ldc) {
    if (step == 0 && m > BLOCK_ROWS && k >= LAST_STEPS) {
        for (; n >= BLOCK_COLUMNS; n -= BLOCK_COLUMNS) {
            product_whole(m, k, *alpha, a, row_a, column_a, b, ldb, accumulate, c, ldc);
            b += BLOCK_COLUMNS;
            c += BLOCK_COLUMNS;
        }
    }
    if (n > 0) {
        product_rest(m, n, k, alpha, step, a, row_a, column_a, b, ldb, accumulate, c,
                     ldc);
    }
}

#ifndef VEC_LOAD_TURNED
/* The columns of a square of WIDTH. */
static inline void vec_load_turned(vec column[WIDTH], const float *from, ptrdiff_t ld) {
    UNROLL_LOOP
    for (int r = 0; r < WIDTH; r++) {
        column[r] = vec_load(from + r * ld);
    }
    vec_transpose(column);
}
#endif

/* The transpose of a square of WIDTH, 0 for what of it is not within rows and n. */
static inline void turned_square(vec square[WIDTH], const float *from, ptrdiff_t ld,
                                 int rows, int n) {
    if (rows >= WIDTH && n >= WIDTH) {
        vec_load_turned(square, from, ld);
        return;
    }
    for (int r = 0; r < WIDTH; r++) {
        square[r] = r < rows ? load_some(from + r * ld, n, 0.0f) : vec_set(0.0f);
    }
    vec_transpose(square);
}

/* A square of WIDTH, or what of it lies within rows and n. */
static inline void transpose_square(float *to, ptrdiff_t ld_to, const float *from,
                                    ptrdiff_t ld_from, int rows, int n) {
    vec square[WIDTH];
    turned_square(square, from, ld_from, rows, n);
    if (rows >= WIDTH && n >= WIDTH) {
        UNROLL_LOOP
        for (int c = 0; c < WIDTH; c++) {
            vec_store(to + c * ld_to, square[c]);
        }
        return;
    }
    for (int c = 0; c < WIDTH && c < n; c++) {
        store_some(to + c * ld_to, rows, square[c]);
    }
}

/*
 * Calls for the rows below a square, one line of each: going down a few columns at a
 * time is not what processors fetch ahead of. Those below the last are likely to be the
 * next tile.
 */
static inline void call_below(const float *from, ptrdiff_t ld_from, int c) {
    enum { ROWS_AHEAD = 32, LINE = 64 / sizeof(float) };
    for (int r = ROWS_AHEAD; r < ROWS_AHEAD + WIDTH && c % LINE == 0; r++) {
        __builtin_prefetch(from + r * ld_from + c);
    }
}

static void kernel_to_blocks(float *to, ptrdiff_t step, const float *from,
                             ptrdiff_t ld_from, int rows, int n) {
    enum { COLUMNS = BLOCK_COLUMNS };
    for (int r = 0; r < rows; r++, to += COLUMNS, from += ld_from) {
        float *block = to;
        int c = 0;
        for (; c + COLUMNS <= n; c += COLUMNS, block += step) {
            for (int v = 0; v < COLUMNS; v += WIDTH) {
                vec_store(block + v, vec_load(from + c + v));
            }
        }
        for (int v = 0; c + v < n; v += WIDTH) {
            store_some(block + v, n - c - v, load_some(from + c + v, n - c - v, 0.0f));
        }
    }
}

static void kernel_transpose(float *to, ptrdiff_t ld_to, const float *from,
                             ptrdiff_t ld_from, int rows, int n) {
    for (int r = 0; r < rows; r += WIDTH) {
        for (int c = 0; c < n; c += WIDTH) {
            call_below(from + r * ld_from, ld_from, c);
            transpose_square(to + c * ld_to + r, ld_to, from + r * ld_from + c, ld_from,
                             rows - r, n - c);
        }
    }
}

#endif
