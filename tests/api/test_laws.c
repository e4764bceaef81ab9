/*
 * Laws of attention that hold up to rounding. Each side may be off by the oracle's
 * bound, so two sides may differ by twice as much.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/oracle.h"
#include "tests/support/run.h"

static const char *const engines[] = {"engine=auto", "engine=dense", "engine=flash",
                                      "engine=decode"};
static struct test_call call;

/* A problem by engine number e, its out and LSE. */
static void open_law(const char *words, size_t e) {
    char text[256];
    snprintf(text, sizeof text, "%s %s", words, engines[e]);
    call_open(&call, text, 1 << OUT | 1 << LSE);
    call_run(&call);
}

/* The numbers of an output, contiguous; release with free(). */
static float *copy_output(int output) {
    const attn_tensor *t = &call.outputs.tensor[output];
    const int64_t *n = t->shape;
    int64_t last = t->rank == 4 ? n[3] : 1, count = n[0] * n[1] * n[2] * last;
    float *copy = malloc((size_t)count * sizeof *copy + 1);
    assert_non_null(copy);
    for (int64_t i = 0; i < count; i++) {
        int64_t row = i / last;
        int64_t b = row / n[2] / n[1], h = row / n[2] % n[1];
        copy[i] = t->rank == 4 ? element_float(t, b, h, row % n[2], i % last)
                               : element_float(t, 0, b, h, row % n[2]);
    }
    return copy;
}

/* Compares out with a contiguous array and LSE with another plus shift. */
static void need_close(const float *out, const float *lse, double shift) {
    const struct test_problem *p = &call.inputs.problem;
    struct oracle_row row;
    oracle_open(&row, p);
    for (int64_t r = 0; r < p->batch * p->q_heads * p->q_length; r++) {
        int64_t b = r / p->q_length / p->q_heads, h = r / p->q_length % p->q_heads;
        int64_t i = r % p->q_length;
        oracle_compute(&row, &call.inputs, b, h, i);
        for (int32_t c = 0; c < p->value_dim; c++) {
            float got = element_float(&call.outputs.tensor[OUT], b, h, i, c);
            float other = out[r * p->value_dim + c];
            if (!check_number(got, other, 2 * row.out_error[c])) {
                check_print_problem("law broken", &call.inputs);
                fail_msg("row %d component %d: %.9g and %.9g", (int)r, c, (double)got,
                         (double)other);
            }
        }
        double got = element_float(&call.outputs.tensor[LSE], 0, b, h, i);
        if (lse != NULL) {
            assert_true(check_number(got, lse[r] + shift, 2 * row.lse_error + 1e-6));
        }
    }
    oracle_close(&row);
}

/* Keys in reverse order, with their values. */
static void reverse(const attn_tensor *t) {
    size_t bytes = (size_t)t->shape[3] * sizeof(float);
    float *row = malloc(bytes);
    assert_non_null(row);
    for (int64_t n = 0; n < t->shape[0] * t->shape[1]; n++) {
        int64_t b = n / t->shape[1], g = n % t->shape[1];
        if (b > 0 && t->stride[0] == 0) {
            continue;
        }
        for (int64_t j = 0; j < t->shape[2] / 2; j++) {
            float *low = element_at(t, b, g, j, 0);
            float *high = element_at(t, b, g, t->shape[2] - 1 - j, 0);
            memcpy(row, low, bytes);
            memcpy(low, high, bytes);
            memcpy(high, row, bytes);
        }
    }
    free(row);
}

static void order_of_keys(void **state) {
    (void)state;
    for (size_t e = 0; e < COUNT_OF(engines); e++) {
        open_law("b2 h4/2 q33 k300 d40 sinks seed=1", e);
        float *out = copy_output(OUT), *lse = copy_output(LSE);
        reverse(&call.inputs.key);
        reverse(&call.inputs.value);
        call_run(&call);
        need_close(out, lse, 0);
        free(out);
        free(lse);
        call_close(&call);
    }
}

