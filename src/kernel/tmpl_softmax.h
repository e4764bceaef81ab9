/*
 * Template: the online softmax and what else works on rows of weights. Include after
 * a vec_*.h and tmpl_math.h.
 */
#ifndef ATTN_KERNEL_TMPL_SOFTMAX_H
#define ATTN_KERNEL_TMPL_SOFTMAX_H

#include <math.h>

enum { SUM_CHUNK = 512 };

/* The largest of n scores in each lane; -inf for none. Four chains hide the latency of
 * max. */
static inline vec row_maximum(const float *s, int n) {
    const vec lowest = vec_set(-INFINITY);
    if (n <= WIDTH) {
        return vec_max(load_some(s, n, -INFINITY), lowest);
    }
    vec chain[4] = {lowest, lowest, lowest, lowest};
    int i = 0;
    while (i + 4 * WIDTH <= n) {
        for (int v = 0; v < 4; v++, i += WIDTH) {
            chain[v] = vec_max(vec_load(s + i), chain[v]);
        }
    }
    for (; i + WIDTH <= n; i += WIDTH) {
        chain[0] = vec_max(vec_load(s + i), chain[0]);
    }
    if (i < n) {
        chain[1] = vec_max(vec_load_part(s + i, n - i, -INFINITY), chain[1]);
    }
    return vec_max(vec_max(chain[0], chain[1]), vec_max(chain[2], chain[3]));
}

/*
 * x = exp(x - shift) for at most SUM_CHUNK scores in place; returns the sums of the
 * lanes. What comes after must not change them if it is masked: a weight is added to
 * the sum that its place decides, not its distance from the end.
 */
static inline vec chunk_exp(float *s, int n, vec shift) {
    vec a = vec_set(0.0f), b = a;
    int i = 0;
    for (const int last = n - 2 * WIDTH; i <= last; i += 2 * WIDTH) {
        const vec x = vec_weight(vec_sub(shift, vec_load(s + i)));
        vec_store(s + i, x);
        a = vec_add(a, x);
        const vec y = vec_weight(vec_sub(shift, vec_load(s + i + WIDTH)));
        vec_store(s + i + WIDTH, y);
        b = vec_add(b, y);
    }
    for (; i + WIDTH <= n; i += WIDTH) {
        const vec x = vec_weight(vec_sub(shift, vec_load(s + i)));
        vec_store(s + i, x);
        a = vec_add(a, x);
    }
    if (i < n) {
        const vec some = vec_load_part(s + i, n - i, -INFINITY);
        const vec x = vec_weight(vec_sub(shift, some));
        vec_store_part(s + i, n - i, x);
        if (i % (2 * WIDTH) == 0) {
            a = vec_add(a, x);
        } else {
            b = vec_add(b, x);
        }
    }
    return vec_add(a, b);
}

/* The same for a row of any length: sums of sums keep long rows exact. */
static inline vec row_exp(float *s, int n, float shift) {
    vec total = chunk_exp(s, n < SUM_CHUNK ? n : SUM_CHUNK, vec_set(shift));
    for (int i = SUM_CHUNK; i < n; i += SUM_CHUNK) {
        const int rest = n - i;
        vec sum = chunk_exp(s + i, rest < SUM_CHUNK ? rest : SUM_CHUNK, vec_set(shift));
        total = vec_add(total, sum);
    }
    return total;
}

/* Of so few rows each is added up for itself, in the same order. */
enum { ROWS_ALONE = WIDTH > 2 ? 2 : 0 };

/* The larger of two, or their sum. */
static inline vec join(bool largest, vec a, vec b) {
    return largest ? vec_max(a, b) : vec_add(a, b);
}

/* Halves the lanes that a and b still take: what they have left lies side by side. */
static inline __attribute__((always_inline)) vec fold(bool largest, vec a, vec b,
                                                      int distance) {
    vec low, high;
    vec_fold(a, b, distance, &low, &high);
    return join(largest, low, high);
}

/* The same for vectors so far apart. */
static inline __attribute__((always_inline)) void
fold_apart(bool largest, vec row[WIDTH], int apart, int distance) {
    UNROLL_LOOP
    for (int r = 0; r + apart < WIDTH; r++) {
        if (r % (2 * apart) < 4) {
            row[r] = fold(largest, row[r], row[r + apart], distance);
        }
    }
}

/*
 * Over the lanes of up to WIDTH vectors, a result in the lane of its vector's number;
 * of zeros, zero. Vectors meet in an order that leaves them so.
 */
static inline __attribute__((always_inline)) vec across(bool largest, vec row[WIDTH],
                                                        int rows) {
    if (rows <= ROWS_ALONE) {
        float alone[WIDTH] = {0};
        for (int r = 0; r < rows; r++) {
            alone[r] = largest ? vec_hmax(row[r]) : vec_hsum(row[r]);
        }
        return vec_load(alone);
    }
    if (WIDTH < 4) {
        return row[0];
    }
    if (WIDTH == 16) {
        fold_apart(largest, row, 4, 8);
        fold_apart(largest, row, 8, 4);
    } else if (WIDTH == 8) {
        fold_apart(largest, row, 4, 4);
    }
    return fold(largest, fold(largest, row[0], row[1 % WIDTH], 2),
                fold(largest, row[2 % WIDTH], row[3 % WIDTH], 2), 1);
}

