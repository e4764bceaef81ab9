/*
 * Template: gradients of additive scores. Include after tmpl_additive.h.
 *
 * With e = exp(2 (a + b)) and r = 1 / (1 + e) the slope of tanh is 4 e r^2, in which
 * nothing cancels. Features lie in the lanes, so that no sum goes over lanes; what is
 * the same for all pairs, 4 and factor v[c], multiplies sums. Two vectors of features
 * of a pair share a division: those of two pairs would change each other's last bits.
 */
#ifndef ATTN_KERNEL_TMPL_ADDITIVE_GRADIENT_H
#define ATTN_KERNEL_TMPL_ADDITIVE_GRADIENT_H

#include <float.h>

#include "kernel/tmpl_additive.h"

/* Products of two such stay within float. */
static const float additive_power_limit = -0x1p+60f;

/* Rows at a time, as many as registers allow. */
enum { ADDITIVE_ROWS = WIDTH == 16 ? 4 : 2 };

/* Which features: vectors of them, 1 or 2, the last of which may have fewer. */
struct features {
    int first, vecs, count;
};

/* Where vector i of them is in a row. */
static inline ptrdiff_t place_of(const struct features *at, int i) {
    return at->first + (ptrdiff_t)i * WIDTH;
}

static inline __attribute__((always_inline)) vec
load_features(const float *from, const struct features *at, int i) {
    return load_some(from + place_of(at, i), at->count, 0.0f);
}

/* sum += factor x */
static inline __attribute__((always_inline)) void
add_features(float *sum, const struct features *at, int i, vec factor, vec x) {
    float *to = sum + place_of(at, i);
    store_some(to, at->count, vec_muladd(factor, x, load_some(to, at->count, 0.0f)));
}

/* What multiplies the sums of rows and keys: minus the factor times the vector, and 4
 * if that leaves them finite. */
struct additive_weights {
    vec of[2];
    bool finite;
};

/* sum += weight x, but for x = 0, whatever the weight is. */
static inline __attribute__((always_inline)) void
add_weighted(float *sum, const struct features *at, int i,
             const struct additive_weights *weights, vec x) {
    if (weights->finite) {
        add_features(sum, at, i, weights->of[i], x);
        return;
    }
    float *to = sum + place_of(at, i);
    const vec before = load_some(to, at->count, 0.0f);
    const vec after = vec_muladd(weights->of[i], vec_mul(x, vec_set(4.0f)), before);
    store_some(to, at->count, vec_select(vec_equal(x, vec_set(0.0f)), before, after));
}

static inline __attribute__((always_inline)) struct additive_weights
additive_weights(const struct additive *a, const struct features *at) {
    struct additive_weights weights = {.finite = true};
    const vec four = vec_set(4.0f), most = vec_set(FLT_MAX);
    for (int i = 0; i < at->vecs; i++) {
        weights.of[i] = vec_mul(vec_set(-a->factor), load_features(a->vector, at, i));
        const vec all = vec_abs(vec_mul(weights.of[i], four));
        weights.finite = weights.finite && vec_all(vec_less(all, most));
    }
    for (int i = 0; i < at->vecs && weights.finite; i++) {
        weights.of[i] = vec_mul(weights.of[i], four);
    }
    return weights;
}

/* What is known of some rows, and what becomes of them. */
struct additive_rows {
    vec query[ADDITIVE_ROWS][2];
    vec sum[ADDITIVE_ROWS][2]; /* gradient times minus slope / 4 */
    vec vector[2];             /* gradient times tanh, of all rows */
};

/* -e and -r. */
struct additive_parts {
    vec power[2], inverse[2];
};

static inline __attribute__((always_inline)) struct additive_parts
additive_parts(bool powers, int vecs, const vec *query, const vec *key) {
    const vec zero = vec_set(0.0f), one = vec_set(1.0f);
    const vec limit = vec_set(additive_power_limit);
    struct additive_parts of;
    vec divisor[2];
    UNROLL_LOOP
    for (int i = 0; i < vecs; i++) {
        of.power[i] =
            powers ? vec_max(limit, vec_mul(query[i], key[i]))
                   : vec_sub(zero, additive_power(query[i], key[i], ADDITIVE_MOST));
        divisor[i] = vec_sub(of.power[i], one);
    }
    if (vecs == 1) {
        of.inverse[0] = vec_inverse(divisor[0]);
    } else {
        const vec both = vec_inverse(vec_mul(divisor[0], divisor[1]));
        of.inverse[0] = vec_mul(both, divisor[1]);
        of.inverse[1] = vec_mul(both, divisor[0]);
    }
    return of;
}

