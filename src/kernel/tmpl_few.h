/*
 * Template: a few rows of queries against many keys, and of weights against many
 * values, of any storage type. The keys come from memory and are used once, so the
 * order is theirs: whole rows one after the other, which is what processors fetch ahead
 * best (rows side by side halve the bandwidth). Include after a vec_*.h and
 * tmpl_convert.h.
 */
#ifndef ATTN_KERNEL_TMPL_FEW_H
#define ATTN_KERNEL_TMPL_FEW_H

#include <string.h>

#include "kernel/tmpl_ahead.h"

/* Vectors of a row at a time, enough that a loop's own cost does not count. */
enum { FEW_STEP = 8 };
static const ptrdiff_t few_step = (ptrdiff_t)FEW_STEP * WIDTH;

/*
 * sum[r] += the products of `vecs` vectors, or of the first `part` lanes of one. Two
 * sums take turns, so that a product need not wait for the one before.
 */
static inline __attribute__((always_inline)) void
few_dot_step(int32_t dtype, int rows, int vecs, int part, const float *q,
             ptrdiff_t ld_q, const void *k, ptrdiff_t at, vec (*sum)[2]) {
    const int n = part > 0 ? part : WIDTH;
    UNROLL_LOOP
    for (ptrdiff_t v = 0; v < vecs; v++) {
        const vec x = load_stored(dtype, k, at + v * WIDTH, n);
        UNROLL_LOOP
        for (ptrdiff_t r = 0; r < rows; r++) {
            const vec y = load_some(q + r * ld_q + v * WIDTH, n, 0.0f);
            sum[r][v % 2] = vec_muladd(y, x, sum[r][v % 2]);
        }
    }
}

/* The same over a whole row of dim elements, which starts at element `at` of k. */
static inline __attribute__((always_inline)) void few_dot(int32_t dtype, int rows,
                                                          int dim, const float *q,
                                                          ptrdiff_t ld_q, const void *k,
                                                          ptrdiff_t at, vec (*sum)[2]) {
    ptrdiff_t c = 0;
    for (; c + few_step <= dim; c += few_step) {
        few_dot_step(dtype, rows, FEW_STEP, 0, q + c, ld_q, k, at + c, sum);
    }
    for (; c + WIDTH <= dim; c += WIDTH) {
        few_dot_step(dtype, rows, 1, 0, q + c, ld_q, k, at + c, sum);
    }
    if (c < dim) {
        few_dot_step(dtype, rows, 1, dim - c, q + c, ld_q, k, at + c, sum);
    }
}

/* Rows of queries that share the sums of a block of keys. */
enum { FEW_ROWS = 8 };

/*
 * Sums of the products of WIDTH keys with rows, by pairs of rows and not yet added up
 * over lanes (see vec_spread).
 */
struct spread {
    float pair[FEW_ROWS / 2][WIDTH * SPREAD];
};

/* Keeps the sums of key j and `rows` rows from row r, an even one, on. */
static inline __attribute__((always_inline)) void
few_keep(struct spread *spread, ptrdiff_t r, int rows, ptrdiff_t j, const vec *sum) {
    for (ptrdiff_t i = 0; i < rows; i += 2) {
        const vec other = i + 1 < rows ? sum[i + 1] : vec_set(0.0f);
        vec_spread(spread->pair[(r + i) / 2] + j * SPREAD, sum[i], other);
    }
}

/*
 * Keys [j, end) and one or two rows that are `vecs` vectors long: the rows stay in
 * registers.
 */
