/*
 * Template: a few rows of queries against keys, and of weights against values, that lie
 * in blocks (kernel/block.h). Include after a vec_*.h and tmpl_convert.h.
 */
#ifndef ATTN_KERNEL_TMPL_FEW_BLOCK_H
#define ATTN_KERNEL_TMPL_FEW_BLOCK_H

#include <string.h>

#include "kernel/block.h"
#include "kernel/tmpl_ahead.h"

/* Vectors of the keys of a block, and of the columns of a group. */
enum { KEY_VECS = BLOCK_LANES / WIDTH, GROUP_VECS = GROUP_COLUMNS / WIDTH };

/*
 * The most rows at once, whose sums stay in registers. With few lanes the vectors of a
 * block are sums enough that a product need not wait for the one before; else each
 * vector has two sums, of every second element. Not in f32: for that, one sum waits
 * less than the memory takes, and one load that steps on by a line each time is read
 * ahead better than two that take turns.
 */
enum {
    SCORE_ROWS = WIDTH >= 16  ? 8
                 : WIDTH >= 4 ? 4
                              : 1,
    SCORE_SUMS = WIDTH >= 16 ? 2 : 1,
    VALUE_ROWS = WIDTH >= 16  ? 8
                 : WIDTH >= 4 ? 2
                              : 1,
};

/*
 * So many rows take longer to multiply than to read: what lies ahead is called for, as
 * the processor by itself does not look as far. With fewer rows it does, and calling
 * would be in its way.
 */
enum { AHEAD_ROWS = 8, AHEAD_BYTES = 8192 };

/* Calls for what lies `ahead` bytes after n numbers from element `at` on; 0: nothing.
 */
static inline __attribute__((always_inline)) void call_ahead(int32_t dtype,
                                                             const void *from,
                                                             ptrdiff_t at, ptrdiff_t n,
                                                             ptrdiff_t ahead) {
    const char *to = stored_at(dtype, from, at) + ahead;
    for (ptrdiff_t i = 0; i < n * stored_bytes(dtype) && ahead != 0; i += LINE_BYTES) {
        __builtin_prefetch(to + i, 0, 2);
    }
}

/* Lanes of vector v of a block that has so many keys. */
static inline int key_lanes(int keys, ptrdiff_t v) {
    const int left = keys - (int)v * WIDTH;
    return left > WIDTH ? WIDTH : left;
}

/* sum[r] += q[r] times the elements of all keys that start at element `at` of k. */
static inline __attribute__((always_inline)) void
block_dot_step(int32_t dtype, int rows, int keys, const float *q, ptrdiff_t ld_q,
               const void *k, ptrdiff_t at, vec sum[SCORE_ROWS][KEY_VECS]) {
    for (ptrdiff_t v = 0; v < KEY_VECS; v++) {
        if (key_lanes(keys, v) <= 0) {
            continue;
        }
        const vec x = load_stored(dtype, k, at + v * WIDTH, key_lanes(keys, v));
        for (ptrdiff_t r = 0; r < rows; r++) {
            sum[r][v] = vec_muladd(vec_set(q[r * ld_q]), x, sum[r][v]);
        }
    }
}

/*
 * Scores of `rows` rows with keys [lane, lane + n) of a block of so many, which starts
 * at element `at` of k.
 */
