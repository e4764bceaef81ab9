/*
 * Attention row by row: scores in three stages, who attends whom, softmax, sum.
 */
#include "tests/support/oracle.h"

#include <math.h>
#include <stdlib.h>

#include "tests/support/element.h"
#include "tests/support/oracle_relative.h"
#include "tests/support/philox.h"
#include "tests/support/rows.h"

static const double unit = 0x1p-24;
static const double smallest = 0x1p-149; /* of a float that is not 0 */

/* A library may form sums over tiles of this many keys. */
static const double tile = 512;

/* ----------------------------------------------------------- who attends whom */

static int64_t packed_length(const attn_tensor *starts, int64_t b) {
    return element_int(starts, 0, b + 1) - element_int(starts, 0, b);
}

int64_t oracle_q_length(const struct test_inputs *inputs, int64_t b) {
    return inputs->problem.q_packed    ? packed_length(&inputs->q_starts, b)
           : inputs->problem.q_lengths ? element_int(&inputs->q_lengths, 0, b)
                                       : inputs->problem.q_length;
}

int64_t oracle_kv_length(const struct test_inputs *inputs, int64_t b) {
    return inputs->problem.k_packed     ? packed_length(&inputs->k_starts, b)
           : inputs->problem.kv_lengths ? element_int(&inputs->kv_lengths, 0, b)
                                        : inputs->problem.kv_length;
}

int64_t oracle_position(const struct test_inputs *inputs, int64_t b, int64_t i) {
    int64_t last_beside_last = oracle_kv_length(inputs, b) - oracle_q_length(inputs, b);
    switch (inputs->problem.alignment) {
    case ATTN_ALIGN_BOTTOM_RIGHT:
        return i + last_beside_last;
    case ATTN_ALIGN_OFFSETS:
        return i + element_int(&inputs->query_offsets, 0, b);
    case ATTN_ALIGN_KV_LENGTHS:
        return inputs->problem.kv_lengths ? i + last_beside_last : i;
    default:
        return i;
    }
}

int oracle_attends_but_bias(const struct test_inputs *inputs, int64_t b, int64_t h,
                            int64_t i, int64_t j) {
    const struct test_problem *p = &inputs->problem;
    int64_t at = oracle_position(inputs, b, i);
    if (i >= oracle_q_length(inputs, b) || j >= oracle_kv_length(inputs, b)) {
        return 0;
    }
    if (p->causal && j > at &&
        !(p->prefix && j < element_int(&inputs->prefix_lengths, 0, b))) {
        return 0;
    }
    if ((p->left >= 0 && j < at - p->left) || (p->right >= 0 && j > at + p->right)) {
        return 0;
    }
    if (p->documents && element_int(&inputs->q_documents, b, i) !=
                            element_int(&inputs->k_documents, b, j)) {
        return 0;
    }
    if (p->q_block > 0 && *(uint8_t *)element_at(&inputs->block_mask, b, h,
                                                 i / p->q_block, j / p->k_block) == 0) {
        return 0;
    }
    if (p->ranks != ATTN_RANKS_OFF) {
        int64_t own = element_int(&inputs->q_ranks, b, i);
        int64_t rank = element_int(&inputs->k_ranks, b, j);
        if (p->ranks == ATTN_RANKS_BELOW ? rank >= own : rank > own) {
            return 0;
        }
    }
    return !p->mask || *(uint8_t *)element_at(&inputs->mask, b, h, i, j) != 0;
}

int oracle_attends(const struct test_inputs *inputs, int64_t b, int64_t h, int64_t i,
                   int64_t j) {
    return oracle_attends_but_bias(inputs, b, h, i, j) &&
           (!inputs->problem.bias ||
            element_float(&inputs->bias, b, h, i, j) != -INFINITY);
}

/* --------------------------------------------------------------------- scores */

double oracle_scale(const struct test_problem *problem) {
    return problem->has_scale  ? problem->scale
           : problem->additive ? 1
                               : 1 / sqrt((double)problem->key_dim);
}

/* With the error of kernel/additive.h; bytes of keys are rounded when they are scaled.
 */
static struct oracle_product additive(const struct test_problem *p,
                                      struct element_row query, const float *vector,
                                      struct element_row key) {
    double sum = 0, size = 0, scaled = 0, scale = oracle_scale(p);
    for (int32_t c = 0; c < p->key_dim; c++) {
        double k = element_in(&key, c);
        sum += vector[c] * tanh(element_in(&query, c) + k);
        size += fabs((double)vector[c]);
        if (key.dtype == ATTN_I8) {
            scaled += fabs(vector[c] * k);
        }
    }
    double error = unit * ((p->key_dim + 16) * size + scaled) + p->key_dim * smallest;
    error = fabs(scale) * error + unit * fabs(scale * sum) + smallest;
    return (struct oracle_product){scale * sum, error};
}

