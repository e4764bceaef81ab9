/*
 * The library's gradients against central differences of the library's own forward
 * pass: the loss is the sum of all of its outputs times the gradients that come in.
 *
 * The formula of five points with step h = 1/16 is off by about h^4 / 30 of a fifth
 * derivative, some 1e-6, and by the rounding of the loss, a sum of some hundred numbers
 * of size 1, over h: some 1e-4. The oracle has narrower bounds; this test does without
 * it.
 */
#include <math.h>
#include <stdio.h>

#include "tests/support/backward.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/run.h"

static const float step = 0x1p-4f;
static const double tolerance = 1e-3;

static struct test_call call;
static struct test_incoming incoming;

/* The sum of an output times what came in for it. LSE may be -infinity. */
static double product(int output, int which) {
    const attn_tensor *tensor = &call.outputs.tensor[output];
    double sum = 0;
    for (int64_t n = 0; n < element_count(tensor); n++) {
        double number = *(const float *)element_nth(tensor, n);
        if (number != -INFINITY) {
            sum += number * *(const float *)element_nth(&incoming.tensor[which], n);
        }
    }
    return sum;
}

static double loss(void) {
    call_run(&call);
    return product(OUT, OF_OUT) + product(LSE, OF_LSE) + product(WEIGHTS, OF_WEIGHTS) +
           product(KEY_SUMS, OF_KEY_SUMS);
}

static double difference(float *number) {
    static const double factor[] = {1, -8, 0, 8, -1};
    const float before = *number;
    double sum = 0;
    for (int n = 0; n < 5; n++) {
        *number = before + (float)(n - 2) * step;
        sum += factor[n] == 0 ? 0 : factor[n] * loss();
    }
    *number = before;
    return sum / (12 * (double)step);
}

/* Whether no two elements share memory. */
static int apart(const attn_tensor *tensor) {
    int all = 1;
    for (int32_t d = 0; d < tensor->rank; d++) {
        all = all && (tensor->stride[d] != 0 || tensor->shape[d] <= 1);
    }
    return all;
}

/* Returns how many elements could be compared. */
static int64_t compare(const struct test_outputs *gradients, int output) {
    const attn_tensor *input = outputs_gradient_of(&call.inputs, output);
    int64_t compared = 0;
    for (int64_t n = 0; n < element_count(input) && apart(input); n++) {
        float *number = element_nth(input, n);
        double got = *(const float *)element_nth(&gradients->tensor[output], n);
        if (*number == -INFINITY) {
            assert_true(got == 0);
            continue;
        }
        double expected = difference(number);
        if (!check_number(got, expected, tolerance * (1 + fabs(expected)))) {
            check_print_problem("not the derivative", &call.inputs);
            fail_msg("%s, element %d: %.9g, central difference %.9g",
                     outputs_name(output), (int)n, got, expected);
        }
        compared++;
    }
    return compared;
}

static const char *const texts[] = {
    "q4 k5 d3",
    "b2 h4/2 q3 k5 d3/2 causal align=br",
    "h2/1 q4 k3 d2 softcap=2",
    "b2 h2 q3 k4 d2 bias sinks",
    "b2 h2 q3 k4 d2 alibi align=offsets",
    "b2 h2 q5 k4 d2 sinks kvlens docs layout=bshd",
    "h2 q5 k9 d2 dropout=0.4 mask",
    "b2 h2 q6 k9 d2 window=2,1 block=2x3 bias alibi sinks softcap=3 dropout=0.2",
    "b2 h2 q4 k6 d2 relbias=4,3 bidir softcap=2",
    "b2 h4/2 q4 k6 d2 relkeys ubias vbias align=offsets",
    "b2 h2 q5 k6 d2 relkeys segments ubias softcap=3 ranks=upto scale=0.7",
    "h2 q4 k6 d2 segments relbias=4,9 causal sinks dropout=0.2",
    "b2 h4/2 q4 k6 d3/2 additive causal align=br softcap=2 scale=0.7"};

static void each_option(void **state) {
    (void)state;
    int64_t compared[SLOTS] = {0};
    for (size_t t = 0; t < COUNT_OF(texts) * 4; t++) {
        struct test_backward backward;
        char text[160];
        snprintf(text, sizeof text, "%s seed=%d", texts[t / 4], (int)(t % 4));
        backward_open(&backward, text, ALL_INCOMING, ALL_GRADIENTS);
        backward_run(&backward);
        call_open(&call, text, 1 << OUT | 1 << LSE | 1 << WEIGHTS | 1 << KEY_SUMS);
        incoming = backward.incoming;
        for (int o = GRAD_QUERY; o < SLOTS; o++) {
            compared[o] += compare(&backward.gradients, o);
        }
        call_close(&call);
        backward_close(&backward);
    }
    for (int o = GRAD_QUERY; o < SLOTS; o++) {
        assert_true(compared[o] >= 10);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_option)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
