/*
 * The kernel table: everything that is written for an instruction set.
 *
 * Kernels see pointers, counts and strides, never a descriptor. A matrix is rows x n
 * floats with its row stride in floats (`ld`, at least n; 0 repeats a row of an input).
 * Rows and n may be 0. Pointers need the alignment of float only; outputs do not
 * overlap inputs unless a kernel works in place. Nothing beyond the n-th element of a
 * row is read or written. u is 2^-24.
 */
#ifndef ATTN_KERNEL_KERNEL_H
#define ATTN_KERNEL_KERNEL_H

#include "attn/common.h"
#include "base/compiler.h"
#include "kernel/additive.h"
#include "kernel/pieces.h"

/* What a scan found. */
enum { SCAN_ATTENDED = 1, SCAN_MASKED = 2 };

/* Functions f(x) = x F(x). */
enum activation {
    ACTIVATION_RELU,      /* F is 0 for x <= 0, else 1 */
    ACTIVATION_GELU,      /* the normal distribution (Hendrycks and Gimpel, 2016) */
    ACTIVATION_GELU_TANH, /* (1 + tanh(w / 2)) / 2, w = sqrt(8/pi) (x + 0.044715 x^3) */
    ACTIVATION_SILU       /* 1 / (1 + exp(-x)) */
};

/* What a number must be to another. */
enum relation { RELATION_EQUAL, RELATION_UP_TO, RELATION_BELOW };

/* What decides the random numbers of a head, and which of them drop a weight. */
struct dropout_key {
    uint64_t seed;
    uint32_t sequence, head;
    uint32_t threshold;
};

/*
 * Attention of the rows of a head with all its keys, of which there are at most two
 * vectors. With a band, row r attends the keys from r + first to before r + end, which
 * lie between -2^20 and 2^20.
 */
struct small {
    int rows, keys, key_dim, value_dim;
    float scale;
    bool band;
    int first, end;
    const float *query, *key, *value;
    ptrdiff_t ld_query, ld_key, ld_value;
    float *out;
    ptrdiff_t ld_out;
    float *maximum, *sum, *factor; /* of each row: as after softmax; 1 / sum or 0 */
};

/* The most keys of struct small. */
enum { SMALL_KEYS = 48 };

/* The most values that are summed up one by one. */
enum { SUM_KEYS = 512 };

/*
 * PRODUCT_VECS(width) - vectors of columns that the product kernel takes at a time. It
 * is fastest where b has no more, with rows one after the other: at larger strides they
 * push each other out of the first-level cache.
 */
#define PRODUCT_VECS(width) ((width) == 16 ? 4 : 2)

/*
 * PRODUCT_ROWS(width) - rows that it takes at a time: 4 x 2 accumulators hide the
 * latency of FMA. More load less beside multiplying: with AVX2 6 x 2 are as many as 16
 * registers hold, with AVX-512 6 x 4 as many as 32 do.
 */
#define PRODUCT_ROWS(width) ((width) >= 8 ? 6 : 4)

/* PRODUCT_AHEAD_ROWS(width) - the most rows of product_ahead() and product_turned():
 * beside more it makes no difference when b arrives. */
#define PRODUCT_AHEAD_ROWS(width) ((width) == 16 ? 96 : 48)

struct kernels {
    int32_t isa;
    int32_t width; /* floats in a vector */

    /* Products in pieces (kernel/pieces.h); NULL: this set has none. */
    const struct piece_kernels *pieces;

    /*
     * c[r] = alpha[r step] (a b)[r], or c[r] += that with accumulate: a is m x k with
     * its own strides for rows and columns, so that it may be transposed; b is k x n.
     * With step 0 there is one alpha for all rows; with another, rows are those that
     * scale makes of what is added to 0. Sums run over k in ascending order, in the
     * same way for every m and n.
     */
    void (*product)(int m, int n, int k, const float *alpha, ptrdiff_t step,
                    const float *a, ptrdiff_t row_a, ptrdiff_t column_a, const float *b,
                    ptrdiff_t ldb, bool accumulate, float *c, ptrdiff_t ldc);

