/*
 * The checks themselves: an output that holds what the oracle says passes, and every
 * single wrong element, missing element and stray write is noticed.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/oracle.h"
#include "tests/support/poison.h"
#include "tests/support/run.h"

static struct test_inputs inputs;
static struct test_outputs outputs;

/* Fills every output with what the oracle says. */
static void fill(void) {
    const struct test_problem *p = &inputs.problem;
    const attn_tensor *t = outputs.tensor;
    struct oracle_row row;
    oracle_open(&row, p);
    for (int64_t n = 0; n < p->batch * p->q_length * p->kv_length; n++) {
        int64_t b = n / p->kv_length / p->q_length, i = n / p->kv_length % p->q_length;
        *(float *)element_at(&t[MEAN_WEIGHTS], 0, b, i, n % p->kv_length) = 0;
    }
    for (int64_t n = 0; n < p->batch * p->q_heads * p->q_length; n++) {
        int64_t b = n / p->q_length / p->q_heads, h = n / p->q_length % p->q_heads;
        int64_t i = n % p->q_length;
        oracle_compute(&row, &inputs, b, h, i);
        for (int64_t c = 0; c < p->value_dim; c++) {
            *(float *)element_at(&t[OUT], b, h, i, c) = (float)row.out[c];
        }
        *(float *)element_at(&t[LSE], 0, b, h, i) = (float)row.lse;
        *(float *)element_at(&t[ROW_MAX], 0, b, h, i) = (float)row.row_max;
        *(float *)element_at(&t[ROW_SUM], 0, b, h, i) = (float)row.row_sum;
        for (int64_t j = 0; j < p->kv_length; j++) {
            float *sum = element_at(&t[KEY_SUMS], 0, b, h, j);
            *sum = (i == 0 ? 0 : *sum) + (float)row.weight[j];
            *(float *)element_at(&t[MEAN_WEIGHTS], 0, b, i, j) +=
                (float)row.weight[j] / (float)p->q_heads;
            *(float *)element_at(&t[WEIGHTS], b, h, i, j) = (float)row.weight[j];
            *(float *)element_at(&t[RAW_SCORES], b, h, i, j) = (float)row.raw[j];
            *(float *)element_at(&t[CAPPED_SCORES], b, h, i, j) = (float)row.capped[j];
            *(float *)element_at(&t[BIASED_SCORES], b, h, i, j) = (float)row.biased[j];
            *(uint8_t *)element_at(&t[DROPOUT_MASK], b, h, i, j) = row.drop[j] > 0;
        }
    }
    oracle_close(&row);
}

static void open_problem(const char *text) {
    struct test_problem problem = run_parse(text);
    gen_inputs(&inputs, &problem, DATA_RANDOM);
    outputs_open(&outputs, &problem, ALL_OUTPUTS);
    assert_true(outputs_untouched(&outputs));
    fill();
    assert_int_equal(check_outputs(&inputs, &outputs), 0);
}

static void close_problem(void) {
    outputs_close(&outputs);
    gen_free(&inputs);
}

static const char *const texts[] = {
    "b2 h4/2 q5 k9 d8/3 causal align=br softcap=2 dropout=0.5 seed=1",
    "b3 h2 q9 k7 d4 layout=bshd qlens kvlens docs mask bias sinks dropout=0.1 seed=2",
    ("b2 h2 q9 k12 d4 qlens kvlens dropout=0.1 relbias=4,9 relkeys ubias vbias "
     "segments ranks=below seed=3"),
};

static void wrong_elements_are_noticed(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        open_problem(texts[t]);
        for (int o = 0; o < OUTPUTS; o++) {
            attn_tensor *tensor = &outputs.tensor[o];
            int64_t last[4] = {0};
            if (o == DROPOUT_MASK) {
                continue;
            }
            for (int32_t d = 0; d < tensor->rank; d++) {
                last[4 - tensor->rank + d] = tensor->shape[d] - 1;
            }
            float *element = element_at(tensor, last[0], last[1], last[2], last[3]);
            const float right = *element;
            const float wrong[] = {right * 1.001f + 0.001f, NAN, 77.0f, -INFINITY};
            for (size_t w = 0; w < COUNT_OF(wrong); w++) {
                *element = wrong[w];
                int same =
                    memcmp(&wrong[w], &right, sizeof right) == 0 || wrong[w] == right;
                assert_int_equal(check_outputs(&inputs, &outputs), same ? 0 : 1);
            }
            *element = right;
        }
        close_problem();
    }
}

