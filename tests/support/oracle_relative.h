/*
 * Relative positions and segments by the definition in attn/desc.h: which row of a
 * table belongs to a pair, and what is added to its score.
 */
#ifndef TEST_ORACLE_RELATIVE_H
#define TEST_ORACLE_RELATIVE_H

#include "tests/support/element.h"
#include "tests/support/gen.h"

/* The bucket of relative_bias for a distance j - p. */
int64_t oracle_bucket(const struct test_problem *problem, int64_t distance);

/* The same for query i and key j; the row of relative_keys; and whether the segments
 * differ. */
int64_t oracle_bucket_of(const struct test_inputs *inputs, int64_t b, int64_t i,
                         int64_t j);
int64_t oracle_relative_row(const struct test_inputs *inputs, int64_t b, int64_t i,
                            int64_t j);
int oracle_segments_differ(const struct test_inputs *inputs, int64_t b, int64_t i,
                           int64_t j);

/* A vector of (Hq, D), or NULL where the problem has none. */
const float *oracle_head_vector(const attn_tensor *tensor, int64_t h);

/* The rows of relative_keys and of segment_keys that belong to a pair. */
const float *oracle_relative_key(const struct test_inputs *inputs, int64_t b, int64_t h,
                                 int64_t i, int64_t j);
const float *oracle_segment_key(const struct test_inputs *inputs, int64_t b, int64_t h,
                                int64_t i, int64_t j);

/* The first number that a pair looks up in a table of its problem: in segment_keys,
 * else in relative_keys, else in relative_bias. */
float *oracle_looked_up(const struct test_inputs *inputs, int64_t b, int64_t h,
                        int64_t i, int64_t j);

/* scale (query + bias) . row with the largest error of float32 arithmetic, in which the
 * sum query + bias is rounded first. bias may be NULL. The scale of a row of bytes may
 * be multiplied with each of them or with their sum. */
struct oracle_product {
    double value, error;
};

struct oracle_product oracle_product(const struct test_problem *problem,
                                     struct element_row query, const float *bias,
                                     struct element_row row);

/* All terms of a pair, their number, and the sums of their values, sizes and errors. */
struct oracle_terms {
    int count;
    double value, size, error;
};

struct oracle_terms oracle_relative_terms(const struct test_inputs *inputs, int64_t b,
                                          int64_t h, int64_t i, int64_t j);

#endif
