/*
 * Template: additive scores, sum_c v[c] tanh(q[c] + k[c]), and their gradients. Include
 * after a vec_*.h and kernel.h.
 *
 * tanh(a + b) = 1 - 2 r with r = 1 / (1 + exp(2a) exp(2b)), so powers are computed for
 * each query and for each key, and pairs take a multiplication, an addition and a share
 * of a division. Powers of the query are negative, so that what is divided by is -1
 * minus the size of a product: one instruction. A maximum, which lets NaN through,
 * keeps products of several of them within float.
 */
#ifndef ATTN_KERNEL_TMPL_ADDITIVE_H
#define ATTN_KERNEL_TMPL_ADDITIVE_H

#include "kernel/tmpl_math.h"
#include "kernel/tmpl_some.h"

static bool kernel_additive_powers(float *to, ptrdiff_t ld_to, const float *from,
                                   ptrdiff_t ld_from, int rows, int n, float sign) {
    const vec two = vec_set(2.0f), factor = vec_set(sign);
    const vec most = vec_set(ADDITIVE_MOST);
    bool within = true;
    for (int r = 0; r < rows; r++) {
        for (int i = 0; i < n; i += WIDTH) {
            const int count = n - i;
            const vec x = load_some(from + r * ld_from + i, count, 0.0f);
            /* comparisons with NaN are false */
            within = within && vec_all(vec_less(vec_abs(x), most));
            store_some(to + r * ld_to + i, count,
                       vec_mul(vec_exp(vec_mul(x, two)), factor));
        }
    }
    return within;
}

/* exp(2 (query + key)) of numbers, but no more than exp(most), which exp has an end
 * for. */
static inline vec additive_power(vec query, vec key, float most) {
    const vec y = vec_mul(vec_add(query, key), vec_set(-2.0f));
    return vec_weight(vec_max(vec_set(-most), y));
}

/* -1 - exp(2 (query + key)), limited to 2^30: beyond that is less than the last digit
 * of tanh by far, and products of four such stay within float. */
static inline __attribute__((always_inline)) vec additive_divisor(bool powers,
                                                                  vec query, vec key) {
    const vec one = vec_set(1.0f);
    if (powers) {
        return vec_max(vec_set(-0x1p+30f), vec_mulsub(query, key, one));
    }
    const float log_of_limit = 20.79f;
    return vec_sub(vec_set(-1.0f), additive_power(query, key, log_of_limit));
}

/* v / divisor of two features, then of two pairs, as one fraction. */
struct fraction {
    vec over, under;
};

static inline struct fraction fraction_sum(struct fraction a, struct fraction b) {
    return (struct fraction){
        vec_muladd(a.over, b.under, vec_mul(b.over, a.under)),
        vec_mul(a.under, b.under),
    };
}

/* Four features: quarters of a division. */
static inline __attribute__((always_inline)) vec
additive_four(bool powers, const vec v[4], const vec query[4], const vec key[4],
              vec sum) {
    struct fraction part[4];
    UNROLL_LOOP
    for (int i = 0; i < 4; i++) {
        part[i] = (struct fraction){v[i], additive_divisor(powers, query[i], key[i])};
    }
    const struct fraction all =
        fraction_sum(fraction_sum(part[0], part[1]), fraction_sum(part[2], part[3]));
    return vec_muladd(all.over, vec_inverse(all.under), sum);
}

static inline __attribute__((always_inline)) vec
additive_one(bool powers, vec v, vec query, vec key, vec sum) {
    const vec divisor = additive_divisor(powers, query, key);
    return vec_muladd(v, vec_inverse(divisor), sum);
}

