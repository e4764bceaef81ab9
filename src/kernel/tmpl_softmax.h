/*
 * Template: the online softmax and what else works on rows of weights. Include after
 * a vec_*.h and tmpl_math.h.
 */
#ifndef ATTN_KERNEL_TMPL_SOFTMAX_H
#define ATTN_KERNEL_TMPL_SOFTMAX_H

#include <math.h>

enum { ROWS_AT_ONCE = 4, SUM_CHUNK = 512 };

/* The largest of n scores; -inf for none. Four chains hide the latency of max. */
static inline float row_maximum(const float *s, int n) {
    const vec lowest = vec_set(-INFINITY);
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
    return vec_hmax(vec_max(vec_max(chain[0], chain[1]), vec_max(chain[2], chain[3])));
}

/* x = exp(x - shift) for at most SUM_CHUNK scores in place; returns the sums of the
 * lanes. */
static inline vec chunk_exp(float *s, int n, vec shift) {
    vec a = vec_set(0.0f), b = a;
    int i = 0;
    for (; i + 2 * WIDTH <= n; i += 2 * WIDTH) {
        vec x = vec_exp(vec_sub(vec_load(s + i), shift));
        vec y = vec_exp(vec_sub(vec_load(s + i + WIDTH), shift));
        vec_store(s + i, x);
        vec_store(s + i + WIDTH, y);
        a = vec_add(a, x);
        b = vec_add(b, y);
    }
    for (; i + WIDTH <= n; i += WIDTH) {
        vec x = vec_exp(vec_sub(vec_load(s + i), shift));
        vec_store(s + i, x);
        a = vec_add(a, x);
    }
    if (i < n) {
        vec x = vec_exp(vec_sub(vec_load_part(s + i, n - i, -INFINITY), shift));
        vec_store_part(s + i, n - i, x);
        b = vec_add(b, x);
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

/*
 * What to subtract from the scores of a row with this maximum. Where it is -inf all
 * scores are -inf or NaN, and exp(score - 0) is the 0 or NaN that they stand for, while
 * -inf - -inf would be NaN.
 */
static inline float softmax_shift(float maximum) {
    return maximum == -INFINITY ? 0.0f : maximum;
}

/*
 * A step of the softmax on `rows` rows, a constant where this is called. Reductions
 * over lanes at the start and the end of a row are chains of slow steps, which those of
 * other rows fill.
 */
static inline __attribute__((always_inline)) bool
softmax_group(int rows, float *s, ptrdiff_t ld, int n, float *maximum, float *sum,
              float *rescale) {
    float largest[ROWS_AT_ONCE];
    vec total[ROWS_AT_ONCE];
    bool moved = false;
    for (int r = 0; r < rows; r++) {
        const float row = row_maximum(s + r * ld, n);
        largest[r] = row > maximum[r] ? row : maximum[r];
    }
    for (int r = 0; r < rows; r++) {
        total[r] = row_exp(s + r * ld, n, softmax_shift(largest[r]));
    }
    for (int r = 0; r < rows; r++) {
        rescale[r] = 1.0f;
        if (largest[r] > maximum[r]) {
            const float shift = softmax_shift(largest[r]);
            rescale[r] = vec_first(vec_exp(vec_set(maximum[r] - shift)));
            maximum[r] = largest[r];
            moved = true;
        }
        sum[r] = sum[r] * rescale[r] + vec_hsum(total[r]);
    }
    return moved;
}

static bool kernel_softmax(float *s, ptrdiff_t ld, int rows, int n, float *maximum,
                           float *sum, float *rescale) {
    bool moved = false;
    int r = 0;
    for (; r + ROWS_AT_ONCE <= rows; r += ROWS_AT_ONCE) {
        moved |= softmax_group(ROWS_AT_ONCE, s + r * ld, ld, n, maximum + r, sum + r,
                               rescale + r);
    }
    for (; r < rows; r++) {
        moved |= softmax_group(1, s + r * ld, ld, n, maximum + r, sum + r, rescale + r);
    }
    return moved;
}

/* A masked score has weight 0 in a row that is NaN too. */
static inline vec weight(vec score, vec maximum, vec factor) {
    vec w = vec_mul(vec_exp(vec_sub(score, maximum)), factor);
    return vec_select(vec_equal(score, vec_set(-INFINITY)), vec_set(0.0f), w);
}

static void kernel_weights(float *s, ptrdiff_t ld, int rows, int n,
                           const float *maximum, const float *factor) {
    for (int r = 0; r < rows; r++) {
        float *row = s + r * ld;
        const vec m = vec_set(softmax_shift(maximum[r]));
        const vec f = vec_set(factor[r]);
        int i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            vec_store(row + i, weight(vec_load(row + i), m, f));
        }
        if (i < n) {
            vec x = vec_load_part(row + i, n - i, -INFINITY);
            vec_store_part(row + i, n - i, weight(x, m, f));
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
