/*
 * Template: normalisation of rows and its gradient (Ba et al., "Layer Normalization",
 * 2016; Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019). Include
 * after a vec_*.h.
 *
 * Sums go over the distances d of the elements from a center, a float near the mean,
 * so that a large mean costs no digits. The mean of d, which a better center would make
 * 0, then corrects what came out.
 */
#ifndef ATTN_KERNEL_TMPL_NORM_H
#define ATTN_KERNEL_TMPL_NORM_H

#include <math.h>

#include "kernel/tmpl_some.h"

/*
 * Chains of additions: four at once hide the latency, and adding up chunks, in which
 * each takes 16 vectors, keeps rounding errors low.
 */
enum { CHAINS = 4, CHAINED = CHAINS * WIDTH, NORM_CHUNK = 16 * CHAINED };

static inline int chunk_size(int rest) {
    return rest < NORM_CHUNK ? rest : NORM_CHUNK;
}

static inline void add_chains(vec *total, const vec chain[CHAINS]) {
    const vec even = vec_add(chain[0], chain[2]), odd = vec_add(chain[1], chain[3]);
    *total = vec_add(*total, vec_add(even, odd));
}

static inline void add_moments(vec *sum, vec *squares, vec x, vec center) {
    const vec d = vec_sub(x, center);
    *sum = vec_add(*sum, d);
    *squares = vec_muladd(d, d, *squares);
}

/* The sums of d and d^2 over a row. */
struct moments {
    float sum, squares;
};

static inline struct moments row_moments(const float *row, int n, float center) {
    const vec zero = vec_set(0.0f), c = vec_set(center);
    vec total = zero, total_squares = zero;
    for (int start = 0; start < n; start += NORM_CHUNK) {
        const float *x = row + start;
        const int size = chunk_size(n - start);
        vec sum[CHAINS] = {zero, zero, zero, zero};
        vec squares[CHAINS] = {zero, zero, zero, zero};
        int i = 0;
        for (; i + CHAINED <= size; i += CHAINED) {
            for (int v = 0; v < CHAINS; v++) {
                add_moments(&sum[v], &squares[v],
                            vec_load(x + i + (ptrdiff_t)v * WIDTH), c);
            }
        }
        for (; i + WIDTH <= size; i += WIDTH) {
            add_moments(&sum[0], &squares[0], vec_load(x + i), c);
        }
        if (i < size) {
            const vec last = vec_load_part(x + i, size - i, center);
            add_moments(&sum[1], &squares[1], last, c);
        }
        add_chains(&total, sum);
        add_chains(&total_squares, squares);
    }
    return (struct moments){vec_hsum(total), vec_hsum(total_squares)};
}

/* How to normalise a row: h = (x - center) inverse + offset. */
struct normal {
    vec center, inverse, offset;
};

/* For the mean of d over the row. */
static inline struct normal normal_of(float center, float inverse, float distance) {
    return (struct normal){vec_set(center), vec_set(inverse),
                           vec_set(-distance * inverse)};
}

static inline vec normalised(const struct normal *normal, vec x) {
    const vec d = vec_sub(x, normal->center);
    return vec_muladd(d, normal->inverse, normal->offset);
}

static inline void norm_some(float *to, const float *from, int i, int n,
                             const struct normal *normal, const float *gain,
                             const float *shift) {
    const vec h = normalised(normal, load_some(from + i, n, 0.0f));
    const vec a = load_given(gain, i, n, 1.0f), b = load_given(shift, i, n, 0.0f);
    store_some(to + i, n, vec_muladd(h, a, b));
}

static inline void norm_row(float *to, const float *from, int n,
                            const struct normal *normal, const float *gain,
                            const float *shift) {
    int i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
        norm_some(to, from, i, WIDTH, normal, gain, shift);
    }
    if (i < n) {
        norm_some(to, from, i, n - i, normal, gain, shift);
    }
}

/*
 * 1 / the deviation, from the means of d^2 and d; for an infinite square 0, not what
 * infinity less infinity would make of it.
 */
static inline float inverse_of(float square, float distance, float epsilon) {
    const float difference = square - distance * distance;
    const float variance = square < INFINITY ? difference : square;
    return 1.0f / sqrtf((variance < 0.0f ? 0.0f : variance) + epsilon);
}

static void kernel_norm(float *to, ptrdiff_t ld_to, const float *from,
                        ptrdiff_t ld_from, int rows, int n, float epsilon,
                        const float *gain, const float *shift, float *mean,
                        float *inverse) {
    const float count = n > 0 ? (float)n : 1.0f;
    for (int r = 0; r < rows; r++) {
        const float *row = from + r * ld_from;
        float center = 0.0f, distance = 0.0f;
        if (mean != NULL) {
            center = row_moments(row, n, 0.0f).sum / count;
        }
        const struct moments moments = row_moments(row, n, center);
        if (mean != NULL) {
            distance = moments.sum / count;
            mean[r] = center + distance;
        }
        inverse[r] = inverse_of(moments.squares / count, distance, epsilon);
        const struct normal normal = normal_of(center, inverse[r], distance);
        norm_row(to + r * ld_to, row, n, &normal, gain, shift);
    }
}

#endif