static inline __attribute__((always_inline)) void
block_scores_rows(int32_t dtype, int rows, ptrdiff_t ahead, int keys, int lane, int n,
                  int dim, vec scale, const float *q, ptrdiff_t ld_q, const void *k,
                  ptrdiff_t at, float *s, ptrdiff_t ld_s) {
    const int sums = dtype == ATTN_F32 ? 1 : SCORE_SUMS;
    vec sum[SCORE_SUMS][SCORE_ROWS][KEY_VECS];
    for (ptrdiff_t i = 0; i < (ptrdiff_t)sums * rows * KEY_VECS; i++) {
        sum[i / KEY_VECS / rows][i / KEY_VECS % rows][i % KEY_VECS] = vec_set(0.0f);
    }
    ptrdiff_t c = 0;
    KEEP_LOOP
    for (; c + sums <= dim; c += sums) {
        call_ahead(dtype, k, at + c * keys, (ptrdiff_t)sums * keys, ahead);
        for (ptrdiff_t i = 0; i < sums; i++) {
            block_dot_step(dtype, rows, keys, q + c + i, ld_q, k, at + (c + i) * keys,
                           sum[i]);
        }
    }
    if (c < dim) {
        block_dot_step(dtype, rows, keys, q + c, ld_q, k, at + c * keys, sum[0]);
    }
    for (ptrdiff_t r = 0; r < rows; r++) {
        float all[BLOCK_LANES];
        float *to = n == BLOCK_LANES ? s + r * ld_s : all;
        for (ptrdiff_t v = 0; v < KEY_VECS; v++) {
            const vec x = sums > 1 ? vec_add(sum[0][r][v], sum[SCORE_SUMS - 1][r][v])
                                   : sum[0][r][v];
            vec_store(to + v * WIDTH, vec_mul(x, scale));
        }
        if (n < BLOCK_LANES) {
            memcpy(s + r * ld_s, all + lane, (size_t)n * sizeof *s);
        }
    }
}

/* All rows; the first of them call ahead, so far or, with 0, as said above. */
static inline __attribute__((always_inline)) void
block_scores_all(int32_t dtype, int rows, ptrdiff_t ahead, int keys, int lane, int n,
                 int dim, vec scale, const float *q, ptrdiff_t ld_q, const void *k,
                 ptrdiff_t at, float *s, ptrdiff_t ld_s) {
    ptrdiff_t r = 0;
    if (ahead == 0 && rows >= AHEAD_ROWS) {
        block_scores_rows(dtype, SCORE_ROWS, AHEAD_BYTES, keys, lane, n, dim, scale, q,
                          ld_q, k, at, s, ld_s);
        r = SCORE_ROWS;
    }
    for (; r + SCORE_ROWS <= rows; r += SCORE_ROWS, ahead = 0) {
        block_scores_rows(dtype, SCORE_ROWS, ahead, keys, lane, n, dim, scale,
                          q + r * ld_q, ld_q, k, at, s + r * ld_s, ld_s);
    }
    for (; SCORE_ROWS > 4 && r + 4 <= rows; r += 4, ahead = 0) {
        block_scores_rows(dtype, SCORE_ROWS > 4 ? 4 : 1, ahead, keys, lane, n, dim,
                          scale, q + r * ld_q, ld_q, k, at, s + r * ld_s, ld_s);
    }
    for (; SCORE_ROWS > 2 && r + 2 <= rows; r += 2, ahead = 0) {
        block_scores_rows(dtype, SCORE_ROWS > 2 ? 2 : 1, ahead, keys, lane, n, dim,
                          scale, q + r * ld_q, ld_q, k, at, s + r * ld_s, ld_s);
    }
    for (; r < rows; r++, ahead = 0) {
        block_scores_rows(dtype, 1, ahead, keys, lane, n, dim, scale, q + r * ld_q,
                          ld_q, k, at, s + r * ld_s, ld_s);
    }
}

/* Rows [lane, lane + n) of blocks, all of BLOCK_LANES unless there is but one. */
static inline __attribute__((always_inline)) void
block_scores_of(int32_t dtype, int rows, int keys, int lane, int n, int dim,
                float scale, const float *q, ptrdiff_t ld_q, const void *k,
                ptrdiff_t ahead, float *s, ptrdiff_t ld_s) {
    const vec factor = vec_set(scale);
    ptrdiff_t at = 0;
    for (int j = 0; j < n; at += (ptrdiff_t)dim * BLOCK_LANES, lane = 0) {
        const int some = n - j < keys - lane ? n - j : keys - lane;
        if (keys == BLOCK_LANES) {
            block_scores_all(dtype, rows, ahead, BLOCK_LANES, lane, some, dim, factor,
                             q, ld_q, k, at, s + j, ld_s);
        } else {
            block_scores_all(dtype, rows, ahead, keys, lane, some, dim, factor, q, ld_q,
                             k, at, s + j, ld_s);
        }
        j += some;
    }
}