static void score_raw(struct oracle_row *row, const struct test_inputs *inputs,
                      int64_t b, int64_t h, int64_t i, int64_t j) {
    const struct test_problem *p = &inputs->problem;
    int64_t group = h / (p->q_heads / p->kv_heads);
    const struct element_row query = rows_query(inputs, b, h, i);
    const struct element_row key = rows_key(inputs, b, group, j);
    struct oracle_product product =
        p->additive
            ? additive(p, query, oracle_head_vector(&inputs->score_vector, h), key)
            : oracle_product(p, query, oracle_head_vector(&inputs->content_bias, h),
                             key);
    row->raw[j] = product.value;
    row->raw_error[j] = product.error;
}

/* The cap's tanh is off by at most 4u, its argument and its product by 1.5u each, and
 * the slope of tanh is at most 1. */
static void score_capped(struct oracle_row *row, const struct test_inputs *inputs,
                         int64_t j) {
    double cap = inputs->problem.softcap;
    row->capped[j] = row->raw[j];
    row->capped_error[j] = row->raw_error[j];
    if (cap > 0) {
        row->capped[j] = cap * tanh(row->raw[j] / cap);
        row->capped_error[j] += 7 * unit * fabs(row->capped[j]) + (cap + 1) * smallest;
    }
}

static void score_biased(struct oracle_row *row, const struct test_inputs *inputs,
                         int64_t b, int64_t h, int64_t i, int64_t j) {
    struct oracle_terms relative = oracle_relative_terms(inputs, b, h, i, j);
    double terms = relative.value, size = relative.size;
    if (inputs->problem.bias) {
        double bias = element_float(&inputs->bias, b, h, i, j);
        terms += bias;
        size += fabs(bias);
    }
    if (inputs->problem.alibi) {
        double distance = fabs((double)(oracle_position(inputs, b, i) - j));
        double slope = element_float(&inputs->alibi_slopes, 0, 0, b, h);
        terms -= slope * distance;
        size += fabs(slope * distance);
    }
    double score = row->capped[j] + terms;
    row->biased[j] = score;
    row->biased_error[j] =
        row->capped_error[j] + relative.error +
        unit * (2 * fabs(score) + (1 + relative.count) * (fabs(row->capped[j]) + size));
}

/* Fills in the three stages of scores; returns the largest error of a weight's exponent
 * but for what depends on the maximum. */
static void score_row(struct oracle_row *row, const struct test_inputs *inputs,
                      int64_t b, int64_t h, int64_t i) {
    int64_t keys = inputs->problem.kv_length;
    int beyond = i >= oracle_q_length(inputs, b);
    row->attended = 0;
    for (int64_t j = 0; j < keys; j++) {
        row->raw[j] = row->capped[j] = row->biased[j] = -INFINITY;
        row->raw_error[j] = row->capped_error[j] = row->biased_error[j] = 0;
        if (beyond || j >= oracle_kv_length(inputs, b)) {
            continue;
        }
        score_raw(row, inputs, b, h, i, j);
        score_capped(row, inputs, j);
        if (oracle_attends(inputs, b, h, i, j)) {
            score_biased(row, inputs, b, h, i, j);
            row->attended++;
        }
    }
}

/* -------------------------------------------------------------------- softmax */

/* The maximum, the sum and their like. Returns the relative error of a weight. */
static double sum_row(struct oracle_row *row, const struct test_inputs *inputs,
                      int64_t h) {
    int64_t keys = inputs->problem.kv_length;
    double n = (double)row->attended;
    double sink = -INFINITY;
    if (inputs->problem.sinks) {
        sink = element_float(&inputs->sinks, 0, 0, 0, h);
    }
    row->row_max = sink;
    row->max_error = 0;
    for (int64_t j = 0; j < keys; j++) {
        int bad = isnan(row->row_max) || isnan(row->biased[j]);
        row->row_max = bad ? NAN : fmax(row->row_max, row->biased[j]);
        row->max_error = fmax(row->max_error, row->biased_error[j]);
    }

    row->row_sum = row->row_max == -INFINITY ? 0 : exp(sink - row->row_max);
    double weight_error = 0; /* max_j d_j */
    for (int64_t j = 0; j < keys; j++) {
        row->weight[j] = 0;
        if (row->biased[j] != -INFINITY) {
            double below = row->row_max - row->biased[j];
            row->weight[j] = exp(-below);
            row->row_sum += row->weight[j];
            /* A weight that underflows carries no error worth counting. */
            if (below < 90) {
                weight_error =
                    fmax(weight_error, row->biased_error[j] + unit * (1.1 * below + 4));
            }
        }
    }
    double roundings = (tile + n / tile + 20) * unit;
    row->lse = row->row_max == -INFINITY ? -INFINITY : row->row_max + log(row->row_sum);
    row->sum_error = row->lse_error = 0;
    if (row->attended > 0) {
        row->sum_error = (2 * weight_error + roundings) * row->row_sum;
        row->lse_error = weight_error + row->max_error + roundings +
                         2 * unit * (fabs(row->lse) + fabs(row->row_max));
    }
    return 2 * weight_error + roundings;
}

