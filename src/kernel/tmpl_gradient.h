/*
 * Template: what the backward pass does to tiles between its products. Include after a
 * vec_*.h.
 */
#ifndef ATTN_KERNEL_TMPL_GRADIENT_H
#define ATTN_KERNEL_TMPL_GRADIENT_H

#include "kernel/tmpl_math.h"

/* a b, but 0 where a is 0. */
static inline vec product_unless_zero(vec a, vec b) {
    const vec zero = vec_set(0.0f);
    return vec_select(vec_equal(a, zero), zero, vec_mul(a, b));
}

static void kernel_dot_rows(float *total, const float *a, ptrdiff_t ld_a,
                            const float *b, ptrdiff_t ld_b, int rows, int n) {
    for (int r = 0; r < rows; r++) {
        const float *x = a + r * ld_a, *y = b + r * ld_b;
        vec even = vec_set(0.0f), odd = even;
        int i = 0;
        for (; i + 2 * WIDTH <= n; i += 2 * WIDTH) {
            even = vec_add(even, product_unless_zero(vec_load(x + i), vec_load(y + i)));
            odd = vec_add(odd, product_unless_zero(vec_load(x + i + WIDTH),
                                                   vec_load(y + i + WIDTH)));
        }
        for (; i + WIDTH <= n; i += WIDTH) {
            even = vec_add(even, product_unless_zero(vec_load(x + i), vec_load(y + i)));
        }
        if (i < n) {
            odd = vec_add(odd, product_unless_zero(vec_load_part(x + i, n - i, 0.0f),
                                                   vec_load_part(y + i, n - i, 0.0f)));
        }
        total[r] += vec_hsum(vec_add(even, odd));
    }
}

static void kernel_score_gradients(float *g, ptrdiff_t ld, int rows, int n,
                                   const float *p, ptrdiff_t ld_p, const float *delta) {
    for (int r = 0; r < rows; r++) {
        float *row = g + r * ld;
        const float *weight = p + r * ld_p;
        const vec d = vec_set(delta[r]);
        int i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            vec difference = vec_sub(vec_load(row + i), d);
            vec_store(row + i, product_unless_zero(vec_load(weight + i), difference));
        }
        if (i < n) {
            vec difference = vec_sub(vec_load_part(row + i, n - i, 0.0f), d);
            vec w = vec_load_part(weight + i, n - i, 0.0f);
            vec_store_part(row + i, n - i, product_unless_zero(w, difference));
        }
    }
}

/*
 * 1 - tanh(x)^2, as 4 e / (1 + e)^2 with e = exp(-2 |x|): where tanh is near 1 the
 * difference would have lost its digits.
 */
static inline vec slope_of_tanh(vec x) {
    const vec one = vec_set(1.0f);
    const vec e = vec_exp(vec_mul(vec_abs(x), vec_set(-2.0f)));
    const vec sum = vec_add(one, e);
    return vec_div(vec_mul(vec_set(4.0f), e), vec_mul(sum, sum));
}

static void kernel_softcap_gradients(float *g, ptrdiff_t ld, int rows, int n,
                                     const float *raw, ptrdiff_t ld_raw, float cap) {
    const vec inverse = vec_set(1.0f / cap);
    for (int r = 0; r < rows; r++) {
        float *row = g + r * ld;
        const float *score = raw + r * ld_raw;
        int i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            vec slope = slope_of_tanh(vec_mul(vec_load(score + i), inverse));
            vec_store(row + i, product_unless_zero(vec_load(row + i), slope));
        }
        if (i < n) {
            vec x = vec_load_part(score + i, n - i, 0.0f);
            vec slope = slope_of_tanh(vec_mul(x, inverse));
            vec y = product_unless_zero(vec_load_part(row + i, n - i, 0.0f), slope);
            vec_store_part(row + i, n - i, y);
        }
    }
}

static float kernel_sum_alibi(const float *g, ptrdiff_t ld, int rows, int n,
                              int64_t distance) {
    const vec lane = vec_iota();
    vec total = vec_set(0.0f);
    for (int r = 0; r < rows; r++) {
        const float *row = g + r * ld;
        vec sum = vec_set(0.0f);
        for (int i = 0; i < n; i += WIDTH) {
            vec d = vec_abs(vec_sub(vec_set((float)(distance + r - i)), lane));
            vec x = i + WIDTH <= n ? vec_load(row + i)
                                   : vec_load_part(row + i, n - i, 0.0f);
            sum = vec_muladd(x, d, sum);
        }
        total = vec_add(total, sum);
    }
    return vec_hsum(total);
}

#endif
