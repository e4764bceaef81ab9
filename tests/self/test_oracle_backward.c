/*
 * The oracle's gradients against central differences of the oracle's own forward pass,
 * in float64: the loss is the sum of all outputs times the gradients that come in.
 *
 * Inputs are rounded to multiples of 2^-16, so that steps of 2^-9 are exact in their
 * float32 memory. The formula of five points is off by some step^4 = 1e-11.
 */
#include <math.h>
#include <stdlib.h>

#include "tests/support/check.h"
#include "tests/support/compose.h"
#include "tests/support/element.h"
#include "tests/support/oracle.h"
#include "tests/support/oracle_backward.h"
#include "tests/support/run.h"

static const double step = 0x1p-9;

static struct test_inputs inputs;
static struct test_incoming incoming;

static double row_loss(const struct oracle_row *row, int64_t b, int64_t h, int64_t i) {
    double loss = 0;
    for (int32_t c = 0; c < inputs.problem.value_dim; c++) {
        loss += row->out[c] * incoming_at(&incoming, OF_OUT, b, h, i, c);
    }
    for (int64_t j = 0; j < inputs.problem.kv_length; j++) {
        loss += row->weight[j] * (incoming_at(&incoming, OF_WEIGHTS, b, h, i, j) +
                                  incoming_at(&incoming, OF_KEY_SUMS, 0, b, h, j));
    }
    if (row->lse != -INFINITY) {
        loss += row->lse * incoming_at(&incoming, OF_LSE, 0, b, h, i);
    }
    return loss;
}

static double loss(void) {
    const struct test_problem *p = &inputs.problem;
    struct oracle_row row;
    double sum = 0;
    oracle_open(&row, p);
    for (int64_t n = 0; n < p->batch * p->q_heads * p->q_length; n++) {
        int64_t b = n / p->q_length / p->q_heads, h = n / p->q_length % p->q_heads;
        if (n % p->q_length < oracle_q_length(&inputs, b)) {
            oracle_compute(&row, &inputs, b, h, n % p->q_length);
            sum += row_loss(&row, b, h, n % p->q_length);
        }
    }
    oracle_close(&row);
    return sum;
}

static double difference(float *number) {
    static const double factor[] = {1, -8, 0, 8, -1};
    const float before = *number;
    double sum = 0;
    for (int n = 0; n < 5; n++) {
        *number = before + (float)((n - 2) * step);
        sum += factor[n] == 0 ? 0 : factor[n] * loss();
    }
    *number = before;
    return sum / (12 * step);
}

/* The gradient of each number in the memory of an input, which may stand for several of
 * its elements. */
static double *by_memory(const struct oracle_gradients *oracle, int output) {
    const attn_tensor *tensor = outputs_gradient_of(&inputs, output);
    double *sums = calloc((size_t)element_extent(tensor) + 1, sizeof *sums);
    assert_non_null(sums);
    for (int64_t n = 0; n < element_count(tensor); n++) {
        const float *element = element_nth(tensor, n);
        sums[element - (const float *)tensor->data] += oracle->sum[output][n].value;
    }
    return sums;
}

static void round_numbers(const attn_tensor *tensor) {
    float *numbers = tensor->data;
    for (int64_t n = 0; n < element_extent(tensor) && tensor->rank > 0; n++) {
        numbers[n] = rintf(numbers[n] * 0x1p16f) * 0x1p-16f;
    }
}

/* Compares all gradients of the inputs; returns how many numbers were not 0. */
static int64_t compare(void) {
    struct oracle_gradients oracle;
    int64_t useful = 0;
    for (int o = GRAD_QUERY; o < SLOTS; o++) {
        round_numbers(outputs_gradient_of(&inputs, o));
    }
    oracle_gradients_open(&oracle, &inputs, &incoming, 0);
    for (int o = GRAD_QUERY; o < SLOTS; o++) {
        const attn_tensor *tensor = outputs_gradient_of(&inputs, o);
        double *expected = by_memory(&oracle, o);
        float *numbers = tensor->data;
        for (int64_t n = 0; n < element_extent(tensor) && tensor->rank > 0; n++) {
            /* Gaps hold NaN; a bias of -infinity is a mask. */
            if (!isfinite(numbers[n])) {
                assert_true(expected[n] == 0);
                continue;
            }
            double got = difference(&numbers[n]);
            if (fabs(got - expected[n]) > 1e-7 * (1 + fabs(expected[n]))) {
                check_print_problem("not the derivative", &inputs);
                fail_msg("%s, number %d: %.12g, central difference %.12g",
                         outputs_name(o), (int)n, expected[n], got);
            }
            useful += expected[n] != 0;
        }
        free(expected);
    }
    oracle_gradients_close(&oracle);
    return useful;
}