static inline __attribute__((always_inline)) void
few_spread_short(int32_t dtype, ptrdiff_t r, int rows, ptrdiff_t j, ptrdiff_t end,
                 int vecs, const float *q, ptrdiff_t ld_q, const void *k, ptrdiff_t at,
                 ptrdiff_t ld_k, const struct ahead *ahead, struct spread *spread) {
    vec y[2][FEW_STEP];
    for (ptrdiff_t i = 0; i < rows; i++) {
        for (ptrdiff_t v = 0; v < vecs; v++) {
            y[i][v] = vec_load(q + (r + i) * ld_q + v * WIDTH);
        }
    }
    KEEP_LOOP
    for (; j < end; j++) {
        /* two sums each, so that a product need not wait for the one before */
        const vec zero = vec_set(0.0f);
        vec even[2] = {zero, zero}, odd[2] = {zero, zero};
        ahead_call(ahead, stored_at(dtype, k, at + j * ld_k));
        for (ptrdiff_t v = 0; v < vecs; v++) {
            const vec x = load_stored(dtype, k, at + j * ld_k + v * WIDTH, WIDTH);
            for (ptrdiff_t i = 0; i < rows; i++) {
                vec *sum = v % 2 == 0 ? &even[i] : &odd[i];
                *sum = vec_muladd(y[i][v], x, *sum);
            }
        }
        const vec sum[2] = {vec_add(even[0], odd[0]), vec_add(even[1], odd[1])};
        few_keep(spread, r, rows, j, sum);
    }
}

/* The same for up to four rows of any length. */
static inline __attribute__((always_inline)) void
few_spread_any(int32_t dtype, ptrdiff_t r, int rows, ptrdiff_t j, ptrdiff_t end,
               int dim, const float *q, ptrdiff_t ld_q, const void *k, ptrdiff_t at,
               ptrdiff_t ld_k, const struct ahead *ahead, struct spread *spread) {
    KEEP_LOOP
    for (; j < end; j++) {
        vec part[4][2], sum[4];
        for (ptrdiff_t i = 0; i < rows; i++) {
            part[i][0] = part[i][1] = vec_set(0.0f);
        }
        ahead_call(ahead, stored_at(dtype, k, at + j * ld_k));
        few_dot(dtype, rows, dim, q + r * ld_q, ld_q, k, at + j * ld_k, part);
        for (ptrdiff_t i = 0; i < rows; i++) {
            sum[i] = vec_add(part[i][0], part[i][1]);
        }
        few_keep(spread, r, rows, j, sum);
    }
}

/* Keys [j, end) and all rows; vecs is 0 for rows that are not short. */
static inline __attribute__((always_inline)) void
few_spread(int32_t dtype, int rows, ptrdiff_t j, ptrdiff_t end, int vecs, int dim,
           const float *q, ptrdiff_t ld_q, const void *k, ptrdiff_t at, ptrdiff_t ld_k,
           struct spread *spread) {
    const int passes = vecs > 0 ? (rows + 1) / 2 : rows / 4 + rows % 4 / 2 + rows % 2;
    const int bytes = stored_bytes(dtype);
    struct ahead ahead = ahead_of(rows, passes, (ptrdiff_t)dim * bytes, ld_k * bytes);
    ptrdiff_t r = 0;
#define PASS(kernel, some, size)                                                       \
    do {                                                                               \
        kernel(dtype, r, some, j, end, size, q, ld_q, k, at, ld_k, &ahead, spread);    \
        ahead_pass(&ahead);                                                            \
    } while (0)
    if (vecs > 0) {
        for (; r + 2 <= rows; r += 2) {
            PASS(few_spread_short, 2, vecs);
        }
        if (r < rows) {
            PASS(few_spread_short, 1, vecs);
        }
        return;
    }
    for (; r + 4 <= rows; r += 4) {
        PASS(few_spread_any, 4, dim);
    }
    for (; r + 2 <= rows; r += 2) {
        PASS(few_spread_any, 2, dim);
    }
    if (r < rows) {
        PASS(few_spread_any, 1, dim);
    }
#undef PASS
}

