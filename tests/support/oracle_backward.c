/*
 * Gradients row by row: D, then for each key that the row attends dS and dT, and from
 * them a term for each gradient.
 */
#include "tests/support/oracle_backward.h"

#include <math.h>
#include <stdlib.h>

#include "tests/support/element.h"
#include "tests/support/oracle.h"
#include "tests/support/oracle_relative.h"

static const double unit = 0x1p-24;
static const double smallest = 0x1p-149;

/* A number and what may be wrong with it. */
struct number {
    double value, error;
};

/* Row i of head h of batch element b. */
struct place {
    const struct test_inputs *inputs;
    const struct test_incoming *incoming;
    struct oracle_gradients *gradients;
    struct oracle_row *row;
    int by_lse;
    int64_t b, h, i;
};

static double sum_roundings(double terms) {
    return (256 + terms / 64 + 24) * unit;
}

/* ---------------------------------------------------------------------- sums */

struct oracle_sum *oracle_gradient_at(const struct oracle_gradients *gradients,
                                      int output, int64_t i0, int64_t i1, int64_t i2,
                                      int64_t i3) {
    const attn_tensor *shape = &gradients->shape[output];
    const int64_t index[4] = {i0, i1, i2, i3};
    int64_t at = 0;
    for (int32_t d = 0; d < shape->rank; d++) {
        int64_t size = shape->shape[d];
        at = at * size + (size > 1 ? index[4 - shape->rank + d] : 0);
    }
    return &gradients->sum[output][at];
}

double oracle_gradient_bound(const struct oracle_sum *sum) {
    return sum->error + sum_roundings(sum->terms) * sum->size + smallest;
}

static void add(struct oracle_sum *sum, double value, double error) {
    sum->value += value;
    sum->size += fabs(value);
    sum->error += error + smallest;
    sum->terms += 1;
}

/* Adds factor[c] * number to `count` elements in a row. */
static void add_row(struct oracle_sum *sums, const float *factor, int32_t count,
                    struct number number) {
    for (int32_t c = 0; c < count; c++) {
        add(&sums[c], factor[c] * number.value, fabs((double)factor[c]) * number.error);
    }
}

/* Adds (query[c] + bias[c]) * number, where the sum is rounded; bias may be NULL. */
static void add_biased_row(struct oracle_sum *sums, const float *query,
                           const float *bias, int32_t count, struct number number) {
    double rounding = bias != NULL ? unit * fabs(number.value) : 0;
    for (int32_t c = 0; c < count; c++) {
        double factor = (double)query[c] + (bias != NULL ? (double)bias[c] : 0);
        add(&sums[c], factor * number.value, fabs(factor) * (number.error + rounding));
    }
}

/* --------------------------------------------------------------------- a row */

/* The error of weight j, which comes from LSE or from row_max and row_sum. */
static double weight_error(const struct place *at, int64_t j) {
    const struct oracle_row *row = at->row;
    double more =
        at->by_lse ? row->lse_error + unit * fabs(row->row_max - row->lse) : 0;
    return row->weight_error[j] + more * row->weight[j];
}

/* G of the header: gradients of weight j that do not come through out. */
static struct number grad_of_weight(const struct place *at, int64_t j) {
    double weights = incoming_at(at->incoming, OF_WEIGHTS, at->b, at->h, at->i, j);
    double key_sums = incoming_at(at->incoming, OF_KEY_SUMS, 0, at->b, at->h, j);
    return (struct number){weights + key_sums, fabs(weights) + fabs(key_sums)};
}

/* D of the row; 0 for one that attends nothing. */
static struct number row_delta(const struct place *at) {
    const struct test_problem *p = &at->inputs->problem;
    const struct oracle_row *row = at->row;
    struct number delta = {0, 0};
    if (row->attended == 0) {
        return delta;
    }
    for (int32_t c = 0; c < p->value_dim; c++) {
        double grad = incoming_at(at->incoming, OF_OUT, at->b, at->h, at->i, c);
        delta.value += grad * row->out[c];
        delta.error += fabs(grad) * (row->out_error[c] +
                                     (p->value_dim + 8) * unit * fabs(row->out[c])) +
                       smallest;
    }
    for (int64_t j = 0; j < p->kv_length; j++) {
        if (row->biased[j] != -INFINITY) {
            struct number grad = grad_of_weight(at, j);
            double roundings = sum_roundings((double)row->attended);
            delta.value += row->weight[j] * grad.value;
            delta.error +=
                (weight_error(at, j) + roundings * row->weight[j]) * grad.error +
                smallest;
        }
    }
    return delta;
}

