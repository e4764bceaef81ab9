/*
 * What attention is, in float64: the definition of attn/sdpa.h as loops over one row at
 * a time, written without a look at the library, with the largest difference that a
 * correct float32 library may show in each number.
 *
 * The bounds are those of the error analysis that the library promises (u = 2^-24, n
 * attended keys, m the row's maximum, T = 256):
 *
 *     score j             e_j = g_(d+2) |scale| sum |q k| + u (2 |s| + |bias|)
 *     and of its weight   d_j = e_j + u (1.1 |s - m| + 4)
 *     out c               [2 max_j d_j + (T + n/T + 20) u] sum_j p_j |v_jc|
 *
 * to which come the roundings of a softcap and of dropout and what underflow may cost.
 * Where a bias is added to the query its product has one rounding more: g_(d+3). The
 * products of relative positions and segments are off by as much as one with a key, and
 * each term is one number more that is added: k relative terms give e_j
 * k u (|capped score| + sum of |terms|) more.
 *
 * Numbers stored in 16 bits are exact. A scale of bytes costs one rounding, of each
 * number or of what they make: g_(d+3), and one u more of each p_j |v_jc|; and what
 * underflows may be multiplied by the scale, or by the byte. Nothing here rounds out to
 * 16 bits: what rounds to there may be anything that a number within the bound rounds
 * to, which check_stored_number() says.
 */
#ifndef TEST_ORACLE_H
#define TEST_ORACLE_H

#include "tests/support/gen.h"

/* One query row. Arrays have kv_length entries, out value_dim. */
struct oracle_row {
    int64_t attended; /* keys */
    double *raw, *capped, *biased, *weight, *out;
    double *drop; /* factor of dropout: 0 or 1 / (1 - probability); 1 without */
    double row_max, row_sum, lse;
    /* largest differences allowed, each beside its number */
    double *raw_error, *capped_error, *biased_error, *weight_error, *out_error;
    double max_error, sum_error, lse_error;
};

void oracle_open(struct oracle_row *row, const struct test_problem *problem);
void oracle_close(struct oracle_row *row);

/* The row of query i of head h of batch element b. */
void oracle_compute(struct oracle_row *row, const struct test_inputs *inputs, int64_t b,
                    int64_t h, int64_t i);

/* Whether query i attends key j. */
int oracle_attends(const struct test_inputs *inputs, int64_t b, int64_t h, int64_t i,
                   int64_t j);

/* The same if no bias were -infinity. */
int oracle_attends_but_bias(const struct test_inputs *inputs, int64_t b, int64_t h,
                            int64_t i, int64_t j);

/* Whether dropout keeps weight (i, j); true without dropout. */
int oracle_keeps(const struct test_inputs *inputs, int64_t b, int64_t h, int64_t i,
                 int64_t j);

/* Factor of query . key. */
double oracle_scale(const struct test_problem *problem);

/* Position of query i, for causal, window, ALiBi and relative positions. */
int64_t oracle_position(const struct test_inputs *inputs, int64_t b, int64_t i);

/* Lengths of batch element b. */
int64_t oracle_q_length(const struct test_inputs *inputs, int64_t b);
int64_t oracle_kv_length(const struct test_inputs *inputs, int64_t b);

#endif