/*
 * Every type has functions of its own, one that calls ahead and one that does not:
 * compilers do badly by one that has it all.
 */
#define BY_TYPE(name, dtype)                                                           \
    ((dtype) == ATTN_F16    ? name##_f16                                               \
     : (dtype) == ATTN_BF16 ? name##_bf16                                              \
     : (dtype) == ATTN_I8   ? name##_i8                                                \
                            : name##_f32)

#define SCORES_OF(type, dtype)                                                         \
    static NEVER_INLINE void block_scores_##type(                                      \
        int rows, int keys, int lane, int n, int dim, float scale, const float *q,     \
        ptrdiff_t ld_q, const void *k, float *s, ptrdiff_t ld_s) {                     \
        block_scores_of(dtype, rows, keys, lane, n, dim, scale, q, ld_q, k, 0, s,      \
                        ld_s);                                                         \
    }                                                                                  \
    static NEVER_INLINE void block_scores_ahead_##type(                                \
        int rows, int keys, int lane, int n, int dim, float scale, const float *q,     \
        ptrdiff_t ld_q, const void *k, ptrdiff_t ahead, float *s, ptrdiff_t ld_s) {    \
        block_scores_of(dtype, rows, keys, lane, n, dim, scale, q, ld_q, k, ahead, s,  \
                        ld_s);                                                         \
    }
SCORES_OF(f32, ATTN_F32)
SCORES_OF(f16, ATTN_F16)
SCORES_OF(bf16, ATTN_BF16)
SCORES_OF(i8, ATTN_I8)
#undef SCORES_OF

static void kernel_block_scores(int32_t dtype, int rows, int keys, int lane, int n,
                                int dim, float scale, const float *q, ptrdiff_t ld_q,
                                const void *k, ptrdiff_t ahead, float *s,
                                ptrdiff_t ld_s) {
    if (ahead == 0) {
        BY_TYPE(block_scores, dtype)
        (rows, keys, lane, n, dim, scale, q, ld_q, k, s, ld_s);
    } else {
        BY_TYPE(block_scores_ahead, dtype)
        (rows, keys, lane, n, dim, scale, q, ld_q, k, ahead, s, ld_s);
    }
}

/*
 * sums += w v for `keys` rows of values, ld_v numbers apart, and columns from element
 * `at` of the first on: `vecs` vectors, or n < WIDTH lanes of one. What lies `ahead` is
 * called for row by row, a share of it in one piece.
 */