static struct number grad_of_score(const struct place *at, struct number delta,
                                   int64_t j) {
    const struct test_problem *p = &at->inputs->problem;
    const struct oracle_row *row = at->row;
    const float *value =
        element_at(&at->inputs->value, at->b, at->h / (p->q_heads / p->kv_heads), j, 0);
    struct number grad = grad_of_weight(at, j);
    double product = 0, size = 0;
    for (int32_t c = 0; c < p->value_dim; c++) {
        double term =
            incoming_at(at->incoming, OF_OUT, at->b, at->h, at->i, c) * value[c];
        product += term;
        size += fabs(term);
    }
    size = row->drop[j] * size + grad.error;
    double lse = incoming_at(at->incoming, OF_LSE, 0, at->b, at->h, at->i);
    double x = row->drop[j] * product + grad.value - delta.value + lse;
    double x_error = (p->value_dim + 8) * unit * size + delta.error +
                     4 * unit * (size + fabs(delta.value) + fabs(lse)) +
                     (p->value_dim + 2) * row->drop[j] * smallest;
    double score = row->weight[j] * x;
    return (struct number){score, weight_error(at, j) * fabs(x) +
                                      row->weight[j] * x_error +
                                      2 * unit * fabs(score) + smallest};
}

/* Before the softcap: dT of the header. */
static struct number grad_of_raw_score(const struct place *at, struct number score,
                                       int64_t j) {
    double cap = at->inputs->problem.softcap;
    if (cap == 0) {
        return score;
    }
    double t = at->row->capped[j] / cap;
    double slope = (1 - t) * (1 + t);
    double error = 2 * (at->row->capped_error[j] / cap + 2 * unit) + 4 * unit * slope;
    return (struct number){score.value * slope, score.error * (slope + error) +
                                                    fabs(score.value) * error +
                                                    smallest};
}

/* The gradient of a product before it is scaled. */
static struct number scaled(const struct place *at, struct number number) {
    double scale = oracle_scale(&at->inputs->problem);
    return (struct number){scale * number.value,
                           fabs(scale) * (number.error + smallest) +
                               4 * unit * fabs(scale * number.value)};
}

/* scale (query + bias) . row: to the gradients of query, of bias, of which there is one
 * for each head, and of row, an element of gradient `of_row`. */
static void add_product(const struct place *at, struct number number,
                        const attn_tensor *bias, int of_bias, const float *row,
                        struct oracle_sum *of_row) {
    const struct oracle_gradients *grad = at->gradients;
    const int64_t b = at->b, h = at->h, i = at->i;
    int32_t dim = at->inputs->problem.key_dim;
    struct number product = scaled(at, number);
    add_row(oracle_gradient_at(grad, GRAD_QUERY, b, h, i, 0), row, dim, product);
    if (bias->rank > 0) {
        add_row(oracle_gradient_at(grad, of_bias, 0, 0, h, 0), row, dim, product);
    }
    add_biased_row(of_row, element_at(&at->inputs->query, b, h, i, 0),
                   oracle_head_vector(bias, h), dim, product);
}

/*
 * scale vector . tanh(query + key). The slope of tanh is off by what kernel/additive.h
 * says, and by what rounding query + key does to its exponent.
 */
static void add_additive(const struct place *at, struct number number, const float *key,
                         struct oracle_sum *of_key) {
    const struct oracle_gradients *grad = at->gradients;
    const int64_t b = at->b, h = at->h, i = at->i;
    const float *query = element_at(&at->inputs->query, b, h, i, 0);
    const float *vector = oracle_head_vector(&at->inputs->score_vector, h);
    struct oracle_sum *of_query = oracle_gradient_at(grad, GRAD_QUERY, b, h, i, 0);
    struct oracle_sum *of_vector =
        oracle_gradient_at(grad, GRAD_SCORE_VECTOR, 0, 0, h, 0);
    struct number product = scaled(at, number);
    for (int32_t c = 0; c < at->inputs->problem.key_dim; c++) {
        double x = (double)query[c] + key[c], t = tanh(x), v = vector[c];
        double slope = 1 / (cosh(x) * cosh(x));
        double slope_error = (32 + 4 * fmin(fabs(x), 100)) * unit * slope + 0x1p-55;
        double value = v * slope * product.value;
        double error = fabs(v) * ((slope + slope_error) * product.error +
                                  fabs(product.value) * slope_error + 8 * smallest);
        add(&of_query[c], value, error);
        add(&of_key[c], value, error);
        add(&of_vector[c], t * product.value,
            fabs(t) * product.error + 8 * unit * fabs(product.value));
    }
}

static void add_relative(const struct place *at, struct number score, int64_t j) {
    const struct test_inputs *in = at->inputs;
    const struct oracle_gradients *grad = at->gradients;
    const int64_t b = at->b, h = at->h, i = at->i;
    if (in->problem.buckets > 0) {
        int64_t bucket = oracle_bucket_of(in, b, i, j);
        add(oracle_gradient_at(grad, GRAD_RELATIVE_BIAS, 0, 0, bucket, h), score.value,
            score.error);
    }
    if (in->problem.relative_keys) {
        int64_t row = oracle_relative_row(in, b, i, j);
        add_product(at, score, &in->position_bias, GRAD_POSITION_BIAS,
                    oracle_relative_key(in, b, h, i, j),
                    oracle_gradient_at(grad, GRAD_RELATIVE_KEYS, 0, h, row, 0));
    }
    if (in->problem.segments) {
        int differ = oracle_segments_differ(in, b, i, j);
        add_product(at, score, &in->segment_bias, GRAD_SEGMENT_BIAS,
                    oracle_segment_key(in, b, h, i, j),
                    oracle_gradient_at(grad, GRAD_SEGMENT_KEYS, 0, differ, h, 0));
    }
}