/* Scores of at most WIDTH keys and FEW_ROWS rows. */
static inline __attribute__((always_inline)) void
few_scores_block(int32_t dtype, int rows, int keys, int vecs, int dim, vec scale,
                 const float *q, ptrdiff_t ld_q, const void *k, ptrdiff_t at,
                 ptrdiff_t ld_k, float *s, ptrdiff_t ld_s) {
    struct spread spread;
    if (keys < WIDTH) {
        memset(spread.pair, 0, (size_t)(rows + 1) / 2 * sizeof spread.pair[0]);
    }
    for (ptrdiff_t j = 0; j < keys; j += FEW_KEYS) {
        const ptrdiff_t end = j + FEW_KEYS < keys ? j + FEW_KEYS : keys;
        few_spread(dtype, rows, j, end, vecs, dim, q, ld_q, k, at, ld_k, &spread);
    }
    for (ptrdiff_t r = 0; r < rows; r += 2) {
        vec sum[2];
        vec_gather(spread.pair[r / 2], &sum[0], &sum[1]);
        store_some(s + r * ld_s, keys, vec_mul(sum[0], scale));
        if (r + 1 < rows) {
            store_some(s + (r + 1) * ld_s, keys, vec_mul(sum[1], scale));
        }
    }
}

/* Dims of 64 and 128 with sixteen lanes: common, and 32 registers hold two rows. */
enum { FEW_SHORT = WIDTH >= 16 };

static inline __attribute__((always_inline)) void
few_scores_keys(int32_t dtype, int rows, int keys, int dim, vec scale, const float *q,
                ptrdiff_t ld_q, const void *k, ptrdiff_t at, ptrdiff_t ld_k, float *s,
                ptrdiff_t ld_s) {
    for (ptrdiff_t r = 0; r < rows; r += FEW_ROWS, q += FEW_ROWS * ld_q) {
        const int some = rows - r < FEW_ROWS ? rows - r : FEW_ROWS;
        float *to = s + r * ld_s;
        if (FEW_SHORT && dim == 8 * WIDTH) {
            few_scores_block(dtype, some, keys, 8, dim, scale, q, ld_q, k, at, ld_k, to,
                             ld_s);
        } else if (FEW_SHORT && dim == 4 * WIDTH) {
            few_scores_block(dtype, some, keys, 4, dim, scale, q, ld_q, k, at, ld_k, to,
                             ld_s);
        } else {
            few_scores_block(dtype, some, keys, 0, dim, scale, q, ld_q, k, at, ld_k, to,
                             ld_s);
        }
    }
}

static inline __attribute__((always_inline)) void
few_scores_of(int32_t dtype, int rows, int n, int dim, float scale, const float *q,
              ptrdiff_t ld_q, const void *k, ptrdiff_t ld_k, float *s, ptrdiff_t ld_s) {
    const vec factor = vec_set(scale);
    ptrdiff_t j = 0;
    for (; j + WIDTH <= n; j += WIDTH) {
        few_scores_keys(dtype, rows, WIDTH, dim, factor, q, ld_q, k, j * ld_k, ld_k,
                        s + j, ld_s);
    }
    if (j < n) {
        few_scores_keys(dtype, rows, n - j, dim, factor, q, ld_q, k, j * ld_k, ld_k,
                        s + j, ld_s);
    }
}

static void kernel_few_scores(int32_t dtype, int rows, int n, int dim, float scale,
                              const float *q, ptrdiff_t ld_q, const void *k,
                              ptrdiff_t ld_k, float *s, ptrdiff_t ld_s) {
    switch (dtype) {
    case ATTN_F16:
        few_scores_of(ATTN_F16, rows, n, dim, scale, q, ld_q, k, ld_k, s, ld_s);
        break;
    case ATTN_BF16:
        few_scores_of(ATTN_BF16, rows, n, dim, scale, q, ld_q, k, ld_k, s, ld_s);
        break;
    case ATTN_I8:
        few_scores_of(ATTN_I8, rows, n, dim, scale, q, ld_q, k, ld_k, s, ld_s);
        break;
    default:
        few_scores_of(ATTN_F32, rows, n, dim, scale, q, ld_q, k, ld_k, s, ld_s);
    }
}