/*
 * What to subtract from the scores of a row with this maximum. Where it is -inf all
 * scores are -inf or NaN, and exp(score - 0) is the 0 or NaN that they stand for, while
 * -inf - -inf would be NaN.
 */
static inline vec softmax_shift(vec maximum) {
    const vec lowest = vec_set(-INFINITY);
    return vec_select(vec_equal(maximum, lowest), vec_set(0.0f), maximum);
}

/*
 * A step of the softmax on up to WIDTH rows, a lane for each in what belongs to rows.
 * How many go together changes no bit.
 */
static inline bool softmax_group(int rows, float *s, ptrdiff_t ld, int n,
                                 float *maximum, float *sum, float *rescale) {
    vec row[WIDTH];
    float shifts[WIDTH];
    for (int r = 0; r < WIDTH; r++) {
        row[r] = r < rows ? row_maximum(s + r * ld, n) : vec_set(0.0f);
    }
    const vec old = load_some(maximum, rows, 0.0f);
    const vec new = vec_max(across(true, row, rows), old);
    const vec shift = softmax_shift(new);
    const vec_mask moved = vec_less(old, new);
    const vec factor =
        vec_select(moved, vec_weight(vec_sub(shift, old)), vec_set(1.0f));
    vec_store(shifts, shift);
    for (int r = 0; r < WIDTH; r++) {
        row[r] = r < rows ? row_exp(s + r * ld, n, shifts[r]) : vec_set(0.0f);
    }
    const vec total =
        vec_add(vec_mul(load_some(sum, rows, 0.0f), factor), across(false, row, rows));
    store_some(maximum, rows, new);
    store_some(sum, rows, total);
    store_some(rescale, rows, factor);
    return vec_any(moved);
}

static bool kernel_softmax(float *s, ptrdiff_t ld, int rows, int n, float *maximum,
                           float *sum, float *rescale) {
    /* scores of a group are read twice, the second time from the nearest cache */
    const int most = n <= 256 || WIDTH < 4 ? WIDTH : 4;
    bool moved = false;
    for (int r = 0; r < rows; r += most) {
        moved |= softmax_group(rows - r < most ? rows - r : most, s + r * ld, ld, n,
                               maximum + r, sum + r, rescale + r);
    }
    return moved;
}

static void kernel_weights(float *s, ptrdiff_t ld, int rows, int n,
                           const float *maximum, const float *factor) {
    const vec zero = vec_set(0.0f), lowest = vec_set(-INFINITY);
    for (int r = 0; r < rows; r++) {
        float *row = s + r * ld;
        const vec shift = softmax_shift(vec_set(maximum[r]));
        const vec f = vec_set(factor[r]);
        for (int i = 0; i < n; i += WIDTH) {
            const int some = n - i < WIDTH ? n - i : WIDTH;
            const vec x = load_some(row + i, some, -INFINITY);
            const vec w = vec_mul(vec_weight(vec_sub(shift, x)), f);
            /* a masked score has weight 0 in a row that is NaN too */
            store_some(row + i, some, vec_select(vec_equal(x, lowest), zero, w));
        }
    }
}

static void kernel_scale(float *to, ptrdiff_t ld_to, const float *from,
                         ptrdiff_t ld_from, int rows, int n, const float *factor) {
    for (int r = 0; r < rows; r++) {
        const vec f = vec_set(factor[r]);
        const float *x = from + r * ld_from;
        float *y = to + r * ld_to;
        int i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            vec_store(y + i, vec_mul(vec_load(x + i), f));
        }
        if (i < n) {
            vec_store_part(y + i, n - i, vec_mul(vec_load_part(x + i, n - i, 0.0f), f));
        }
    }
}

static void kernel_scale_add(float *to, const float *from, ptrdiff_t ld, int rows,
                             int n, const float *factor, const float *from_factor) {
    for (int r = 0; r < rows; r++) {
        const vec f = vec_set(factor[r]), g = vec_set(from_factor[r]);
        const float *x = from + r * ld;
        float *y = to + r * ld;
        for (int i = 0; i < n; i += WIDTH) {
            const int some = n - i < WIDTH ? n - i : WIDTH;
            const vec a = load_some(x + i, some, 0.0f),
                      b = load_some(y + i, some, 0.0f);
            store_some(y + i, some, vec_add(vec_mul(b, f), vec_mul(a, g)));
        }
    }
}

static void kernel_add_columns(float *total, const float *s, ptrdiff_t ld, int rows,
                               int n) {
    for (int r = 0; r < rows; r++) {
        const float *row = s + r * ld;
        int i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            vec_store(total + i, vec_add(vec_load(total + i), vec_load(row + i)));
        }
        if (i < n) {
            vec sum = vec_add(vec_load_part(total + i, n - i, 0.0f),
                              vec_load_part(row + i, n - i, 0.0f));
            vec_store_part(total + i, n - i, sum);
        }
    }
}

#endif