static void add_pair(const struct place *at, struct number delta, int64_t j) {
    const struct test_inputs *in = at->inputs;
    const struct test_problem *p = &in->problem;
    const struct oracle_gradients *grad = at->gradients;
    const int64_t b = at->b, h = at->h, i = at->i, g = h / (p->q_heads / p->kv_heads);
    struct number score = grad_of_score(at, delta, j);
    const float *key = element_at(&in->key, b, g, j, 0);
    struct number raw = grad_of_raw_score(at, score, j);
    struct oracle_sum *of_key = oracle_gradient_at(grad, GRAD_KEY, b, g, j, 0);
    if (p->additive) {
        add_additive(at, raw, key, of_key);
    } else {
        add_product(at, raw, &in->content_bias, GRAD_CONTENT_BIAS, key, of_key);
    }
    add_relative(at, score, j);
    if (at->incoming->tensor[OF_OUT].rank > 0) {
        double kept = at->row->drop[j] * at->row->weight[j];
        struct number dropped = {kept, at->row->drop[j] * weight_error(at, j) +
                                           4 * unit * kept};
        add_row(oracle_gradient_at(grad, GRAD_VALUE, b, g, j, 0),
                element_at(&at->incoming->tensor[OF_OUT], b, h, i, 0), p->value_dim,
                dropped);
    }
    if (p->bias) {
        add(oracle_gradient_at(grad, GRAD_BIAS, b, h, i, j), score.value, score.error);
    }
    if (p->alibi) {
        double distance = fabs((double)(oracle_position(in, b, i) - j));
        add(oracle_gradient_at(grad, GRAD_ALIBI_SLOPES, 0, 0, b, h),
            -distance * score.value, distance * score.error);
    }
}

/* A row that attends nothing is all sink; one beyond the lengths is not looked at. */
static void add_sink(const struct place *at, struct number delta) {
    const struct oracle_row *row = at->row;
    double sink = element_float(&at->inputs->sinks, 0, 0, 0, at->h);
    if (sink == -INFINITY) {
        return;
    }
    double lse = incoming_at(at->incoming, OF_LSE, 0, at->b, at->h, at->i);
    double weight = exp(sink - row->lse), x = lse - delta.value;
    double weight_error =
        weight * (row->max_error + row->lse_error +
                  unit * (8 + fabs(sink - row->row_max) + fabs(sink - row->lse))) +
        0x1p-126;
    double x_error = delta.error + 4 * unit * (fabs(lse) + fabs(delta.value));
    add(oracle_gradient_at(at->gradients, GRAD_SINKS, 0, 0, 0, at->h), weight * x,
        weight_error * fabs(x) + weight * x_error + 2 * unit * fabs(weight * x));
}

static void add_to_gradients(const struct place *at) {
    struct number delta = row_delta(at);
    for (int64_t j = 0; j < at->inputs->problem.kv_length; j++) {
        if (at->row->biased[j] != -INFINITY) {
            add_pair(at, delta, j);
        }
    }
    if (at->inputs->problem.sinks) {
        add_sink(at, delta);
    }
}

/* ----------------------------------------------------------------- all rows */

static void allocate(struct oracle_gradients *gradients,
                     const struct test_inputs *inputs) {
    *gradients = (struct oracle_gradients){0};
    for (int o = GRAD_QUERY; o < SLOTS; o++) {
        attn_tensor shape = *outputs_gradient_of(inputs, o);
        shape.data = NULL;
        gradients->shape[o] = shape;
        gradients->sum[o] =
            calloc((size_t)element_count(&shape) + 1, sizeof(struct oracle_sum));
        assert_non_null(gradients->sum[o]);
    }
}

void oracle_gradients_open(struct oracle_gradients *gradients,
                           const struct test_inputs *inputs,
                           const struct test_incoming *incoming, int by_lse) {
    const struct test_problem *p = &inputs->problem;
    struct oracle_row row;
    struct place at = {inputs, incoming, gradients, &row, by_lse, 0, 0, 0};
    allocate(gradients, inputs);
    oracle_open(&row, p);
    for (at.b = 0; at.b < p->batch; at.b++) {
        for (at.h = 0; at.h < p->q_heads; at.h++) {
            for (at.i = 0; at.i < oracle_q_length(inputs, at.b); at.i++) {
                oracle_compute(&row, inputs, at.b, at.h, at.i);
                add_to_gradients(&at);
            }
        }
    }
    oracle_close(&row);
}

void oracle_gradients_close(struct oracle_gradients *gradients) {
    for (int o = GRAD_QUERY; o < SLOTS; o++) {
        free(gradients->sum[o]);
    }
    *gradients = (struct oracle_gradients){0};
}