static inline __attribute__((always_inline)) void
block_values_step(int32_t dtype, int rows, ptrdiff_t ahead, const struct ahead *share,
                  int vecs, int n, int keys, const float w[VALUE_ROWS][BLOCK_LANES],
                  const void *v, ptrdiff_t at, ptrdiff_t ld_v, float *sums,
                  ptrdiff_t ld) {
    vec sum[VALUE_ROWS][GROUP_VECS];
    for (ptrdiff_t r = 0; r < rows; r++) {
        for (ptrdiff_t i = 0; i < vecs; i++) {
            sum[r][i] = load_some(sums + r * ld + i * WIDTH, n, 0.0f);
        }
    }
    if (share != NULL) {
        ahead_call(share, stored_at(dtype, v, at));
    }
    UNROLL_LOOP
    for (ptrdiff_t j = 0; j < keys; j++) {
        vec x[GROUP_VECS];
        call_ahead(dtype, v, at + j * ld_v, (ptrdiff_t)vecs * WIDTH, ahead);
        for (ptrdiff_t i = 0; i < vecs; i++) {
            x[i] = vec_held(load_stored(dtype, v, at + j * ld_v + i * WIDTH, n));
        }
        for (ptrdiff_t r = 0; r < rows; r++) {
            const vec y = vec_set(w[r][j]);
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

/* A group of columns, from element `at` of v on; all keys of a block or some. */
static inline __attribute__((always_inline)) void
block_values_group(int32_t dtype, int rows, ptrdiff_t ahead, const struct ahead *share,
                   int keys, int columns, const float w[VALUE_ROWS][BLOCK_LANES],
                   const void *v, ptrdiff_t at, float *sums, ptrdiff_t ld) {
    if (columns == GROUP_COLUMNS && keys == BLOCK_LANES) {
        block_values_step(dtype, rows, ahead, share, GROUP_VECS, WIDTH, BLOCK_LANES, w,
                          v, at, GROUP_COLUMNS, sums, ld);
        return;
    }
    ptrdiff_t c = 0;
    for (; c + WIDTH <= columns; c += WIDTH) {
        block_values_step(dtype, rows, 0, NULL, 1, WIDTH, keys, w, v, at + c, columns,
                          sums + c, ld);
    }
    if (c < columns) {
        block_values_step(dtype, rows, 0, NULL, 1, columns - (int)c, keys, w, v, at + c,
                          columns, sums + c, ld);
    }
}

/* A block that starts at element `block` of v: n of its rows, from `lane` on. */
static inline __attribute__((always_inline)) void
block_values_rows(int32_t dtype, int rows, ptrdiff_t ahead, const struct ahead *share,
                  int keys, int lane, int n, int dim, const float *w, ptrdiff_t ld_w,
                  const void *v, ptrdiff_t block, float *sums, ptrdiff_t ld) {
    /* weights side by side: as many streams would get into the way of the values */
    float near[VALUE_ROWS][BLOCK_LANES];
    for (ptrdiff_t r = 0; r < rows; r++) {
        if (n == BLOCK_LANES) {
            memcpy(near[r], w + r * ld_w, sizeof near[r]);
        } else {
            memcpy(near[r], w + r * ld_w, (size_t)n * sizeof *w);
        }
    }
    for (int c = 0; c < dim; c += GROUP_COLUMNS) {
        block_values_group(dtype, rows, ahead, share, n, group_columns(dim, c), near, v,
                           block + block_group_row(dim, c, keys, lane), sums + c, ld);
    }
}

/* What each of so many passes calls for of a group of columns, while it uses another.
 */
static inline struct ahead share_of(int32_t dtype, int passes) {
    const int bytes = BLOCK_LANES * GROUP_COLUMNS * stored_bytes(dtype);
    const int lines = bytes / LINE_BYTES;
    return (struct ahead){AHEAD_BYTES, (lines + passes - 1) / passes, lines};
}

/* All rows; the first of them call ahead, so far or, with 0, as said above, where each
 * has its share if they do not fit the registers together. */
static inline __attribute__((always_inline)) void
block_values_of(int32_t dtype, int rows, int keys, int lane, int n, int dim,
                const float *w, ptrdiff_t ld_w, const void *v, ptrdiff_t block,
                ptrdiff_t far, float *sums, ptrdiff_t ld) {
    for (int j = 0; j < n; block += (ptrdiff_t)dim * BLOCK_LANES, lane = 0) {
        const int some = n - j < keys - lane ? n - j : keys - lane;
        ptrdiff_t r = 0, ahead = far;
        if (far == 0 && rows >= AHEAD_ROWS && (int)VALUE_ROWS >= AHEAD_ROWS) {
            block_values_rows(dtype, VALUE_ROWS, AHEAD_BYTES, NULL, keys, lane, some,
                              dim, w + j, ld_w, v, block, sums, ld);
            r = VALUE_ROWS;
        } else if (far == 0 && rows >= AHEAD_ROWS) {
            struct ahead share = share_of(dtype, rows / VALUE_ROWS);
            for (; r + VALUE_ROWS <= rows; r += VALUE_ROWS, ahead_pass(&share)) {
                block_values_rows(dtype, VALUE_ROWS, 0, &share, keys, lane, some, dim,
                                  w + r * ld_w + j, ld_w, v, block, sums + r * ld, ld);
            }
        }
        for (; r + VALUE_ROWS <= rows; r += VALUE_ROWS, ahead = 0) {
            block_values_rows(dtype, VALUE_ROWS, ahead, NULL, keys, lane, some, dim,
                              w + r * ld_w + j, ld_w, v, block, sums + r * ld, ld);
        }
        for (; VALUE_ROWS > 4 && r + 4 <= rows; r += 4, ahead = 0) {
            block_values_rows(dtype, VALUE_ROWS > 4 ? 4 : 1, ahead, NULL, keys, lane,
                              some, dim, w + r * ld_w + j, ld_w, v, block,
                              sums + r * ld, ld);
        }
        for (; VALUE_ROWS > 2 && r + 2 <= rows; r += 2, ahead = 0) {
            block_values_rows(dtype, VALUE_ROWS > 2 ? 2 : 1, ahead, NULL, keys, lane,
                              some, dim, w + r * ld_w + j, ld_w, v, block,
                              sums + r * ld, ld);
        }
        for (; r < rows; r++, ahead = 0) {
            block_values_rows(dtype, 1, ahead, NULL, keys, lane, some, dim,
                              w + r * ld_w + j, ld_w, v, block, sums + r * ld, ld);
        }
        j += some;
    }
}

#define VALUES_OF(type, dtype)                                                         \
    static NEVER_INLINE void block_values_##type(                                      \
        int rows, int keys, int lane, int n, int dim, const float *w, ptrdiff_t ld_w,  \
        const void *v, ptrdiff_t block, float *sums, ptrdiff_t ld) {                   \
        block_values_of(dtype, rows, keys, lane, n, dim, w, ld_w, v, block, 0, sums,   \
                        ld);                                                           \
    }                                                                                  \
    static NEVER_INLINE void block_values_ahead_##type(                                \
        int rows, int keys, int lane, int n, int dim, const float *w, ptrdiff_t ld_w,  \
        const void *v, ptrdiff_t block, ptrdiff_t ahead, float *sums, ptrdiff_t ld) {  \
        block_values_of(dtype, rows, keys, lane, n, dim, w, ld_w, v, block, ahead,     \
                        sums, ld);                                                     \
    }
VALUES_OF(f32, ATTN_F32)
VALUES_OF(f16, ATTN_F16)
VALUES_OF(bf16, ATTN_BF16)
VALUES_OF(i8, ATTN_I8)
#undef VALUES_OF

/* total += sums, and sums = 0. */
static inline void hand_over(int rows, int dim, float *sums, ptrdiff_t ld,
                             float *total) {
    for (ptrdiff_t r = 0; r < rows; r++) {
        for (int c = 0; c < dim; c += WIDTH) {
            const int n = dim - c < WIDTH ? dim - c : WIDTH;
            float *from = sums + r * ld + c, *to = total + r * ld + c;
            store_some(to, n,
                       vec_add(load_some(to, n, 0.0f), load_some(from, n, 0.0f)));
            store_some(from, n, vec_set(0.0f));
        }
    }
}

static void kernel_block_values(int32_t dtype, int rows, int keys, int lane, int n,
                                int dim, const float *w, ptrdiff_t ld_w, const void *v,
                                ptrdiff_t ahead, float *sums, ptrdiff_t ld,
                                float *total, int taken) {
    for (int j = 0; j < n;) {
        const int some = n - j < SUM_KEYS - taken ? n - j : SUM_KEYS - taken;
        const int at = lane + j;
        const ptrdiff_t block = (ptrdiff_t)(at / keys) * keys * dim;
        if (ahead == 0) {
            BY_TYPE(block_values, dtype)
            (rows, keys, at % keys, some, dim, w + j, ld_w, v, block, sums, ld);
        } else {
            BY_TYPE(block_values_ahead, dtype)
            (rows, keys, at % keys, some, dim, w + j, ld_w, v, block, ahead, sums, ld);
        }
        j += some;
        taken += some;
        if (taken == SUM_KEYS) {
            hand_over(rows, dim, sums, ld, total);
            taken = 0;
        }
    }
}

#endif
