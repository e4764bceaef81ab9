/*
 * Buckets, rows and products.
 */
#include "tests/support/oracle_relative.h"

#include <math.h>

#include "tests/support/element.h"
#include "tests/support/oracle.h"
#include "tests/support/rows.h"

static const double unit = 0x1p-24;
static const double smallest = 0x1p-149;

/* ----------------------------------------------------------- rows of the tables */

/* The logarithm may come out a little below an integer that it is equal to. */
int64_t oracle_bucket(const struct test_problem *problem, int64_t distance) {
    int both = problem->bidirectional;
    int64_t n = both ? problem->buckets / 2 : problem->buckets, e = n / 2;
    int64_t first = both && distance > 0 ? n : 0;
    int64_t before = both && distance > 0 ? distance : -distance;
    if (before < e) {
        return first + (before > 0 ? before : 0);
    }
    double step = log((double)problem->max_distance / (double)e) / (double)(n - e);
    double bucket = floor(log((double)before / (double)e) / step + 1e-9);
    return first + (bucket < (double)(n - e) ? e + (int64_t)bucket : n - 1);
}

int64_t oracle_bucket_of(const struct test_inputs *inputs, int64_t b, int64_t i,
                         int64_t j) {
    return oracle_bucket(&inputs->problem, j - oracle_position(inputs, b, i));
}

int64_t oracle_relative_row(const struct test_inputs *inputs, int64_t b, int64_t i,
                            int64_t j) {
    const attn_tensor *table = &inputs->relative_keys;
    int64_t last = table->shape[table->rank - 2] - 1;
    int64_t row = j - oracle_position(inputs, b, i) + inputs->relative_zero;
    return row < 0 ? 0 : row > last ? last : row;
}

int oracle_segments_differ(const struct test_inputs *inputs, int64_t b, int64_t i,
                           int64_t j) {
    return element_int(&inputs->q_segments, b, i) !=
           element_int(&inputs->k_segments, b, j);
}

const float *oracle_head_vector(const attn_tensor *tensor, int64_t h) {
    return tensor->rank > 0 ? element_at(tensor, 0, 0, h, 0) : NULL;
}

const float *oracle_relative_key(const struct test_inputs *inputs, int64_t b, int64_t h,
                                 int64_t i, int64_t j) {
    int64_t row = oracle_relative_row(inputs, b, i, j);
    return element_at(&inputs->relative_keys, 0, h, row, 0);
}

const float *oracle_segment_key(const struct test_inputs *inputs, int64_t b, int64_t h,
                                int64_t i, int64_t j) {
    int differ = oracle_segments_differ(inputs, b, i, j);
    return element_at(&inputs->segment_keys, 0, differ, h, 0);
}

float *oracle_looked_up(const struct test_inputs *inputs, int64_t b, int64_t h,
                        int64_t i, int64_t j) {
    if (inputs->problem.segments) {
        int differ = oracle_segments_differ(inputs, b, i, j);
        return element_at(&inputs->segment_keys, 0, differ, h, 0);
    }
    if (inputs->problem.relative_keys) {
        int64_t row = oracle_relative_row(inputs, b, i, j);
        return element_at(&inputs->relative_keys, 0, h, row, 0);
    }
    int64_t bucket = oracle_bucket_of(inputs, b, i, j);
    return element_at(&inputs->relative_bias, 0, 0, bucket, h);
}

/* ------------------------------------------------------------------------ terms */

struct oracle_product oracle_product(const struct test_problem *problem,
                                     struct element_row query, const float *bias,
                                     struct element_row row) {
    double dot = 0, size = 0, sum = 0, scale = oracle_scale(problem);
    for (int32_t c = 0; c < problem->key_dim; c++) {
        double factor = element_in(&query, c) + (bias != NULL ? (double)bias[c] : 0);
        double product = factor * element_in(&row, c);
        dot += product;
        size += fabs(product);
        sum += fabs(factor);
    }
    int bytes = row.dtype == ATTN_I8;
    double roundings = (problem->key_dim + 2 + (bias != NULL) + bytes) * unit;
    double error = roundings / (1 - roundings) * fabs(scale) * size;
    double underflow = problem->key_dim * fabs(scale) + 1;
    if (bytes) {
        underflow += fabs(row.scale) * underflow + fabs(scale) * sum;
    }
    error += underflow * smallest;
    return (struct oracle_product){scale * dot, error};
}

static struct element_row floats(const float *row) {
    return (struct element_row){row, ATTN_F32, 1};
}

static void add_term(struct oracle_terms *terms, struct oracle_product term) {
    terms->count++;
    terms->value += term.value;
    terms->size += fabs(term.value);
    terms->error += term.error;
}

struct oracle_terms oracle_relative_terms(const struct test_inputs *inputs, int64_t b,
                                          int64_t h, int64_t i, int64_t j) {
    const struct test_problem *p = &inputs->problem;
    const struct element_row query = rows_query(inputs, b, h, i);
    struct oracle_terms terms = {0};
    if (p->buckets > 0) {
        int64_t bucket = oracle_bucket_of(inputs, b, i, j);
        double bias = element_float(&inputs->relative_bias, 0, 0, bucket, h);
        add_term(&terms, (struct oracle_product){bias, 0});
    }
    if (p->relative_keys) {
        const float *bias = oracle_head_vector(&inputs->position_bias, h);
        add_term(&terms,
                 oracle_product(p, query, bias,
                                floats(oracle_relative_key(inputs, b, h, i, j))));
    }
    if (p->segments) {
        const float *bias = oracle_head_vector(&inputs->segment_bias, h);
        add_term(&terms,
                 oracle_product(p, query, bias,
                                floats(oracle_segment_key(inputs, b, h, i, j))));
    }
    return terms;
}
