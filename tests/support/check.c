/*
 * Walks through the rows of a problem with the oracle and compares. What a row does not
 * hold, sums over queries and means over heads, is added up on the way.
 */
#include "tests/support/check.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "tests/support/element.h"
#include "tests/support/oracle.h"
#include "tests/support/rows.h"

/* A sum of weights and what may be wrong with it. */
struct sum {
    double value, error;
};

struct check {
    const struct test_inputs *inputs;
    const struct test_outputs *outputs;
    int wrong[OUTPUTS];
    struct sum *mean; /* (Sq, Sk) of the current batch element */
    struct sum *keys; /* (Sk) of the current head */
};

void check_print_problem(const char *title, const struct test_inputs *inputs) {
    char text[512];
    problem_format(&inputs->problem, text, sizeof text);
    print_error("%s: \"%s\" data=%s\n", title, text, gen_data_name(inputs->data));
}

int check_number(double got, double expected, double bound) {
    if (isnan(expected) || isnan(got)) {
        return isnan(expected) && isnan(got);
    }
    return got == expected || fabs(got - expected) <= bound;
}

/* Rounding keeps the order of numbers: what lay between two lies between what they
 * became, also where that is a subnormal or infinite. */
int check_stored_number(int32_t dtype, double got, double expected, double bound) {
    if (dtype == ATTN_F32 || isnan(expected) || isnan(got) || isinf(expected)) {
        return check_number(got, expected, bound);
    }
    double least = stored_float(dtype, stored_nearest(dtype, expected - bound));
    double most = stored_float(dtype, stored_nearest(dtype, expected + bound));
    return got >= least && got <= most;
}

static void compare(struct check *check, int output, int64_t i0, int64_t i1, int64_t i2,
                    int64_t i3, double expected, double bound) {
    const attn_tensor *tensor = &check->outputs->tensor[output];
    double got = element_float(tensor, i0, i1, i2, i3);
    if (check->wrong[output] ||
        check_stored_number(tensor->dtype, got, expected, bound)) {
        return;
    }
    check->wrong[output] = 1;
    check_print_problem("wrong", check->inputs);
    print_error("    %s[%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64
                "] is %.9g, expected %.9g within %.3g\n",
                outputs_name(output), i0, i1, i2, i3, got, expected, bound);
}

static int asked(const struct check *check, int output) {
    return check->outputs->tensor[output].rank > 0;
}

/* The outputs with one number for each query. (They have rank 3: i0 does not count.) */
static void compare_row(struct check *check, const struct oracle_row *row, int64_t b,
                        int64_t h, int64_t i) {
    const struct rows_place at = rows_of_query(check->inputs, b, i);
    b = at.b;
    i = at.i;
    if (asked(check, OUT)) {
        for (int32_t c = 0; c < check->inputs->problem.value_dim; c++) {
            compare(check, OUT, b, h, i, c, row->out[c], row->out_error[c]);
        }
    }
    if (asked(check, LSE)) {
        compare(check, LSE, 0, b, h, i, row->lse, row->lse_error);
    }
    /* Whether a NaN enters the maximum is left open. */
    if (asked(check, ROW_MAX) && !isnan(row->row_sum)) {
        compare(check, ROW_MAX, 0, b, h, i, row->row_max, row->max_error);
    }
    if (asked(check, ROW_SUM)) {
        compare(check, ROW_SUM, 0, b, h, i, row->row_sum, row->sum_error);
    }
}

static void compare_keys(struct check *check, const struct oracle_row *row, int64_t b,
                         int64_t h, int64_t i) {
    int64_t keys = check->inputs->problem.kv_length;
    const struct {
        int output;
        const double *value, *error;
    } table[] = {{WEIGHTS, row->weight, row->weight_error},
                 {RAW_SCORES, row->raw, row->raw_error},
                 {CAPPED_SCORES, row->capped, row->capped_error},
                 {BIASED_SCORES, row->biased, row->biased_error}};
    for (size_t t = 0; t < COUNT_OF(table); t++) {
        for (int64_t j = 0; j < keys && asked(check, table[t].output); j++) {
            compare(check, table[t].output, b, h, i, j, table[t].value[j],
                    table[t].error[j]);
        }
    }
    for (int64_t j = 0; j < keys; j++) {
        struct sum *mean = &check->mean[i * keys + j];
        mean->value += row->weight[j];
        mean->error += row->weight_error[j];
        check->keys[j].value += row->weight[j];
        check->keys[j].error += row->weight_error[j];
    }
}