/* -------------------------------------------------------------------- dropout */

int oracle_keeps(const struct test_inputs *inputs, int64_t b, int64_t h, int64_t i,
                 int64_t j) {
    double probability = inputs->problem.dropout;
    if (probability == 0) {
        return 1;
    }
    int64_t index =
        inputs->rng_indices.rank > 0 ? element_int(&inputs->rng_indices, 0, b) : b;
    struct philox counter = {
        {(uint32_t)index, (uint32_t)h, (uint32_t)i, (uint32_t)(j / 4)}};
    uint64_t seed = (uint64_t)inputs->dropout_seed;
    struct philox random = philox(counter, (uint32_t)seed, (uint32_t)(seed >> 32));
    return (random.word[j % 4] >> 8) * 0x1p-24 >= probability;
}

static double drop_factor(const struct test_inputs *inputs, int64_t b, int64_t h,
                          int64_t i, int64_t j) {
    double probability = inputs->problem.dropout;
    return oracle_keeps(inputs, b, h, i, j) ? 1 / (1 - probability) : 0;
}

void oracle_compute(struct oracle_row *row, const struct test_inputs *inputs, int64_t b,
                    int64_t h, int64_t i) {
    const struct test_problem *p = &inputs->problem;
    int64_t group = h / (p->q_heads / p->kv_heads);
    score_row(row, inputs, b, h, i);
    double relative = sum_row(row, inputs, h);
    double dropping = p->dropout > 0 ? 4 * unit : 0; /* the factor and its product */
    /* Weights below 2^-126 of the maximum are 0, and products may underflow. */
    double lost = 0x1p-126, underflow = ((double)row->attended + 64) * smallest;
    if (inputs->value.dtype == ATTN_I8) {
        /* the weight or the byte is multiplied by the scale first */
        dropping += unit;
        underflow *= 1 + 128;
    }

    for (int32_t c = 0; c < p->value_dim; c++) {
        row->out[c] = row->out_error[c] = 0;
    }
    for (int64_t j = 0; j < p->kv_length; j++) {
        row->weight_error[j] = 0;
        row->drop[j] = drop_factor(inputs, b, h, i, j);
        if (row->biased[j] == -INFINITY) {
            continue;
        }
        const struct element_row value = rows_value(inputs, b, group, j);
        row->weight[j] /= row->row_sum;
        row->weight_error[j] = relative * row->weight[j] + lost;
        double factor = row->weight[j] * row->drop[j];
        double factor_error = row->weight_error[j] * row->drop[j] + dropping * factor;
        for (int32_t c = 0; c < p->value_dim; c++) {
            double number = element_in(&value, c);
            row->out[c] += factor * number;
            row->out_error[c] += factor_error * fabs(number);
        }
    }
    for (int32_t c = 0; c < p->value_dim && row->attended > 0; c++) {
        row->out_error[c] += underflow;
    }
}

/* --------------------------------------------------------------------- memory */

static double *numbers(int64_t count) {
    double *array = calloc((size_t)count + 1, sizeof *array);
    assert_non_null(array);
    return array;
}

void oracle_open(struct oracle_row *row, const struct test_problem *problem) {
    int64_t keys = problem->kv_length;
    *row = (struct oracle_row){.raw = numbers(keys),
                               .capped = numbers(keys),
                               .biased = numbers(keys),
                               .weight = numbers(keys),
                               .out = numbers(problem->value_dim),
                               .drop = numbers(keys),
                               .raw_error = numbers(keys),
                               .capped_error = numbers(keys),
                               .biased_error = numbers(keys),
                               .weight_error = numbers(keys),
                               .out_error = numbers(problem->value_dim)};
}

void oracle_close(struct oracle_row *row) {
    free(row->raw);
    free(row->capped);
    free(row->biased);
    free(row->weight);
    free(row->out);
    free(row->drop);
    free(row->raw_error);
    free(row->capped_error);
    free(row->biased_error);
    free(row->weight_error);
    free(row->out_error);
    *row = (struct oracle_row){0};
}