    /*
     * The same product to the bit, with an alpha of 1 and the columns of a side by
     * side, for up to PRODUCT_AHEAD_ROWS rows and a b that comes from far away: a block
     * of PRODUCT_VECS vectors of columns, of which n count, with rows one after the
     * other. ahead is what will be the next block: it is called for, and not read.
     */
    void (*product_ahead)(int m, int n, int k, const float *a, ptrdiff_t row_a,
                          const float *b, const float *ahead, bool accumulate, float *c,
                          ptrdiff_t ldc);

    /* The same with the transpose of n rows of b, likewise up to PRODUCT_VECS vectors;
     * those of ahead have the same stride. */
    void (*product_turned)(int m, int n, int k, const float *a, ptrdiff_t row_a,
                           const float *b, ptrdiff_t ldb, const float *ahead,
                           bool accumulate, float *c, ptrdiff_t ldc);

    /* to[c][r] = from[r][c] for rows x n elements of from. */
    void (*transpose)(float *to, ptrdiff_t ld_to, const float *from, ptrdiff_t ld_from,
                      int rows, int n);

    /* Copies rows of n floats to blocks of PRODUCT_VECS vectors of columns, step floats
     * apart: what product takes best. from is read in order. */
    void (*to_blocks)(float *to, ptrdiff_t step, const float *from, ptrdiff_t ld_from,
                      int rows, int n);

    /*
     * s[r][j] = scale sum_c q[r][c] k[j][c] for a few rows of q (at most some dozens)
     * and n rows of k, of dim numbers each, those of k of this type, ATTN_F32, _F16,
     * _BF16 or _I8, ld_k elements apart. The bits of s[r][j] depend on dim and the two
     * rows alone. k is read once, in order.
     */
    void (*few_scores)(int32_t dtype, int rows, int n, int dim, float scale,
                       const float *q, ptrdiff_t ld_q, const void *k, ptrdiff_t ld_k,
                       float *s, ptrdiff_t ld_s);

    /*
     * sums[r][c] += sum_j w[r][j] v[j][c] for a few rows of weights and n rows of v, of
     * dim numbers of this type each. Each sum takes in the values in ascending order,
     * one by one, so it does not matter in which parts they come.
     */
    void (*few_values)(int32_t dtype, int rows, int n, int dim, const float *w,
                       ptrdiff_t ld_w, const void *v, ptrdiff_t ld_v, float *sums,
                       ptrdiff_t ld);

    /*
     * few_scores and few_values for rows that lie in blocks (kernel/block.h). k and v
     * are the start of a block of `keys` rows, and n rows of it count, from row `lane`
     * on; or of several blocks of BLOCK_LANES rows one after the other, of which the
     * first starts with `lane`. The bits of a sum of values are those of few_values,
     * and those of a score again depend on dim and the two rows alone.
     *
     * Short sums are more exact than one long one: whenever sums have taken in SUM_KEYS
     * values, `taken` < SUM_KEYS of them before the call, block_values adds them to
     * total, with rows as far apart, and has them start from 0 again.
     *
     * What lies `ahead` bytes after what is read is called for meanwhile; 0: the kernel
     * sees to that by itself, as if all went on in the same place.
     */
    void (*block_scores)(int32_t dtype, int rows, int keys, int lane, int n, int dim,
                         float scale, const float *q, ptrdiff_t ld_q, const void *k,
                         ptrdiff_t ahead, float *s, ptrdiff_t ld_s);
    void (*block_values)(int32_t dtype, int rows, int keys, int lane, int n, int dim,
                         const float *w, ptrdiff_t ld_w, const void *v, ptrdiff_t ahead,
                         float *sums, ptrdiff_t ld, float *total, int taken);

    /* s[r][j] = s[r][j] factor[j step] */
    void (*scale_columns)(float *s, ptrdiff_t ld, int rows, int n, const float *factor,
                          ptrdiff_t step);

    /* s = cap tanh(s / cap) for cap >= 2^-126; tanh within 4u; NaN stays NaN. */
    void (*softcap)(float *s, ptrdiff_t ld, int rows, int n, float cap);