/* A float32 sum of n terms of one sign is off by at most n u of its value. */
static double sum_bound(const struct sum *sum, int64_t n) {
    return sum->error + (double)(n + 4) * 0x1p-24 * sum->value;
}

/* Of all rows and keys, whatever masks and lengths say. */
static void compare_dropout(struct check *check, int64_t b, int64_t h, int64_t i) {
    const attn_tensor *mask = &check->outputs->tensor[DROPOUT_MASK];
    for (int64_t j = 0; j < check->inputs->problem.kv_length; j++) {
        int expected = oracle_keeps(check->inputs, b, h, i, j);
        int got = *(const uint8_t *)element_at(mask, b, h, i, j);
        if (got != expected && !check->wrong[DROPOUT_MASK]) {
            check->wrong[DROPOUT_MASK] = 1;
            check_print_problem("wrong", check->inputs);
            print_error("    dropout_mask[%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64
                        "] is %d, expected %d\n",
                        b, h, i, j, got, expected);
        }
    }
}

static void compare_sums(struct check *check, int64_t b) {
    const struct test_problem *p = &check->inputs->problem;
    double heads = p->q_heads;
    for (int64_t n = 0; n < p->q_length * p->kv_length && asked(check, MEAN_WEIGHTS);
         n++) {
        struct sum *mean = &check->mean[n];
        compare(check, MEAN_WEIGHTS, 0, b, n / p->kv_length, n % p->kv_length,
                mean->value / heads, sum_bound(mean, p->q_heads) / heads);
    }
    for (int64_t n = 0; n < p->q_length * p->kv_length; n++) {
        check->mean[n] = (struct sum){0, 0};
    }
}

int check_outputs(const struct test_inputs *inputs,
                  const struct test_outputs *outputs) {
    const struct test_problem *p = &inputs->problem;
    struct check check = {.inputs = inputs, .outputs = outputs};
    check.mean = calloc((size_t)(p->q_length * p->kv_length) + 1, sizeof *check.mean);
    check.keys = calloc((size_t)p->kv_length + 1, sizeof *check.keys);
    assert_non_null(check.mean);
    assert_non_null(check.keys);
    struct oracle_row row;
    oracle_open(&row, p);
    for (int64_t b = 0; b < p->batch; b++) {
        /* packed sequences have no rows beyond their own */
        int64_t rows = p->q_packed ? oracle_q_length(inputs, b) : p->q_length;
        for (int64_t h = 0; h < p->q_heads; h++) {
            for (int64_t i = 0; i < rows; i++) {
                oracle_compute(&row, inputs, b, h, i);
                compare_row(&check, &row, b, h, i);
                compare_keys(&check, &row, b, h, i);
                if (asked(&check, DROPOUT_MASK)) {
                    compare_dropout(&check, b, h, i);
                }
            }
            for (int64_t j = 0; j < p->kv_length; j++) {
                if (asked(&check, KEY_SUMS)) {
                    compare(&check, KEY_SUMS, 0, b, h, j, check.keys[j].value,
                            sum_bound(&check.keys[j], p->q_length));
                }
                check.keys[j] = (struct sum){0, 0};
            }
        }
        compare_sums(&check, b);
    }
    oracle_close(&row);
    free(check.mean);
    free(check.keys);
    int wrong = 0;
    for (int o = 0; o < OUTPUTS; o++) {
        wrong += check.wrong[o];
    }
    if (!outputs_whole(outputs)) {
        check_print_problem("memory of the outputs", inputs);
        wrong++;
    }
    return wrong;
}
