/*
 * The check of gradients itself: what the oracle says passes, and every single wrong
 * element, missing element and stray write is noticed. And poison changes nothing that
 * the gradients need.
 */
#include <math.h>
#include <string.h>

#include "tests/support/backward.h"
#include "tests/support/element.h"
#include "tests/support/oracle_backward.h"
#include "tests/support/poison.h"
#include "tests/support/run.h"

/* Without a library: the forward call is not made. */
static struct test_backward call;

static void open_problem(const char *text) {
    struct oracle_gradients oracle;
    struct test_problem problem = run_parse(text);
    call = (struct test_backward){0};
    gen_inputs(&call.forward.inputs, &problem, DATA_RANDOM);
    incoming_open(&call.incoming, &problem, ALL_INCOMING);
    outputs_open_gradients(&call.gradients, &call.forward.inputs, ALL_GRADIENTS);
    assert_true(outputs_untouched(&call.gradients));
    oracle_gradients_open(&oracle, &call.forward.inputs, &call.incoming, 1);
    for (int o = GRAD_QUERY; o < SLOTS; o++) {
        const attn_tensor *tensor = &call.gradients.tensor[o];
        for (int64_t n = 0; n < element_count(tensor); n++) {
            *(float *)element_nth(tensor, n) = (float)oracle.sum[o][n].value;
        }
    }
    oracle_gradients_close(&oracle);
    assert_int_equal(backward_check(&call), 0);
}

static void close_problem(void) {
    outputs_close(&call.gradients);
    incoming_close(&call.incoming);
    gen_free(&call.forward.inputs);
}

static const char *const texts[] = {
    "b2 h4/2 q5 k9 d8/3 causal align=br softcap=2 bias alibi sinks seed=1",
    "b3 h2 q9 k7 d4 layout=bshd qlens kvlens docs bias alibi sinks dropout=0.2 seed=2",
    ("b2 h2 q9 k12 d4 qlens kvlens dropout=0.1 relbias=8,9 relkeys ubias vbias "
     "segments ranks=below seed=3"),
};

static void wrong_elements_are_noticed(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        open_problem(texts[t]);
        for (int o = GRAD_QUERY; o < SLOTS; o++) {
            const attn_tensor *tensor = &call.gradients.tensor[o];
            if (tensor->rank == 0) {
                continue;
            }
            float *element = element_nth(tensor, element_count(tensor) - 1);
            const float right = *element;
            const float wrong[] = {right * 1.01f + 0.01f, NAN, 77.0f, -INFINITY};
            for (size_t w = 0; w < COUNT_OF(wrong); w++) {
                *element = wrong[w];
                assert_int_equal(backward_check(&call), 1);
            }
            *element = right;
        }
        close_problem();
    }
}

static void stray_and_missing_writes_are_noticed(void **state) {
    (void)state;
    open_problem(texts[0]);
    for (int o = GRAD_QUERY; o <= GRAD_SINKS; o++) {
        float *block = call.gradients.block[o], *first = call.gradients.tensor[o].data;
        float untouched, right;
        memcpy(&untouched, block, sizeof untouched);
        memcpy(&right, first, sizeof right);
        block[call.gradients.elements[o] - 1] = 0;
        assert_int_equal(backward_check(&call), 1);
        memcpy(&block[call.gradients.elements[o] - 1], &untouched, sizeof untouched);
        assert_int_equal(backward_check(&call), 0);
        memcpy(first, &untouched, sizeof untouched);
        assert_false(outputs_whole(&call.gradients));
        memcpy(first, &right, sizeof right);
        assert_false(outputs_untouched(&call.gradients));
    }
    close_problem();
}

static void poison_leaves_the_oracle_alone(void **state) {
    (void)state;
    for (int n = 0; n < 2 * POISONS; n++) {
        int poison = n / 2;
        open_problem(texts[1 + n % 2]);
        assert_true(poison_incoming(&call.forward.inputs, &call.incoming, poison) > 0);
        assert_true(poison_masked(&call.forward.inputs, poison) > 0);
        assert_int_equal(backward_check(&call), 0);
        close_problem();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_elements_are_noticed),
        cmocka_unit_test(stray_and_missing_writes_are_noticed),
        cmocka_unit_test(poison_leaves_the_oracle_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