    /*
     * s += bias; column_step is 1, or 0 where a row has one value for all its
     * columns. ld_bias may be less than n and negative: rows may share elements.
     */
    void (*add_bias)(float *s, ptrdiff_t ld, int rows, int n, const float *bias,
                     ptrdiff_t ld_bias, int column_step);

    /* s -= slope |distance + r - c| for row r and column c. */
    void (*add_alibi)(float *s, ptrdiff_t ld, int rows, int n, float slope,
                      int64_t distance);

    /* s = -inf where bias is -inf. */
    void (*mask_bias)(float *s, ptrdiff_t ld, int rows, int n, const float *bias,
                      ptrdiff_t ld_bias, int column_step);

    /* s = -inf where the byte is 0. */
    void (*mask_bytes)(float *s, ptrdiff_t ld, int rows, int n, const uint8_t *bytes,
                       ptrdiff_t ld_bytes);

    /* keep[j] = 1 where numbers[j], int32 or, if wide, int64, is equal to, up to or
     * below value, else 0. */
    void (*relate)(uint8_t *keep, enum relation relation, const void *numbers,
                   bool wide, int n, int64_t value);

    /* SCAN_MASKED if some element is -inf, SCAN_ATTENDED if some is not. */
    int (*scan_bias)(const float *bias, ptrdiff_t ld, int rows, int n);

    /* True if no element is infinite or NaN. */
    bool (*all_finite)(const float *x, ptrdiff_t ld, int rows, int n);

    /*
     * One step of the online softmax over rows of scores, in place. With M the new
     * maximum of maximum[r] and the row's scores:
     *
     *     s = exp(s - M),  sum[r] = sum[r] exp(maximum[r] - M) + sum of s,
     *     rescale[r] = exp(maximum[r] - M),  maximum[r] = M
     *
     * A score of -inf gives 0; a row of only -inf so far keeps maximum -inf and sum 0.
     * A NaN gives a NaN weight and sum; it may or may not enter the maximum. The
     * relative error of a weight is at most (4 + 1.1 |s - M|) u; weights under 2^-126
     * are 0. Where the maximum stays, rescale is 1. Returns true if some maximum moved.
     */
    bool (*softmax)(float *s, ptrdiff_t ld, int rows, int n, float *maximum, float *sum,
                    float *rescale);

    /*
     * All of attention: the product of queries and keys, the first step of softmax,
     * the product of weights and values, times 1 / sum, or 0 where sum is 0. Its bits
     * are those of the kernels for these, one after the other, if values are finite,
     * but for the sign of a maximum of 0.
     *
     * scratch: SMALL_KEYS floats and key_dim, rounded up to a multiple of width, width
     * times.
     */
    void (*small)(const struct small *small, float *scratch);

    /*
     * s = exp(s - maximum[r]) factor[r], exp with the error and limits of softmax; 0
     * for a score of -inf whatever the factor.
     */
    void (*weights)(float *s, ptrdiff_t ld, int rows, int n, const float *maximum,
                    const float *factor);

    /* to = from factor[r]; to may be from. */
    void (*scale)(float *to, ptrdiff_t ld_to, const float *from, ptrdiff_t ld_from,
                  int rows, int n, const float *factor);

    /* to = to factor[r] + from from_factor[r], each operation rounded. */
    void (*scale_add)(float *to, const float *from, ptrdiff_t ld, int rows, int n,
                      const float *factor, const float *from_factor);

    /* total[c] += s[r][c] for every row r, in ascending order. */
    void (*add_columns)(float *total, const float *s, ptrdiff_t ld, int rows, int n);

    /*
     * total[r] += sum of a[r][c] b[r][c] over the columns where a is not 0: there b may
     * be anything.
     */
    void (*dot_rows)(float *total, const float *a, ptrdiff_t ld_a, const float *b,
                     ptrdiff_t ld_b, int rows, int n);

    /*
     * The gradient of scores from that of weights, in place: g = p (g - delta[r]) where
     * p is not 0, else 0 whatever g is.
     */
    void (*score_gradients)(float *g, ptrdiff_t ld, int rows, int n, const float *p,
                            ptrdiff_t ld_p, const float *delta);