static void shift_of_scores(void **state) {
    (void)state;
    for (size_t e = 0; e < COUNT_OF(engines); e++) {
        open_law("h2 q50 k280 d16 bias causal align=br seed=3", e);
        float *out = copy_output(OUT), *lse = copy_output(LSE);
        const attn_tensor *bias = &call.inputs.bias;
        for (int64_t n = 0; n < element_extent(bias); n++) {
            ((float *)bias->data)[n] += 8.0f;
        }
        call_run(&call);
        need_close(out, lse, 8);
        free(out);
        free(lse);
        call_close(&call);
    }
}

/* Calls change(value, position) for every component of value. */
static void change_values(float (*change)(float value, int64_t n)) {
    const attn_tensor *t = &call.inputs.value;
    int64_t batch = t->stride[0] == 0 && t->shape[0] > 1 ? 1 : t->shape[0], n = 0;
    for (int64_t r = 0; r < batch * t->shape[1] * t->shape[2]; r++) {
        float *row = element_at(t, r / t->shape[2] / t->shape[1],
                                r / t->shape[2] % t->shape[1], r % t->shape[2], 0);
        for (int64_t c = 0; c < t->shape[3]; c++, n++) {
            row[c] = change(row[c], n);
        }
    }
}

static float another(float value, int64_t n) {
    (void)value;
    return cosf((float)n);
}

static float sum_of_both(float value, int64_t n) {
    return 0.5f * value - 3.0f * cosf((float)n);
}

static float one(float value, int64_t n) {
    (void)value, (void)n;
    return 1.0f;
}

static void linear_in_values(void **state) {
    (void)state;
    for (size_t e = 0; e < COUNT_OF(engines); e++) {
        const char *words = "b2 h2 q40 k300 d16/24 causal align=br seed=4";
        open_law(words, e);
        float *first = copy_output(OUT);
        change_values(another);
        call_run(&call);
        float *second = copy_output(OUT);
        call_close(&call);
        open_law(words, e);
        change_values(sum_of_both);
        call_run(&call);
        const attn_tensor *out = &call.outputs.tensor[OUT];
        int64_t n = out->shape[0] * out->shape[1] * out->shape[2] * out->shape[3];
        for (int64_t i = 0; i < n; i++) {
            float *at =
                element_at(out, i / out->shape[3] / out->shape[2] / out->shape[1],
                           i / out->shape[3] / out->shape[2] % out->shape[1],
                           i / out->shape[3] % out->shape[2], i % out->shape[3]);
            /* Rounding of at most 400 u of a weighted mean of numbers below 5. */
            assert_true(fabs(*at - (0.5 * first[i] - 3.0 * second[i])) <
                        5 * 400 * 0x1p-24);
        }
        free(first);
        free(second);
        call_close(&call);
    }
}

static void ones_give_one(void **state) {
    (void)state;
    static const char *const words[] = {
        "h2 q70 k500 d64/5 seed=6", "q90 d8 causal window=20,3 seed=7",
        "q3 k1 d8 seed=8", "q40 k333 d8 alibi bias seed=9"};
    for (size_t w = 0; w < COUNT_OF(words); w++) {
        for (size_t e = 0; e < COUNT_OF(engines); e++) {
            open_law(words[w], e);
            change_values(one);
            call_run(&call);
            const attn_tensor *out = &call.outputs.tensor[OUT];
            for (int64_t r = 0; r < out->shape[1] * out->shape[2]; r++) {
                int64_t h = r / out->shape[2], i = r % out->shape[2];
                float lse = element_float(&call.outputs.tensor[LSE], 0, 0, h, i);
                for (int64_t c = 0; c < out->shape[3]; c++) {
                    double want = lse == -INFINITY ? 0 : 1;
                    assert_true(fabs(element_float(out, 0, h, i, c) - want) <
                                300 * 0x1p-24);
                }
            }
            call_close(&call);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_of_keys),
        cmocka_unit_test(shift_of_scores),
        cmocka_unit_test(linear_in_values),
        cmocka_unit_test(ones_give_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