static int64_t compare_problem(const struct test_problem *problem, unsigned given) {
    gen_inputs(&inputs, problem, DATA_RANDOM);
    incoming_open(&incoming, problem, given);
    int64_t useful = compare();
    incoming_close(&incoming);
    gen_free(&inputs);
    return useful;
}

static void each_option(void **state) {
    (void)state;
    static const char *const texts[] = {
        "q3 k4 d2 seed=1",
        "b2 h4/2 q3 k5 d3/2 scale=0.7 seed=2",
        "h2/1 q4 k3 d2 softcap=0.6 seed=3",
        "b2 h2 q3 k4 d2 bias seed=4",
        "b2 h2 q3 k4 d2 bias seed=5",
        "b2 h2 q3 k4 d2 alibi seed=6",
        "b2 h2 q3 k4 d2 alibi align=offsets seed=7",
        "b2 h2 q3 k4 d2 sinks causal align=br seed=8",
        "b2 h2 q5 k4 d2 sinks qlens kvlens causal align=br seed=9",
        "b2 h2 q5 k6 d2 mask docs seed=13",
        "b2 h2 q5 k9 d2 dropout=0.4 seed=11",
        "q5 k9 d2 window=2,1 block=2x3 dropout=1 sinks seed=12",
        "b2 h2 q5 k6 d2 relbias=4,3 seed=14",
        "b2 h2 q5 k6 d2 relbias=8,9 bidir softcap=0.8 align=br seed=15",
        "b2 h4/2 q4 k5 d3/2 relkeys seed=16",
        "b2 h2 q4 k6 d2 relkeys softcap=0.6 scale=-0.7 align=offsets seed=17",
        "b2 h4/2 q4 k5 d2 ubias softcap=0.9 seed=18",
        "b2 h2 q4 k5 d2 relkeys ubias vbias causal seed=19",
        "h3 q4 k5 d2 relkeys vbias alibi bias dropout=0.3 seed=20",
        "b2 h2 q4 k5 d2 segments seed=21",
        "b2 h2 q4 k5 d2 segments softcap=1 qlens kvlens seed=22",
        "b2 h4/2 q4 k6 d2 segments relkeys ubias vbias relbias=5,4 sinks seed=23",
        "b2 h2 q4 k6 d2 ranks=upto relbias=2,2 seed=24",
        "b2 h2 q4 k6 d2 ranks=below relkeys segments seed=25"};
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_problem problem = run_parse(texts[t]);
        assert_true(compare_problem(&problem, ALL_INCOMING) > 0);
        for (unsigned w = 0; w < INCOMING; w++) {
            compare_problem(&problem, 1u << w);
        }
    }
}

static void random_problems(void **state) {
    (void)state;
    int useful = 0;
    for (uint64_t number = 0; number < 150; number += TEST_SHARE) {
        int data;
        struct test_problem p = compose_differentiable(number, &data);
        p.batch = p.batch > 2 ? 2 : p.batch;
        p.q_length %= 6;
        p.kv_length %= 7;
        p.key_dim = 1 + p.key_dim % 3;
        p.value_dim = 1 + p.value_dim % 2;
        p.q_block %= 4;
        p.k_block = p.q_block > 0 ? 1 + p.k_block % 4 : 0;
        useful += compare_problem(&p, 1 + (unsigned)number % ALL_INCOMING) > 0;
    }
    assert_true(useful > 60 / TEST_SHARE);
}

/* In a call of ordinary numbers bounds are far below the numbers. */
static void bounds_are_neither_zero_nor_vain(void **state) {
    (void)state;
    struct oracle_gradients oracle;
    struct test_problem problem = run_parse("h2 q100 k300 d64 seed=4");
    gen_inputs(&inputs, &problem, DATA_RANDOM);
    incoming_open(&incoming, &problem, ONLY_OF_OUT);
    oracle_gradients_open(&oracle, &inputs, &incoming, 0);
    for (int o = GRAD_QUERY; o <= GRAD_VALUE; o++) {
        for (int64_t i = 0; i < 100; i++) {
            struct oracle_sum *sum = oracle_gradient_at(&oracle, o, 0, 1, i, 7);
            double bound = oracle_gradient_bound(sum);
            assert_true(bound > 8 * 0x1p-24 * fabs(sum->value));
            assert_true(bound > 1e-6 && bound < 1e-3);
        }
    }
    oracle_gradients_close(&oracle);
    incoming_close(&incoming);
    gen_free(&inputs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_option),
        cmocka_unit_test(random_problems),
        cmocka_unit_test(bounds_are_neither_zero_nor_vain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