    /*
     * g = g (1 - t^2) with t = tanh(raw / cap) where g is not 0; 0 stays 0 whatever raw
     * is. The relative error of the factor is at most (12 + 6 |raw / cap|) u; a factor
     * under 2^-124 is 0.
     */
    void (*softcap_gradients)(float *g, ptrdiff_t ld, int rows, int n, const float *raw,
                              ptrdiff_t ld_raw, float cap);

    /* The sum of g[r][c] |distance + r - c|. */
    float (*sum_alibi)(const float *g, ptrdiff_t ld, int rows, int n, int64_t distance);

    /* Additive scores (kernel/additive.h). */
    struct additive_kernels additive;

    /*
     * Which weights dropout keeps: keep[r][c] = 1 if the random number of row + r and
     * column + c is not below threshold, else 0. The number, 0 to 2^24 - 1, is word
     * (column + c) mod 4 of Philox 4x32-10, without its low 8 bits, with the key seed
     * (low word first) and the counter (sequence, head, row + r, (column + c) / 4).
     * threshold is 0 to 2^24.
     */
    void (*dropout_mask)(uint8_t *keep, ptrdiff_t ld, int rows, int n,
                         const struct dropout_key *key, uint32_t row, int64_t column);

    /* s = s factor where the byte of keep is not 0, else 0. */
    void (*drop)(float *s, ptrdiff_t ld, int rows, int n, const uint8_t *keep,
                 ptrdiff_t ld_keep, float factor);

    /*
     * Rotates n pairs of each row by angles: a pair (x, y) of from becomes
     * (x c - y s, x s + y c) of to, which may be from, with c and s from the row's
     * cosines and sines. Products and sums are rounded one by one, so that all kernel
     * sets give the same bits. A pair is the elements i and i + half of a row, where
     * half is at least n, or 2 i and 2 i + 1.
     */
    void (*rotate_halves)(float *to, ptrdiff_t ld_to, const float *from,
                          ptrdiff_t ld_from, int rows, int n, ptrdiff_t half,
                          const float *cosines, const float *sines,
                          ptrdiff_t ld_angles);
    void (*rotate_pairs)(float *to, ptrdiff_t ld_to, const float *from,
                         ptrdiff_t ld_from, int rows, int n, const float *cosines,
                         const float *sines, ptrdiff_t ld_angles);

    /*
     * Normalises rows: to = (from - mean[r]) inverse[r] gain + shift, where mean[r] is
     * the mean of the row and inverse[r] = 1 / sqrt(mean of (from - mean[r])^2 +
     * epsilon), with epsilon > 0; both are written. Without mean (NULL) nothing is
     * subtracted; without gain it is 1, without shift 0. to may be from.
     *
     * With h the factor of gain and s = (32 + n / 64) u, the error of inverse is at
     * most s inverse, that of `to` s (|gain| (1 + |h|) + |shift|), that of mean
     * u |mean| + s / inverse, as long as s |mean| inverse < 1/4. Where squares overflow
     * inverse is 0. NaN or infinity make all of their row NaN; without mean, infinity
     * itself becomes NaN and makes the h of the others 0.
     */
    void (*norm)(float *to, ptrdiff_t ld_to, const float *from, ptrdiff_t ld_from,
                 int rows, int n, float epsilon, const float *gain, const float *shift,
                 float *mean, float *inverse);

    /*
     * The gradient of norm, from what that read and wrote. With y = grad_to gain:
     *
     *     grad_from = (or +=) inverse (y - mean of y - h mean of y h),
     *     grad_gain += sum of grad_to h,  grad_shift += sum of grad_to
     *
     * with sums over the rows in ascending order; grad_gain and grad_shift may be NULL.
     * Without mean (NULL) there is no mean of y. grad_from may be grad_to unless it
     * accumulates.
     *
     * With s and the limit as above, the rounding of mean[r] does not enter: the error
     * of h is at most s (1 + |h|), and that of the gradient, apart from underflow,
     * 2 s inverse (|y| + (1 + |h|) mean of |y| (1 + |h|)).
     */
    void (*norm_gradient)(float *grad_from, ptrdiff_t ld_grad_from,
                          const float *grad_to, ptrdiff_t ld_grad_to, const float *from,
                          ptrdiff_t ld_from, int rows, int n, const float *gain,
                          const float *mean, const float *inverse, bool accumulate,
                          float *grad_gain, float *grad_shift);