static void wrong_dropout_is_noticed(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        open_problem(texts[t]);
        const attn_tensor *mask = &outputs.tensor[DROPOUT_MASK];
        uint8_t *kept = element_at(mask, mask->shape[0] - 1, mask->shape[1] - 1, 1, 6);
        *kept = !*kept;
        assert_int_equal(check_outputs(&inputs, &outputs), 1);
        *kept = 2; /* true, but not 1 */
        assert_int_equal(check_outputs(&inputs, &outputs), 1);
        close_problem();
    }
}

static void stray_and_missing_writes_are_noticed(void **state) {
    (void)state;
    open_problem(texts[0]);
    for (int o = 0; o < OUTPUTS; o++) {
        const size_t size = element_size(outputs.tensor[o].dtype);
        char *block = outputs.block[o], *first = outputs.tensor[o].data;
        char *last = block + ((size_t)outputs.elements[o] - 1) * size;
        uint32_t untouched, right;
        memcpy(&untouched, block, size);
        memset(last, 0, size);
        assert_false(outputs_whole(&outputs));
        memcpy(last, &untouched, size);
        assert_true(outputs_whole(&outputs));

        memcpy(&right, first, size);
        memcpy(first, &untouched, size);
        assert_false(outputs_whole(&outputs));
        memcpy(first, &right, size);
        assert_false(outputs_untouched(&outputs));
    }
    close_problem();
}

static void comparison_of_bits(void **state) {
    (void)state;
    struct test_outputs other;
    open_problem(texts[0]);
    outputs_open(&other, &inputs.problem, ALL_OUTPUTS);
    for (int o = 0; o < OUTPUTS; o++) {
        memcpy(other.block[o], outputs.block[o],
               (size_t)outputs.elements[o] * element_size(other.tensor[o].dtype));
        assert_true(outputs_same(&outputs, &other, o));
        float *number = other.tensor[o].data;
        uint8_t *byte = other.tensor[o].data;
        if (o == DROPOUT_MASK) {
            *byte ^= 1;
        } else {
            *number = *number == 0 ? -*number : nextafterf(*number, 0);
        }
        assert_false(outputs_same(&outputs, &other, o));
    }
    outputs_close(&other);
    close_problem();
}

/* Poison changes nothing that the definition needs. */
static void poison_leaves_the_oracle_alone(void **state) {
    (void)state;
    for (int n = 0; n < 2 * POISONS; n++) {
        int poison = n / 2;
        open_problem(texts[1 + n % 2]);
        assert_true(poison_masked(&inputs, poison) > 0);
        int wrong = check_outputs(&inputs, &outputs);
        /* Raw and capped scores are of masked pairs too. */
        assert_true(wrong <= 2);
        close_problem();
    }
}

static void same_seed_same_data(void **state) {
    (void)state;
    struct test_inputs again;
    open_problem(texts[1]);
    gen_inputs(&again, &inputs.problem, DATA_RANDOM);
    assert_int_equal(element_extent(&inputs.key), element_extent(&again.key));
    assert_memory_equal(inputs.key.data, again.key.data,
                        (size_t)element_extent(&again.key) * sizeof(float));
    gen_free(&again);
    inputs.problem.seed++;
    gen_inputs(&again, &inputs.problem, DATA_RANDOM);
    assert_memory_not_equal(inputs.key.data, again.key.data, 16);
    gen_free(&again);
    close_problem();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_elements_are_noticed),
        cmocka_unit_test(wrong_dropout_is_noticed),
        cmocka_unit_test(stray_and_missing_writes_are_noticed),
        cmocka_unit_test(comparison_of_bits),
        cmocka_unit_test(poison_leaves_the_oracle_alone),
        cmocka_unit_test(same_seed_same_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
