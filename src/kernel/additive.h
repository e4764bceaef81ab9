/*
 * Additive scores (Bahdanau et al. 2015) of some queries with some keys, and what
 * kernels make of them:
 *
 *     s[r][j] = power factor sum_c vector[c] tanh(query[r][c] + key[j][c])
 *
 * Matrices and strides as in kernel/kernel.h.
 */
#ifndef ATTN_KERNEL_ADDITIVE_H
#define ATTN_KERNEL_ADDITIVE_H

#include "base/compiler.h"

/*
 * query and key are those numbers or their powers, of which the query's have sign -1.
 * For scores, numbers of vector are below 2 in size.
 */
struct additive {
    int rows, keys, dim;
    float factor, power; /* scores are multiplied by both, one after the other */
    const float *query, *key, *vector;
    ptrdiff_t ld_query, ld_key;
};

/* Powers are for numbers below this size. */
#define ADDITIVE_MOST 40.0f

/* Where gradients are added, rows of dim floats each; NULL: not asked for. */
struct additive_gradients {
    float *query, *key, *vector;
    float factor; /* of that of the vector */
};

struct additive_kernels {
    /* to = sign exp(2 from), where from is less than ADDITIVE_MOST in size, which it
     * says whether all are; anything where not. */
    bool (*powers)(float *to, ptrdiff_t ld_to, const float *from, ptrdiff_t ld_from,
                   int rows, int n, float sign);

    /*
     * Scores, with the key transposed: key[c][j]. The error of each is at most (dim +
     * 16) u |power factor| times the sum of |vector|. Its bits depend on dim and the
     * numbers of its query and key alone. NaN and infinity are numbers too, which have
     * no powers.
     */
    void (*scores)(const struct additive *additive, bool powers, float *s,
                   ptrdiff_t ld);

    /* The same of numbers, not powers, with keys as rows, key[j][c], for a few queries:
     * other bits, but again of dim and these numbers alone. */
    void (*few)(const struct additive *additive, float *s, ptrdiff_t ld);

    /*
     * Adds what the gradient g of scores makes, with keys as rows and t = tanh(query +
     * key):
     *
     *     to->query[r][c] += factor vector[c] sum_j g[r][j] (1 - t^2),
     *     to->key[j][c] likewise, to->vector[c] += to->factor sum_rj g[r][j] t
     *
     * where 1 - t^2 is off by at most (32 + 4 |query + key|) u of itself, or by 2^-55.
     * Where g is 0 nothing is added, whatever query and key are, but powers must be
     * finite.
     */
    void (*gradients)(const struct additive *additive, bool powers, const float *g,
                      ptrdiff_t ld_g, const struct additive_gradients *to);
};

#endif