/* Scores of a vector of keys, or fewer, for so many rows. */
static inline __attribute__((always_inline)) void
additive_block(bool powers, int rows, int count, const struct additive *a, int row,
               int key, float total, float *s, ptrdiff_t ld) {
    vec sum[4];
    const float *k = a->key + key;
    for (int r = 0; r < rows; r++) {
        sum[r] = vec_set(0.0f);
    }
    int c = 0;
    for (; c + 4 <= a->dim; c += 4) {
        vec keys[4], v[4], query[4];
        UNROLL_LOOP
        for (int i = 0; i < 4; i++) {
            keys[i] = load_some(k + (c + i) * a->ld_key, count, 0.0f);
            v[i] = vec_set(a->vector[c + i]);
        }
        UNROLL_LOOP
        for (int r = 0; r < rows; r++) {
            UNROLL_LOOP
            for (int i = 0; i < 4; i++) {
                query[i] = vec_set(a->query[(row + r) * a->ld_query + c + i]);
            }
            sum[r] = additive_four(powers, v, query, keys, sum[r]);
        }
    }
    for (; c < a->dim; c++) {
        const vec keys = load_some(k + c * a->ld_key, count, 0.0f);
        for (int r = 0; r < rows; r++) {
            const vec query = vec_set(a->query[(row + r) * a->ld_query + c]);
            sum[r] = additive_one(powers, vec_set(a->vector[c]), query, keys, sum[r]);
        }
    }
    for (int r = 0; r < rows; r++) {
        const vec all = vec_muladd(vec_set(2.0f), sum[r], vec_set(total));
        const vec score = vec_mul(vec_mul(all, vec_set(a->factor)), vec_set(a->power));
        store_some(s + (row + r) * ld + key, count, score);
    }
}

static inline __attribute__((always_inline)) void
additive_column(bool powers, int count, const struct additive *a, int key, float total,
                float *s, ptrdiff_t ld) {
    int r = 0;
    for (; r + 4 <= a->rows; r += 4) {
        additive_block(powers, 4, count, a, r, key, total, s, ld);
    }
    for (; r < a->rows; r++) {
        additive_block(powers, 1, count, a, r, key, total, s, ld);
    }
}

static inline float additive_total(const struct additive *a) {
    float total = 0.0f;
    for (int c = 0; c < a->dim; c++) {
        total += a->vector[c];
    }
    return total;
}

static inline __attribute__((always_inline)) void
additive_scores(bool powers, const struct additive *a, float *s, ptrdiff_t ld) {
    const float total = additive_total(a);
    int j = 0;
    for (; j + WIDTH <= a->keys; j += WIDTH) {
        additive_column(powers, WIDTH, a, j, total, s, ld);
    }
    if (j < a->keys) {
        additive_column(powers, a->keys - j, a, j, total, s, ld);
    }
}

static void kernel_additive_scores(const struct additive *a, bool powers, float *s,
                                   ptrdiff_t ld) {
    if (powers) {
        additive_scores(true, a, s, ld);
    } else {
        additive_scores(false, a, s, ld);
    }
}

/* Features in the lanes: keys as they lie, whose powers would not be used again. */
static void kernel_additive_few(const struct additive *a, float *s, ptrdiff_t ld) {
    const float total = additive_total(a);
    for (int j = 0; j < a->keys; j++) {
        const float *k = a->key + j * a->ld_key;
        /* so much is done with a key that the processor does not read ahead: with this
         * keys that come from memory take 0.8 of the time */
        const ptrdiff_t ahead = j + 2 < a->keys ? 2 * a->ld_key : 0;
        for (int r = 0; r < a->rows; r++) {
            const float *q = a->query + r * a->ld_query;
            vec sum = vec_set(0.0f);
            int c = 0;
            for (; c + 4 * WIDTH <= a->dim; c += 4 * WIDTH) {
                vec v[4], query[4], key[4];
                UNROLL_LOOP
                for (int i = 0; i < 4; i++) {
                    const ptrdiff_t at = c + (ptrdiff_t)i * WIDTH;
                    v[i] = vec_load(a->vector + at);
                    query[i] = vec_load(q + at);
                    key[i] = vec_load(k + at);
                    __builtin_prefetch(k + ahead + at);
                }
                sum = additive_four(false, v, query, key, sum);
            }
            for (; c < a->dim; c += WIDTH) {
                const int count = a->dim - c;
                sum = additive_one(false, load_some(a->vector + c, count, 0.0f),
                                   load_some(q + c, count, 0.0f),
                                   load_some(k + c, count, 0.0f), sum);
            }
            s[r * ld + j] = (total + 2.0f * vec_hsum(sum)) * a->factor * a->power;
        }
    }
}

#endif
