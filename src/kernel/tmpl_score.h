/*
 * Template: what is done to a tile of scores between product and softmax, and the
 * scans that decide whether it must be done. Include after a vec_*.h and tmpl_math.h.
 */
#ifndef ATTN_KERNEL_TMPL_SCORE_H
#define ATTN_KERNEL_TMPL_SCORE_H

#include <math.h>

static void kernel_softcap(float *s, ptrdiff_t ld, int rows, int n, float cap) {
    const vec c = vec_set(cap), inverse = vec_set(1.0f / cap);
    for (int r = 0; r < rows; r++) {
        float *row = s + r * ld;
        int i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            vec x = vec_tanh(vec_mul(vec_load(row + i), inverse));
            vec_store(row + i, vec_mul(x, c));
        }
        if (i < n) {
            vec x = vec_tanh(vec_mul(vec_load_part(row + i, n - i, 0.0f), inverse));
            vec_store_part(row + i, n - i, vec_mul(x, c));
        }
    }
}

static void kernel_add_bias(float *s, ptrdiff_t ld, int rows, int n, const float *bias,
                            ptrdiff_t ld_bias, int column_step) {
    for (int r = 0; r < rows; r++) {
        float *row = s + r * ld;
        const float *b = bias + r * ld_bias;
        const vec same = vec_set(n > 0 ? *b : 0.0f);
        int i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            vec x = column_step == 0 ? same : vec_load(b + i);
            vec_store(row + i, vec_add(vec_load(row + i), x));
        }
        if (i < n) {
            vec x = column_step == 0 ? same : vec_load_part(b + i, n - i, 0.0f);
            vec_store_part(row + i, n - i,
                           vec_add(vec_load_part(row + i, n - i, 0.0f), x));
        }
    }
}

static void kernel_mask_bias(float *s, ptrdiff_t ld, int rows, int n, const float *bias,
                             ptrdiff_t ld_bias, int column_step) {
    const vec masked = vec_set(-INFINITY);
    for (int r = 0; r < rows; r++) {
        float *row = s + r * ld;
        const float *b = bias + r * ld_bias;
        const vec same = vec_set(n > 0 ? *b : 0.0f);
        int i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            vec x = column_step == 0 ? same : vec_load(b + i);
            vec_store(row + i,
                      vec_select(vec_equal(x, masked), masked, vec_load(row + i)));
        }
        if (i < n) {
            vec x = column_step == 0 ? same : vec_load_part(b + i, n - i, 0.0f);
            vec y = vec_load_part(row + i, n - i, 0.0f);
            vec_store_part(row + i, n - i, vec_select(vec_equal(x, masked), masked, y));
        }
    }
}

/*
 * Distances are integers, exact in float as long as they are below 2^24; beyond, the
 * first of a vector is rounded and the sum with the lane again, which slope |distance|
 * carries as an error of at most 2u.
 */
static void kernel_add_alibi(float *s, ptrdiff_t ld, int rows, int n, float slope,
                             int64_t distance) {
    const vec minus_slope = vec_set(-slope), lane = vec_iota();
    for (int r = 0; r < rows; r++) {
        float *row = s + r * ld;
        int i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            vec d = vec_abs(vec_sub(vec_set((float)(distance + r - i)), lane));
            vec_store(row + i, vec_muladd(minus_slope, d, vec_load(row + i)));
        }
        if (i < n) {
            vec d = vec_abs(vec_sub(vec_set((float)(distance + r - i)), lane));
            vec x = vec_load_part(row + i, n - i, 0.0f);
            vec_store_part(row + i, n - i, vec_muladd(minus_slope, d, x));
        }
    }
}

static void kernel_mask_bytes(float *s, ptrdiff_t ld, int rows, int n,
                              const uint8_t *bytes, ptrdiff_t ld_bytes) {
    const vec masked = vec_set(-INFINITY);
    for (int r = 0; r < rows; r++) {
        float *row = s + r * ld;
        const uint8_t *b = bytes + r * ld_bytes;
        int i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            vec_store(row + i, vec_select(vec_bytes(b + i), vec_load(row + i), masked));
        }
        if (i < n) {
            vec x = vec_load_part(row + i, n - i, 0.0f);
            x = vec_select(vec_bytes_part(b + i, n - i), x, masked);
            vec_store_part(row + i, n - i, x);
        }
    }
}

static int kernel_scan_bias(const float *bias, ptrdiff_t ld, int rows, int n) {
    const vec masked = vec_set(-INFINITY);
    int found = 0;
    for (int r = 0; r < rows && found != (SCAN_ATTENDED | SCAN_MASKED); r++) {
        const float *b = bias + r * ld;
        int i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            vec_mask equal = vec_equal(vec_load(b + i), masked);
            found |= vec_any(equal) ? SCAN_MASKED : 0;
            found |= vec_all(equal) ? 0 : SCAN_ATTENDED;
        }
        for (; i < n; i++) {
            found |= b[i] == -INFINITY ? SCAN_MASKED : SCAN_ATTENDED;
        }
    }
    return found;
}

/* x - x is 0 for what is finite and NaN for the rest. */
static bool kernel_all_finite(const float *x, ptrdiff_t ld, int rows, int n) {
    const vec zero = vec_set(0.0f);
    for (int r = 0; r < rows; r++) {
        const float *row = x + r * ld;
        vec sum = zero;
        int i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            vec a = vec_load(row + i);
            sum = vec_add(sum, vec_sub(a, a));
        }
        if (i < n) {
            vec a = vec_load_part(row + i, n - i, 0.0f);
            sum = vec_add(sum, vec_sub(a, a));
        }
        if (!vec_all(vec_equal(sum, zero))) {
            return false;
        }
    }
    return true;
}

#endif
