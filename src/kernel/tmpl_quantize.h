/*
 * Template: rows of f32 to signed bytes with one scale a row. Include after a vec_*.h.
 *
 * No clamp is needed: |from / scale| is at most 127 but for two roundings, and so is
 * rounded to 127 at most.
 */
#ifndef ATTN_KERNEL_TMPL_QUANTIZE_H
#define ATTN_KERNEL_TMPL_QUANTIZE_H

#include <math.h>
#include <string.h>

#include "kernel/tmpl_math.h"
#include "kernel/tmpl_some.h"

/* The largest size in a row, NaN if some element is NaN or infinite. */
static inline float row_largest(const float *row, int n) {
    const vec zero = vec_set(0.0f);
    vec largest = zero, finite = zero; /* x - x is 0 for what is finite */
    for (int i = 0; i < n; i += WIDTH) {
        const vec x = load_some(row + i, n - i, 0.0f);
        largest = vec_max(vec_abs(x), largest);
        finite = vec_add(finite, vec_sub(x, x));
    }
    return vec_all(vec_equal(finite, zero)) ? vec_hmax(largest) : NAN;
}

/* A subnormal scale would be far from largest / 127, or 0; 127 times a larger one than
 * the most, which only FLT_MAX / 127 is, would be infinite. */
static inline float quantize_scale(float largest) {
    const float scale = largest / 127.0f, least = 0x1p-126f, most = 0x1.020406p+121f;
    return largest > 0.0f && scale < least ? least : scale > most ? most : scale;
}

static inline vec quantized(vec x, vec scale) {
    const vec shift = vec_set(0x1.8p+23f); /* adding it rounds to a whole number */
    return vec_sub(vec_add(vec_div(x, scale), shift), shift);
}

static inline void quantize_row(int8_t *to, const float *from, int n, float scale) {
    const vec s = vec_set(scale);
    int i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
        vec_store_i8(to + i, quantized(vec_load(from + i), s));
    }
    if (i < n) {
        const vec x = vec_load_part(from + i, n - i, 0.0f);
        vec_store_i8_part(to + i, n - i, quantized(x, s));
    }
}

static void kernel_quantize(int8_t *to, ptrdiff_t ld_to, float *scale,
                            ptrdiff_t scale_step, const float *from, ptrdiff_t ld_from,
                            int rows, int n) {
    for (int r = 0; r < rows; r++) {
        const float *row = from + r * ld_from;
        const float s = quantize_scale(row_largest(row, n));
        scale[r * scale_step] = s;
        if (s > 0.0f) {
            quantize_row(to + r * ld_to, row, n, s);
        } else if (n > 0) { /* zeros, or NaN */
            memset(to + r * ld_to, 0, (size_t)n);
        }
    }
}

#endif
