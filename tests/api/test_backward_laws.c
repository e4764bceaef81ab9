/*
 * Laws of gradients: two calls that say the same by other means. Both sides read the
 * same memory, or memory at the same alignment.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/backward.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/oracle_backward.h"
#include "tests/support/run.h"

static struct test_backward left, right;

static void open_both(const char *one, const char *other) {
    backward_open(&left, one, ALL_INCOMING, ALL_GRADIENTS);
    backward_open(&right, other, ALL_INCOMING, ALL_GRADIENTS);
}

static void close_both(void) {
    backward_close(&left);
    backward_close(&right);
}

/* Points a tensor to the memory of another that is at least as large, from element b
 * of its batch on. */
static void view(attn_tensor *to, const attn_tensor *from, int64_t b) {
    to->data =
        to->rank == 4 ? element_at(from, b, 0, 0, 0) : element_at(from, 0, b, 0, 0);
    memcpy(to->stride, from->stride, sizeof to->stride);
}

/* Lets right read what left reads. */
static void share_from(int64_t b) {
    struct test_inputs *to = &right.forward.inputs;
    const struct test_inputs *from = &left.forward.inputs;
    view(&to->query, &from->query, b);
    view(&to->key, &from->key, b);
    view(&to->value, &from->value, b);
    for (int w = 0; w < INCOMING; w++) {
        view(&right.incoming.tensor[w], &left.incoming.tensor[w], b);
    }
}

/* Lets right look up what left does. The gradients of tables have their shapes. */
static void share_tables(void) {
    struct test_inputs *to = &right.forward.inputs;
    const struct test_inputs *from = &left.forward.inputs;
    to->relative_bias = from->relative_bias;
    to->relative_keys = from->relative_keys;
    to->relative_zero = from->relative_zero;
    right.forward.args.relative_zero = from->relative_zero;
    outputs_close(&right.gradients);
    outputs_open_gradients(&right.gradients, to, ALL_GRADIENTS);
    outputs_give_gradients(&right.gradients, &right.args);
}

/* The gradient of right is the corner of left's from batch element b on. */
static void need_same_corner(int output, int64_t b) {
    const attn_tensor *small = &right.gradients.tensor[output];
    attn_tensor large = *small;
    view(&large, &left.gradients.tensor[output], b);
    assert_true(element_count(small) > 0);
    for (int64_t n = 0; n < element_count(small); n++) {
        if (memcmp(element_nth(small, n), element_nth(&large, n), sizeof(float)) != 0) {
            check_print_problem("differs", &right.forward.inputs);
            fail_msg("%s of batch element %d, element %d", outputs_name(output), (int)b,
                     (int)n);
        }
    }
}

static void batch_element_alone(void **state) {
    (void)state;
    int32_t index[1];
    backward_open(&left, "b3 h4/2 q75 k150 d24/20 causal align=br dropout=0.2 seed=5",
                  ALL_INCOMING, ALL_GRADIENTS);
    left.forward.inputs.rng_indices.rank = 0;
    left.forward.args.rng_indices = NULL;
    backward_forward(&left);
    backward_run(&left);
    for (int64_t b = 0; b < 3; b++) {
        backward_open(&right, "h4/2 q75 k150 d24/20 causal align=br dropout=0.2 seed=5",
                      ALL_INCOMING, ALL_GRADIENTS);
        const int64_t one[1] = {1};
        index[0] = (int32_t)b;
        assert_int_equal(attn_tensor_init(&right.forward.inputs.rng_indices, ATTN_I32,
                                          1, one, index),
                         ATTN_OK);
        right.forward.args.rng_indices = &right.forward.inputs.rng_indices;
        share_from(b);
        backward_forward(&right);
        backward_run(&right);
        for (int o = GRAD_QUERY; o <= GRAD_VALUE; o++) {
            need_same_corner(o, b);
        }
        backward_close(&right);
    }
    backward_close(&left);
}

/* Lengths in large tensors, and small tensors, are the same. */
static void padded_equals_trimmed(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"h2 q100 k300 d40 qlens kvlens seed=1", "h2 q70 k150 d40 seed=1"},
        {"h4/2 q100 k300 d40 qlens kvlens causal align=br dropout=0.1 seed=2",
         "h4/2 q70 k150 d40 causal align=br dropout=0.1 seed=2"},
        {"h4/2 q90 k1000 d24 qlens kvlens window=50,20 seed=3",
         "h4/2 q70 k150 d24 window=50,20 seed=3"},
        {"h2 q90 k700 d8 qlens kvlens alibi sinks layout=bshd seed=4",
         "h2 q70 k150 d8 alibi sinks layout=bshd seed=4"},
        {"h4/2 q100 k300 d24 qlens kvlens relbias=32,128 relkeys ubias vbias align=br "
         "seed=5",
         "h4/2 q70 k150 d24 relbias=32,128 relkeys ubias vbias align=br seed=5"}};
    int32_t q_length[1] = {70}, kv_length[1] = {150};
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        open_both(cases[c][0], cases[c][1]);
        struct test_inputs *padded = &left.forward.inputs;
        padded->q_lengths.dtype = padded->kv_lengths.dtype = ATTN_I32;
        padded->q_lengths.data = q_length;
        padded->kv_lengths.data = kv_length;
        backward_forward(&left);
        share_from(0);
        share_tables();
        backward_forward(&right);
        backward_run(&left);
        backward_run(&right);
        for (int o = GRAD_QUERY; o < SLOTS; o++) {
            if (o <= GRAD_VALUE || right.gradients.tensor[o].rank > 0) {
                need_same_corner(o, 0);
            }
        }
        assert_int_equal(backward_check(&left), 0);
        close_both();
    }
}