    /*
     * to = f(from); to may be from. The relative error is at most 10u, for GELU_TANH
     * (10 + 4 |w|) u; a result below 2^-118 in size may be 0. NaN stays NaN, and
     * infinity gives the limit: infinity, or 0 of any sign.
     */
    void (*activate)(enum activation activation, float *to, ptrdiff_t ld_to,
                     const float *from, ptrdiff_t ld_from, int rows, int n);

    /*
     * g = g f'(from). The error of f' = F + x F' is at most that many u times
     * F + |x| F', and 2^-118; NaN stays NaN, infinity gives 0 or 1. ReLU has f'(0) = 0.
     */
    void (*activation_gradient)(enum activation activation, float *g, ptrdiff_t ld,
                                const float *from, ptrdiff_t ld_from, int rows, int n);

    /* to = f(from) up (Shazeer, 2020), f as in activate; to may be from or up. */
    void (*gate)(enum activation activation, float *to, ptrdiff_t ld_to,
                 const float *from, ptrdiff_t ld_from, const float *up, ptrdiff_t ld_up,
                 int rows, int n);

    /*
     * The gradient of gate: grad_from = f'(from) up g, in this order, and grad_up =
     * f(from) g, f and f' as above; g may be grad_from or grad_up.
     */
    void (*gate_gradient)(enum activation activation, float *grad_from,
                          ptrdiff_t ld_grad_from, float *grad_up, ptrdiff_t ld_grad_up,
                          const float *g, ptrdiff_t ld_g, const float *from,
                          ptrdiff_t ld_from, const float *up, ptrdiff_t ld_up, int rows,
                          int n);

    /*
     * To f32 from a storage type: ATTN_F16, ATTN_BF16 or ATTN_I8, exactly, or ATTN_F32,
     * a copy of the bits. Strides are in elements, whose alignment is all that pointers
     * need. A signalling NaN of f16 becomes quiet, that of bf16 stays. All kernel sets
     * give the same bits.
     */
    void (*widen)(int32_t dtype, float *to, ptrdiff_t ld_to, const void *from,
                  ptrdiff_t ld_from, int rows, int n);

    /*
     * From f32 to ATTN_F16 or ATTN_BF16, to nearest, ties to even, or ATTN_F32, a copy
     * of the bits. Subnormals are kept; what rounds to beyond the largest number
     * becomes infinity; NaN becomes a quiet NaN with its sign and the upper bits of its
     * payload. All kernel sets give the same bits.
     */
    void (*narrow)(int32_t dtype, void *to, ptrdiff_t ld_to, const float *from,
                   ptrdiff_t ld_from, int rows, int n);

    /*
     * To signed bytes with a scale for each row: scale[r * scale_step] = largest / 127,
     * with the largest |from| of the row, but at least 2^-126, and to = from / scale
     * rounded to nearest, ties to even: -127 to 127. Then
     *
     *     |from - scale to| <= scale / 2 (1 + 256u)
     *
     * A row of zeros has scale 0; one with NaN or infinity has scale NaN, so that it
     * reads as NaN; `to` is 0 in both. All kernel sets give the same bits.
     */
    void (*quantize)(int8_t *to, ptrdiff_t ld_to, float *scale, ptrdiff_t scale_step,
                     const float *from, ptrdiff_t ld_from, int rows, int n);
};

/* The table of an ISA_..., or NULL if this build has none. */
const struct kernels *attn_kernels(int32_t isa);

/* The best kernel set that processor, build and ATTN_ISA allow. */
int32_t attn_kernels_best(void);

extern const struct kernels attn_kernels_scalar;
extern const struct kernels attn_kernels_avx2;
extern const struct kernels attn_kernels_avx512;
extern const struct kernels attn_kernels_amx;
extern const struct kernels attn_kernels_neon;
extern const struct kernels attn_kernels_pieces;

extern const struct piece_kernels attn_pieces_amx;
extern const struct piece_kernels attn_pieces_plain;

#endif
