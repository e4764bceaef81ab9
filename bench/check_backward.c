/*
 * Rows of grad_query, grad_key and grad_value by the formulas in attn/backward.h, from
 * what the backward call reads: the inputs, and out, row_max and row_sum of the forward
 * call, which check.c has looked at.
 *
 * The bound follows the formulas (u = 2^-24, e_x the error of x):
 *
 *     e_P  = P (error of the score + u |s - row_max| + 2 u)
 *     e_dP = drop (g_(Dv+2) sum |grad_out v| + 2 u |dP|),  e_D = g_(Dv+2) sum |grad_out
 * out| e_dS = e_P |dP - D| + P (e_dP + e_D + 2 u |dP - D|) e_dT = e_dS slope + |dS|
 * e_slope
 *
 * and a sum over keys or queries, with its roundings r, is off by at most
 * sum (e_x + (r + 3 u) |x|) |y|.
 */
#include "bench/check.h"

#include <math.h>
#include <stdlib.h>

#include "bench/memory.h"
#include "bench/reference.h"

/* A number and its error. */
struct known {
    double value, error;
};

/* One query and what does not depend on the key. */
struct gradient_row {
    struct query query;
    const float *grad_out;
    double row_max, row_sum;
    struct known delta; /* D */
};

/* What a pair adds to grad_value, times grad_out, and to the others, times a row. */
struct pair {
    struct known weight, score;
};

static struct gradient_row open_row(const struct bench_case *c, int64_t b, int64_t h,
                                    int64_t i) {
    const struct test_problem *p = &c->problem;
    const struct inputs *in = &c->inputs;
    int64_t at = (b * p->q_heads + h) * p->q_length + i;
    struct gradient_row row = {
        .query = {c, b, h, i}, .row_max = in->row_max[at], .row_sum = in->row_sum[at]};
    row.grad_out = reference_query_row(&row.query, in->grad_out, p->value_dim);
    double size;
    row.delta.value = reference_dot(
        row.grad_out, reference_query_row(&row.query, in->out, p->value_dim),
        p->value_dim, &size);
    row.delta.error = reference_dot_error(p->value_dim) * size;
    return row;
}

static struct pair make_pair(const struct gradient_row *row, int64_t j) {
    const struct query *query = &row->query;
    const struct test_problem *p = &query->c->problem;
    if (!(row->row_sum > 0) || !reference_is_query(query) ||
        !reference_attends(query, j)) {
        return (struct pair){{0, 0}, {0, 0}};
    }
    const struct score s = reference_score(query, j);
    double below = row->row_max - s.value, weight = exp(-below) / row->row_sum;
    double weight_error = weight * (s.error + UNIT * 1.1 * fabs(below) + 2 * UNIT);
    double drop = reference_drop(query, j), size;
    double dot =
        reference_dot(row->grad_out,
                      reference_key_row(query, query->c->inputs.value, j, p->value_dim),
                      p->value_dim, &size);
    double difference = drop * dot - row->delta.value;
    double difference_error =
        drop * (reference_dot_error(p->value_dim) * size + 2 * UNIT * fabs(dot)) +
        row->delta.error + 2 * UNIT * fabs(difference);
    double gradient = weight * difference;
    double gradient_error = weight_error * fabs(difference) + weight * difference_error;
    return (struct pair){
        .weight = {drop * weight, drop * weight_error},
        .score = {gradient * s.slope,
                  gradient_error * s.slope + fabs(gradient) * s.slope_error},
    };
}

/* sum[x] += factor y[x]. */
static void add_row(struct known *sum, struct known factor, double roundings,
                    const float *y, int64_t dim) {
    double error = factor.error + (roundings + 3 * UNIT) * fabs(factor.value);
    for (int64_t x = 0; x < dim; x++) {
        sum[x].value += factor.value * y[x];
        sum[x].error += error * fabs((double)y[x]);
    }
}

/* Compares scale sum with a row and empties it. */
static void check_row(struct bench_case *c, const char *what, int64_t b, int64_t h,
                      int64_t row, const float *got, double scale, struct known *sum,
                      int64_t dim) {
    for (int64_t x = 0; x < dim; x++) {
        /* The second part is for weights that are too small for float32. */
        check_number(c, what, b, h, row, x, got[x], scale * sum[x].value,
                     fabs(scale) * sum[x].error + 1e-30);
        sum[x] = (struct known){0};
    }
    c->checked++;
}

static double scale_of(const struct test_problem *p) {
    return p->has_scale ? p->scale : 1 / sqrt((double)p->key_dim);
}

static void check_query(struct bench_case *c, int64_t index, struct known *sum) {
    const struct test_problem *p = &c->problem;
    struct gradient_row row =
        open_row(c, index / p->q_length / p->q_heads, index / p->q_length % p->q_heads,
                 index % p->q_length);
    const struct query *query = &row.query;
    double roundings = reference_sum_roundings(p->kv_length) * UNIT;
    for (int64_t j = 0; j < p->kv_length; j++) {
        const float *key = reference_key_row(query, c->inputs.key, j, p->key_dim);
        add_row(sum, make_pair(&row, j).score, roundings, key, p->key_dim);
    }
    check_row(c, "grad_query", query->b, query->h, query->i,
              reference_query_row(query, c->inputs.grad_query, p->key_dim), scale_of(p),
              sum, p->key_dim);
}

/* Both gradients of one key and value, summed over the query heads that share it. */
static void check_key(struct bench_case *c, int64_t index, struct known *key_sum,
                      struct known *value_sum) {
    const struct test_problem *p = &c->problem;
    int64_t j = index % p->kv_length, g = index / p->kv_length % p->kv_heads;
    int64_t b = index / p->kv_length / p->kv_heads, group = p->q_heads / p->kv_heads;
    double roundings = reference_sum_roundings(group * p->q_length) * UNIT;
    for (int64_t h = g * group; h < (g + 1) * group; h++) {
        for (int64_t i = 0; i < p->q_length; i++) {
            struct gradient_row row = open_row(c, b, h, i);
            struct pair pair = make_pair(&row, j);
            add_row(key_sum, pair.score, roundings,
                    reference_query_row(&row.query, c->inputs.query, p->key_dim),
                    p->key_dim);
            add_row(value_sum, pair.weight, roundings, row.grad_out, p->value_dim);
        }
    }
    int64_t at = inputs_row(p, p->kv_heads, p->kv_length, b, g, j);
    check_row(c, "grad_key", b, g, j, c->inputs.grad_key + at * p->key_dim, scale_of(p),
              key_sum, p->key_dim);
    check_row(c, "grad_value", b, g, j, c->inputs.grad_value + at * p->value_dim, 1,
              value_sum, p->value_dim);
}

static struct known *zeros(int64_t count) {
    struct known *known = memory_get(count, sizeof *known);
    for (int64_t i = 0; i < count; i++) {
        known[i] = (struct known){0};
    }
    return known;
}

void check_gradients(struct bench_case *c) {
    const struct test_problem *p = &c->problem;
    struct known *key_sum = zeros(p->key_dim), *value_sum = zeros(p->value_dim);
    int64_t queries = product(p->batch, p->q_heads, p->q_length, 1);
    for (int64_t r = 0; r < reference_rows(queries); r++) {
        check_query(c, reference_pick(queries, r), key_sum);
    }
    int64_t keys = product(p->batch, p->kv_heads, p->kv_length, 1);
    for (int64_t r = 0; r < reference_rows(keys); r++) {
        check_key(c, reference_pick(keys, r), key_sum, value_sum);
    }
    free(key_sum);
    free(value_sum);
}