/*
 * A block of sums: 2 rows x FEW_VECS vectors stay in registers while the keys of a
 * block go by. Wider registers come with twice as many of them.
 */
enum { FEW_PAIR = 2, FEW_VECS = WIDTH >= 16 ? 8 : 4 };
static const ptrdiff_t few_part = (ptrdiff_t)FEW_VECS * WIDTH;

/*
 * Columns from element `at` of the first row of v on: `vecs` vectors, or the first
 * `part` lanes of one. What of the rows lies behind them, `rest` bytes, is called for,
 * so that rows come in whole, and what lies ahead unless that is NULL.
 */
static inline __attribute__((always_inline)) void
few_values_block(int32_t dtype, int rows, int vecs, int part, int keys, const float *w,
                 ptrdiff_t ld_w, const void *v, ptrdiff_t at, ptrdiff_t ld_v,
                 ptrdiff_t rest, const struct ahead *ahead, float *sums, ptrdiff_t ld) {
    const int n = part > 0 ? part : WIDTH;
    vec sum[FEW_PAIR][FEW_VECS];
    for (ptrdiff_t r = 0; r < rows; r++) {
        for (ptrdiff_t i = 0; i < vecs; i++) {
            sum[r][i] = load_some(sums + r * ld + i * WIDTH, n, 0.0f);
        }
    }
    KEEP_LOOP
    for (ptrdiff_t j = 0; j < keys; j++) {
        const ptrdiff_t row = at + j * ld_v;
        vec x[FEW_VECS];
        for (ptrdiff_t i = 0; i < vecs; i++) {
            x[i] = load_stored(dtype, v, row + i * WIDTH, n);
        }
        const char *behind = stored_at(dtype, v, row + (ptrdiff_t)vecs * WIDTH);
        for (ptrdiff_t i = 0; i < rest; i += LINE_BYTES) {
            __builtin_prefetch(behind + i);
        }
        if (ahead != NULL) {
            ahead_call(ahead, stored_at(dtype, v, row));
        }
        for (ptrdiff_t r = 0; r < rows; r++) {
            const vec y = vec_set(w[r * ld_w + j]);
            for (ptrdiff_t i = 0; i < vecs; i++) {
                sum[r][i] = vec_muladd(y, x[i], sum[r][i]);
            }
        }
    }
    for (ptrdiff_t r = 0; r < rows; r++) {
        for (ptrdiff_t i = 0; i < vecs; i++) {
            store_some(sums + r * ld + i * WIDTH, n, sum[r][i]);
        }
    }
}

/*
 * All columns of one or two rows of weights. The first of them call for the rest of
 * each row, unless rows have been called for in whole.
 */
static inline __attribute__((always_inline)) void
few_values_rows(int32_t dtype, int rows, int keys, int dim, bool first, const float *w,
                ptrdiff_t ld_w, const void *v, ptrdiff_t at, ptrdiff_t ld_v,
                const struct ahead *ahead, float *sums, ptrdiff_t ld) {
    const ptrdiff_t bytes = first && ahead == NULL ? stored_bytes(dtype) : 0;
    ptrdiff_t rest = dim * bytes; /* of rows that no block has called for */
    ptrdiff_t c = 0;
    for (; c + few_part <= dim; c += few_part, rest = 0, ahead = NULL) {
        rest -= few_part * bytes;
        few_values_block(dtype, rows, FEW_VECS, 0, keys, w, ld_w, v, at + c, ld_v, rest,
                         ahead, sums + c, ld);
    }
    for (; c + few_part / 2 <= dim; c += few_part / 2, rest = 0, ahead = NULL) {
        rest -= few_part / 2 * bytes;
        few_values_block(dtype, rows, FEW_VECS / 2, 0, keys, w, ld_w, v, at + c, ld_v,
                         rest, ahead, sums + c, ld);
    }
    for (; c + WIDTH <= dim; c += WIDTH, rest = 0, ahead = NULL) {
        rest -= WIDTH * bytes;
        few_values_block(dtype, rows, 1, 0, keys, w, ld_w, v, at + c, ld_v, rest, ahead,
                         sums + c, ld);
    }
    if (c < dim) {
        few_values_block(dtype, rows, 1, dim - c, keys, w, ld_w, v, at + c, ld_v, 0,
                         ahead, sums + c, ld);
    }
}

