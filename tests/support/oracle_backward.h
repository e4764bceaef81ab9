/*
 * The gradients of attention in float64, by the formulas of attn/backward.h, one pair
 * of query and key after the other, each with the largest difference that a correct
 * float32 library may show.
 *
 * The bounds (u = 2^-24, w_j the error of a weight in oracle.h, r(n) = (256 + n/64 +
 * 24) u that of a float32 sum of n terms by tiles, relative to the sum of their sizes;
 * a_j = drop_j |grad_out|.|value_j| + |grad_weights| + |grad_key_sums| the size of
 * dP_j)
 *
 *     dP_j     (Dv + 8) u a_j
 *     D        |grad_out|.(error of out) + (Dv + 8) u |grad_out|.|out|
 *              + sum_j [w_j + r(n) P_j] |G_j|
 *     dS_j     w_j |X_j| + P_j [errors of dP_j and D + 4u (a_j + |D| + |grad_lse|)]
 *              + 2u |dS_j|                        with X_j = dP_j - D + grad_lse
 *     dT_j     (f + e) (error of dS_j) + e |dS_j|
 *              with f = (1 - t)(1 + t), e = 2 (error of t) + 4u f
 *     a sum    sum of |factor| (error of term) + r(terms) sum |factor term|
 *
 * to which comes what underflow may cost. A factor query + bias is off by u |query +
 * bias|. Where only LSE is given a weight exp(s - LSE)
 * is off by (error of LSE) + u |row_max - LSE| more.
 */
#ifndef TEST_ORACLE_BACKWARD_H
#define TEST_ORACLE_BACKWARD_H

#include "tests/support/incoming.h"
#include "tests/support/outputs.h"

/* One element of a gradient: a sum. */
struct oracle_sum {
    double value, error; /* that of the terms */
    double size, terms;  /* sum of their absolute values; how many there are */
};

/* All gradients that a problem has; those of rank 0 it has not. */
struct oracle_gradients {
    attn_tensor shape[SLOTS];      /* from GRAD_QUERY on; no data */
    struct oracle_sum *sum[SLOTS]; /* the last index fastest */
};

/* by_lse: the call gives LSE, but not both row_max and row_sum. */
void oracle_gradients_open(struct oracle_gradients *gradients,
                           const struct test_inputs *inputs,
                           const struct test_incoming *incoming, int by_lse);
void oracle_gradients_close(struct oracle_gradients *gradients);

/* An element by the broadcasting rule of numpy, and the difference allowed there. */
struct oracle_sum *oracle_gradient_at(const struct oracle_gradients *gradients,
                                      int output, int64_t i0, int64_t i1, int64_t i2,
                                      int64_t i3);
double oracle_gradient_bound(const struct oracle_sum *sum);

#endif