/* Left has for key-value head g the sum of what right has for the heads of its group.
 */
static void need_sum_of_group(const struct oracle_gradients *oracle, int output,
                              int64_t g) {
    const attn_tensor *sums = &left.gradients.tensor[output];
    const attn_tensor *parts = &right.gradients.tensor[output];
    for (int64_t n = 0; n < element_count(sums); n++) {
        int64_t i[4];
        double sum = 0;
        element_index(sums, n, i);
        for (int64_t h = 3 * g; h < 3 * g + 3 && i[1] == g; h++) {
            sum += element_float(parts, i[0], h, i[2], i[3]);
        }
        double bound = 2 * oracle_gradient_bound(&oracle->sum[output][n]);
        float got = *(const float *)element_nth(sums, n);
        assert_true(i[1] != g || check_number(got, sum, bound));
    }
}

static void need_same_queries(int64_t g) {
    const attn_tensor *one = &left.gradients.tensor[GRAD_QUERY];
    const attn_tensor *other = &right.gradients.tensor[GRAD_QUERY];
    for (int64_t n = 0; n < element_count(one); n++) {
        int64_t i[4];
        element_index(one, n, i);
        if (i[1] / 3 == g) {
            assert_memory_equal(element_nth(one, n), element_nth(other, n),
                                sizeof(float));
        }
    }
}

/* Three query heads with one key-value head, and with the same memory as a head for
 * each: queries have the same gradients, those of keys and values are sums. */
static void group_equals_repeated(const char *grouped, const char *alone) {
    struct oracle_gradients oracle;
    open_both(grouped, alone);
    oracle_gradients_open(&oracle, &left.forward.inputs, &left.incoming, 1);
    backward_run(&left);
    share_from(0);
    struct test_inputs *repeated = &right.forward.inputs;
    for (int64_t g = 0; g < 2; g++) {
        repeated->key.data = element_at(&left.forward.inputs.key, 0, g, 0, 0);
        repeated->value.data = element_at(&left.forward.inputs.value, 0, g, 0, 0);
        repeated->key.stride[1] = repeated->value.stride[1] = 0;
        backward_forward(&right);
        backward_run(&right);
        need_sum_of_group(&oracle, GRAD_KEY, g);
        need_sum_of_group(&oracle, GRAD_VALUE, g);
        need_same_queries(g);
    }
    oracle_gradients_close(&oracle);
    close_both();
}

static void grouped_equals_repeated(void **state) {
    (void)state;
    group_equals_repeated("b2 h6/2 q90 k140 d16/12 causal align=br seed=2",
                          "b2 h6 q90 k140 d16/12 causal align=br seed=2");
    /* few queries in a head, not so few in a group */
    group_equals_repeated("b2 h6/2 q25 k310 d32/33 causal align=br seed=3",
                          "b2 h6 q25 k310 d32/33 causal align=br seed=3");
}

/* ----------------------------------------------------------------- linearity */

static void scale_incoming(struct test_backward *call, float factor) {
    for (int w = 0; w < INCOMING; w++) {
        const attn_tensor *tensor = &call->incoming.tensor[w];
        float *numbers = tensor->data;
        for (int64_t n = 0; n < element_extent(tensor); n++) {
            numbers[n] *= factor; /* a gap stays NaN */
        }
    }
}

static const char *const texts[] = {
    "b2 h4/2 q70 k150 d9/5 causal align=br bias alibi sinks softcap=3 seed=1",
    "b2 h2 q90 k140 d16 dropout=0.4 docs bias seed=2",
    "b2 h2 q70 k140 d9 relbias=9,30 relkeys ubias vbias segments seed=3"};

/* Twice what comes in gives exactly twice what goes out. */
static void powers_of_two_are_exact(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        open_both(texts[t], texts[t]);
        scale_incoming(&right, 2);
        backward_run(&left);
        backward_run(&right);
        for (int o = GRAD_QUERY; o < SLOTS; o++) {
            for (int64_t n = 0; n < element_count(&left.gradients.tensor[o]); n++) {
                float one = *(float *)element_nth(&left.gradients.tensor[o], n);
                float two = *(float *)element_nth(&right.gradients.tensor[o], n);
                assert_true(two == 2 * one);
            }
        }
        close_both();
    }
}

static void zeros_give_zeros(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        backward_open(&left, texts[t], ALL_INCOMING, ALL_GRADIENTS);
        scale_incoming(&left, 0);
        backward_run(&left);
        for (int o = GRAD_QUERY; o < SLOTS; o++) {
            for (int64_t n = 0; n < element_count(&left.gradients.tensor[o]); n++) {
                assert_true(*(float *)element_nth(&left.gradients.tensor[o], n) == 0);
            }
        }
        backward_close(&left);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_element_alone),
        cmocka_unit_test(padded_equals_trimmed),
        cmocka_unit_test(grouped_equals_repeated),
        cmocka_unit_test(powers_of_two_are_exact),
        cmocka_unit_test(zeros_give_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