static inline __attribute__((always_inline)) void
few_values_of(int32_t dtype, bool call, int rows, int n, int dim, const float *w,
              ptrdiff_t ld_w, const void *v, ptrdiff_t ld_v, float *sums,
              ptrdiff_t ld) {
    const int bytes = stored_bytes(dtype), passes = 1 + (rows - 1) / FEW_PAIR;
    for (ptrdiff_t j = 0; j < n; j += FEW_KEYS) {
        const int keys = n - j < FEW_KEYS ? n - j : FEW_KEYS;
        struct ahead next =
            ahead_of(rows, passes, (ptrdiff_t)dim * bytes, ld_v * bytes);
        struct ahead *ahead = call ? &next : NULL;
        ptrdiff_t r = 0;
        for (; r + FEW_PAIR <= rows; r += FEW_PAIR) {
            few_values_rows(dtype, FEW_PAIR, keys, dim, r == 0, w + r * ld_w + j, ld_w,
                            v, j * ld_v, ld_v, ahead, sums + r * ld, ld);
            ahead_pass(&next);
        }
        if (r < rows) {
            few_values_rows(dtype, 1, keys, dim, r == 0, w + r * ld_w + j, ld_w, v,
                            j * ld_v, ld_v, ahead, sums + r * ld, ld);
        }
    }
}

/* A function each, since the one that calls for nothing ahead has no register to spare
 * for it. */
#define FEW_VALUES(name, call)                                                         \
    static NEVER_INLINE void name(int32_t dtype, int rows, int n, int dim,             \
                                  const float *w, ptrdiff_t ld_w, const void *v,       \
                                  ptrdiff_t ld_v, float *sums, ptrdiff_t ld) {         \
        switch (dtype) {                                                               \
        case ATTN_F16:                                                                 \
            few_values_of(ATTN_F16, call, rows, n, dim, w, ld_w, v, ld_v, sums, ld);   \
            break;                                                                     \
        case ATTN_BF16:                                                                \
            few_values_of(ATTN_BF16, call, rows, n, dim, w, ld_w, v, ld_v, sums, ld);  \
            break;                                                                     \
        case ATTN_I8:                                                                  \
            few_values_of(ATTN_I8, call, rows, n, dim, w, ld_w, v, ld_v, sums, ld);    \
            break;                                                                     \
        default:                                                                       \
            few_values_of(ATTN_F32, call, rows, n, dim, w, ld_w, v, ld_v, sums, ld);   \
        }                                                                              \
    }
FEW_VALUES(few_values_beside, false)
FEW_VALUES(few_values_apart, true)
#undef FEW_VALUES

static void kernel_few_values(int32_t dtype, int rows, int n, int dim, const float *w,
                              ptrdiff_t ld_w, const void *v, ptrdiff_t ld_v,
                              float *sums, ptrdiff_t ld) {
    const bool call = ahead_of(rows, 1, (ptrdiff_t)dim * stored_bytes(dtype),
                               ld_v * stored_bytes(dtype))
                          .lines > 0;
    (call ? few_values_apart : few_values_beside)(dtype, rows, n, dim, w, ld_w, v, ld_v,
                                                  sums, ld);
}

/* s[r][j] *= factor[j step] */
static void kernel_scale_columns(float *s, ptrdiff_t ld, int rows, int n,
                                 const float *factor, ptrdiff_t step) {
    for (ptrdiff_t r = 0; r < rows; r++) {
        float *row = s + r * ld;
        for (ptrdiff_t j = 0; j < n; j++) {
            row[j] *= factor[j * step];
        }
    }
}

#endif
