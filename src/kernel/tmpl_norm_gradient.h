/*
 * Template: the gradient of the normalisation of rows. Include after a vec_*.h.
 *
 * y is grad_to gain, d the distance of an element from mean[r], a float near the mean
 * (see tmpl_norm.h), h the normalised element.
 */
#ifndef ATTN_KERNEL_TMPL_NORM_GRADIENT_H
#define ATTN_KERNEL_TMPL_NORM_GRADIENT_H

#include "kernel/tmpl_norm.h"

struct norm_sums {
    float y, yd, d;
};

struct norm_chains {
    vec y[CHAINS], yd[CHAINS], d[CHAINS];
};

/* Adds n elements, WIDTH or fewer, to chain v. */
static inline void add_products(struct norm_chains *sums, int v, const float *grad_to,
                                const float *gain, const float *from, float center,
                                int i, int n) {
    const vec a = load_given(gain, i, n, 1.0f);
    const vec y = vec_mul(load_some(grad_to + i, n, 0.0f), a);
    const vec d = vec_sub(load_some(from + i, n, center), vec_set(center));
    sums->y[v] = vec_add(sums->y[v], y);
    sums->yd[v] = vec_muladd(y, d, sums->yd[v]);
    sums->d[v] = vec_add(sums->d[v], d);
}

static inline struct norm_sums row_sums(const float *grad_to, const float *gain,
                                        const float *from, int n, float center) {
    const vec zero = vec_set(0.0f);
    vec y = zero, yd = zero, d = zero;
    for (int start = 0; start < n; start += NORM_CHUNK) {
        const int end = start + chunk_size(n - start);
        struct norm_chains sums = {{zero, zero, zero, zero},
                                   {zero, zero, zero, zero},
                                   {zero, zero, zero, zero}};
        int i = start;
        for (; i + CHAINED <= end; i += CHAINED) {
            for (int v = 0; v < CHAINS; v++) {
                add_products(&sums, v, grad_to, gain, from, center, i + v * WIDTH,
                             WIDTH);
            }
        }
        for (; i + WIDTH <= end; i += WIDTH) {
            add_products(&sums, 0, grad_to, gain, from, center, i, WIDTH);
        }
        if (i < end) {
            add_products(&sums, 1, grad_to, gain, from, center, i, end - i);
        }
        add_chains(&y, sums.y);
        add_chains(&yd, sums.yd);
        add_chains(&d, sums.d);
    }
    return (struct norm_sums){vec_hsum(y), vec_hsum(yd), vec_hsum(d)};
}

/* grad_from = inverse (y - mean_y + h minus_mean_yh) */
struct norm_slope {
    struct normal normal;
    vec mean_y, minus_mean_yh;
};

static inline struct norm_slope norm_slope_of(const struct norm_sums *sums, int n,
                                              const float *mean, float inverse) {
    const float count = (float)n, distance = mean != NULL ? sums->d / count : 0.0f;
    const float yh = inverse * (sums->yd - distance * sums->y);
    return (struct norm_slope){
        normal_of(mean != NULL ? *mean : 0.0f, inverse, distance),
        vec_set(mean != NULL ? sums->y / count : 0.0f), vec_set(-yh / count)};
}

static inline void norm_gradient_some(float *grad_from, const float *grad_to,
                                      const float *from, int i, int n,
                                      const struct norm_slope *slope, const float *gain,
                                      bool accumulate, float *grad_gain,
                                      float *grad_shift) {
    const vec g = load_some(grad_to + i, n, 0.0f);
    const vec h = normalised(&slope->normal, load_some(from + i, n, 0.0f));
    const vec y = vec_mul(g, load_given(gain, i, n, 1.0f));
    vec x = vec_muladd(h, slope->minus_mean_yh, vec_sub(y, slope->mean_y));
    x = vec_mul(x, slope->normal.inverse);
    if (accumulate) {
        x = vec_add(load_some(grad_from + i, n, 0.0f), x);
    }
    store_some(grad_from + i, n, x);
    if (grad_gain != NULL) {
        vec sum = load_some(grad_gain + i, n, 0.0f);
        store_some(grad_gain + i, n, vec_muladd(g, h, sum));
    }
    if (grad_shift != NULL) {
        vec sum = load_some(grad_shift + i, n, 0.0f);
        store_some(grad_shift + i, n, vec_add(sum, g));
    }
}

static void kernel_norm_gradient(float *grad_from, ptrdiff_t ld_grad_from,
                                 const float *grad_to, ptrdiff_t ld_grad_to,
                                 const float *from, ptrdiff_t ld_from, int rows, int n,
                                 const float *gain, const float *mean,
                                 const float *inverse, bool accumulate,
                                 float *grad_gain, float *grad_shift) {
    for (int r = 0; r < rows; r++) {
        float *to = grad_from + r * ld_grad_from;
        const float *g = grad_to + r * ld_grad_to, *x = from + r * ld_from;
        const float *center = mean != NULL ? mean + r : NULL;
        const struct norm_sums sums =
            row_sums(g, gain, x, n, center != NULL ? *center : 0.0f);
        const struct norm_slope slope = norm_slope_of(&sums, n, center, inverse[r]);
        int i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            norm_gradient_some(to, g, x, i, WIDTH, &slope, gain, accumulate, grad_gain,
                               grad_shift);
        }
        if (i < n) {
            norm_gradient_some(to, g, x, i, n - i, &slope, gain, accumulate, grad_gain,
                               grad_shift);
        }
    }
}

#endif
