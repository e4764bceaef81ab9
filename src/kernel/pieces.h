/*
 * Products of floats in pieces: a float is the sum of three bfloat16, of 8 bits each,
 * exactly. Tiles of AMX multiply bfloat16 and add up floats, sixteen times as many at a
 * time as vectors do, so that six products of pieces take half the time of one of
 * floats (Henry, Tang and Heinecke, 2019). With a = a0 + a1 + a2 and b likewise, a0 b0
 * to a1 b1 and a0 b2 to a2 b0 make up the product; what is left out is below 2^-21 of
 * it. Each step rounds as floats do, in sums no longer than theirs.
 *
 * bfloat16 subnormals count as 0 there, and infinity less itself is NaN. So the caller
 * sees to it that numbers are `within` what pieces may be made of.
 */
#ifndef ATTN_KERNEL_PIECES_H
#define ATTN_KERNEL_PIECES_H

#include <math.h>

#include "base/compiler.h"

/*
 * Matrices are cut into strips of PIECES_SIDE rows of the first factor, or columns of
 * the second, and steps of as many numbers that a sum runs over. A step of a strip has
 * for each piece two tiles, of 16 rows or columns: PIECES_STEP numbers.
 */
enum { PIECES_SIDE = 32, PIECES_TILE = 512, PIECES_STEP = 3 * 2 * PIECES_TILE };
enum { PIECES_SCRATCH = 8 * PIECES_STEP };

/*
 * A factor in strips, `step` numbers apart. Of numbers that are bfloat16 themselves
 * strips may have the first piece alone; products with them have the bits that they
 * have with all three.
 */
struct strips {
    const uint16_t *data;
    ptrdiff_t step;
    bool single;
};

/* Numbers of a step. */
static inline ptrdiff_t pieces_of_step(bool single) {
    return single ? PIECES_STEP / 3 : PIECES_STEP;
}

/* The size of a strip of so many numbers in each row, or column. */
static inline int64_t pieces_of_strip(int64_t depth, bool single) {
    return (depth + PIECES_SIDE - 1) / PIECES_SIDE * pieces_of_step(single);
}

struct piece_kernels {
    /* The pieces of up to PIECES_SIDE rows of k numbers, times a factor. */
    void (*split_rows)(uint16_t *to, const float *from, ptrdiff_t ld, int rows, int k,
                       float factor, bool single);

    /* The same of up to PIECES_SIDE columns of k rows. */
    void (*split_columns)(uint16_t *to, const float *from, ptrdiff_t ld, int k, int n,
                          bool single);

    /*
     * c = factor (a b) for m rows of a and n columns of b. c is written in tiles of
     * 16 x 16, so that it must have room for up to 15 more rows and columns, which then
     * hold anything. The bits of a number of c depend on its row and column alone.
     */
    void (*product)(int m, int n, int k, float factor, const struct strips *a,
                    const struct strips *b, float *c, ptrdiff_t ldc);

    /*
     * c = (factor a) b, likewise, of rows of floats, which are split on the way, some
     * while others are multiplied, in scratch of PIECES_SCRATCH numbers. With `two`,
     * which wants b single, in two pieces, of which the second is rounded: 2^-16 of a
     * number is lost at the most.
     */
    void (*product_split)(int m, int n, int k, float factor, const float *a,
                          ptrdiff_t ld, bool two, const struct strips *b,
                          uint16_t *scratch, float *c, ptrdiff_t ldc);

    /*
     * to[r] = factor[r] (alpha from[r] + rescale[r] more[r]), rounded step by step,
     * with factors of 1 and more of 0 where they are NULL. more may be to; without a
     * stride it is one row for all.
     */
    void (*scale_rows)(float *to, ptrdiff_t ld_to, const float *from, ptrdiff_t ld_from,
                       int rows, int n, float alpha, const float *factor,
                       const float *rescale, const float *more, ptrdiff_t ld_more);

    /* True if each number is 0 or has low <= |x| < high. */
    bool (*within)(const float *x, ptrdiff_t ld, int rows, int n, float low,
                   float high);

    /*
     * Strips with single pieces of bfloat16 where it lies: of up to PIECES_SIDE rows of
     * k numbers, times a power of two; of as many columns of k rows; and of as many
     * that lie as n rows of k numbers.
     */
    void (*take_rows)(uint16_t *to, const uint16_t *from, ptrdiff_t ld, int rows, int k,
                      float power);
    void (*take_columns)(uint16_t *to, const uint16_t *from, ptrdiff_t ld, int k,
                         int n);
    void (*take_turned)(uint16_t *to, const uint16_t *from, ptrdiff_t ld, int k, int n);

    /* within() of bfloat16, for limits that are powers of two. */
    bool (*within_bf16)(const uint16_t *x, ptrdiff_t ld, int rows, int n, float low,
                        float high);
};

/*
 * True if pieces may be made of all these numbers: no product of a key and the scale,
 * or a power of two that is no larger, times a query, or of a value and a weight of up
 * to 1, leaves the range of floats, nor does a piece of either before it counts for
 * nothing.
 */
#define PIECES_KEY_LOW    0x1p-50f
#define PIECES_KEY_HIGH   0x1p60f
#define PIECES_VALUE_LOW  0x1p-100f
#define PIECES_VALUE_HIGH 0x1p40f

static inline bool pieces_take_keys(const struct piece_kernels *kernels, const float *x,
                                    ptrdiff_t ld, int rows, int n) {
    return kernels->within(x, ld, rows, n, PIECES_KEY_LOW, PIECES_KEY_HIGH);
}

static inline bool pieces_take_bf16_keys(const struct piece_kernels *kernels,
                                         const uint16_t *x, ptrdiff_t ld, int rows,
                                         int n) {
    return kernels->within_bf16(x, ld, rows, n, PIECES_KEY_LOW, PIECES_KEY_HIGH);
}

static inline bool pieces_take_queries(const struct piece_kernels *kernels,
                                       const float *x, ptrdiff_t ld, int rows, int n,
                                       float scale) {
    return kernels->within(x, ld, rows, n, PIECES_KEY_LOW / fabsf(scale),
                           PIECES_KEY_HIGH / fabsf(scale));
}

static inline bool pieces_take_bf16_queries(const struct piece_kernels *kernels,
                                            const uint16_t *x, ptrdiff_t ld, int rows,
                                            int n, float power) {
    return kernels->within_bf16(x, ld, rows, n, PIECES_KEY_LOW / power,
                                PIECES_KEY_HIGH / power);
}

static inline bool pieces_take_values(const struct piece_kernels *kernels,
                                      const float *x, ptrdiff_t ld, int rows, int n) {
    return kernels->within(x, ld, rows, n, PIECES_VALUE_LOW, PIECES_VALUE_HIGH);
}

static inline bool pieces_take_bf16_values(const struct piece_kernels *kernels,
                                           const uint16_t *x, ptrdiff_t ld, int rows,
                                           int n) {
    return kernels->within_bf16(x, ld, rows, n, PIECES_VALUE_LOW, PIECES_VALUE_HIGH);
}

#endif