/* One key and so many rows; the part of the key's sum that they have. */
static inline __attribute__((always_inline)) void
additive_key(bool powers, int rows, int vecs, const vec *key, const float *g,
             ptrdiff_t ld_g, struct additive_rows *at, vec *of_key) {
    const vec one = vec_set(1.0f), two = vec_set(2.0f);
    of_key[0] = of_key[1] = vec_set(0.0f);
    UNROLL_LOOP
    for (int r = 0; r < rows; r++) {
        const struct additive_parts of =
            additive_parts(powers, vecs, at->query[r], key);
        const vec gradient = vec_set(g[r * ld_g]);
        UNROLL_LOOP
        for (int i = 0; i < vecs; i++) {
            const vec x = of.inverse[i];
            const vec slope = vec_mul(vec_mul(of.power[i], x), x);
            of_key[i] = vec_muladd(gradient, slope, of_key[i]);
            at->sum[r][i] = vec_muladd(gradient, slope, at->sum[r][i]);
            at->vector[i] =
                vec_muladd(gradient, vec_muladd(two, x, one), at->vector[i]);
        }
    }
}

/* So many rows with all keys. */
static inline __attribute__((always_inline)) void
additive_rows(bool powers, int rows, const struct additive *a, int row,
              const struct features *features, const struct additive_weights *weights,
              const float *g, ptrdiff_t ld_g, const struct additive_gradients *to,
              vec *vector) {
    const int vecs = features->vecs;
    const ptrdiff_t dim = a->dim;
    struct additive_rows at;
    for (int i = 0; i < vecs; i++) {
        at.vector[i] = vector[i];
        for (int r = 0; r < rows; r++) {
            at.query[r][i] =
                load_features(a->query + (row + r) * a->ld_query, features, i);
            at.sum[r][i] = vec_set(0.0f);
        }
    }
    for (int j = 0; j < a->keys; j++) {
        const float *of = g + row * ld_g + j;
        vec key[2], of_key[2];
        if (!powers && *of == 0.0f) {
            continue; /* whatever the key is */
        }
        for (int i = 0; i < vecs; i++) {
            key[i] = load_features(a->key + j * a->ld_key, features, i);
        }
        additive_key(powers, rows, vecs, key, of, ld_g, &at, of_key);
        for (int i = 0; i < vecs && to->key != NULL; i++) {
            add_weighted(to->key + j * dim, features, i, weights, of_key[i]);
        }
    }
    for (int i = 0; i < vecs; i++) {
        for (int r = 0; r < rows && to->query != NULL; r++) {
            add_weighted(to->query + (row + r) * dim, features, i, weights,
                         at.sum[r][i]);
        }
        vector[i] = at.vector[i];
    }
}

/* Numbers, not powers, go row by row: each may have keys to leave out. */
static inline __attribute__((always_inline)) void
additive_features(bool powers, const struct additive *a, struct features features,
                  const float *g, ptrdiff_t ld_g, const struct additive_gradients *to) {
    const struct additive_weights weights = additive_weights(a, &features);
    vec vector[2];
    int r = 0;
    for (int i = 0; i < features.vecs; i++) {
        vector[i] = vec_set(0.0f);
    }
    for (; powers && r + ADDITIVE_ROWS <= a->rows; r += ADDITIVE_ROWS) {
        additive_rows(powers, ADDITIVE_ROWS, a, r, &features, &weights, g, ld_g, to,
                      vector);
    }
    for (; r < a->rows; r++) {
        additive_rows(powers, 1, a, r, &features, &weights, g, ld_g, to, vector);
    }
    for (int i = 0; i < features.vecs && to->vector != NULL; i++) {
        add_features(to->vector, &features, i, vec_set(to->factor), vector[i]);
    }
}

static inline __attribute__((always_inline)) void
additive_gradients(bool powers, const struct additive *a, const float *g,
                   ptrdiff_t ld_g, const struct additive_gradients *to) {
    int c = 0;
    for (; c + 2 * WIDTH <= a->dim; c += 2 * WIDTH) {
        additive_features(powers, a, (struct features){c, 2, WIDTH}, g, ld_g, to);
    }
    for (; c < a->dim; c += WIDTH) {
        additive_features(powers, a, (struct features){c, 1, a->dim - c}, g, ld_g, to);
    }
}

static void kernel_additive_gradients(const struct additive *a, bool powers,
                                      const float *g, ptrdiff_t ld_g,
                                      const struct additive_gradients *to) {
    if (powers) {
        additive_gradients(true, a, g, ld_g, to);
    } else {
        additive_gradients(false, a, g, ld_g, to);
    }
}

#endif
