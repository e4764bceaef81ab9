/*
 * Dropout: the weights that are dropped are those that attn/sdpa.h says, bit for bit;
 * their share is the probability; and the ends of its range.
 */
#include <math.h>
#include <stdio.h>

#include "tests/support/backward.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/expect.h"
#include "tests/support/philox.h"
#include "tests/support/run.h"

static struct test_call call;

static const float probabilities[] = {0x1p-24f, 1e-3f,  0.1f,           0.5f,
                                      0.75f,    0.999f, 0x1.fffffep-1f, 1.0f};

/* All outputs by every engine: lengths that are no multiples of 4, masks, many rows. */
static void every_probability(void **state) {
    (void)state;
    static const char *const sizes[] = {"b2 h4/2 q37 k75 d17/9 causal align=br",
                                        "q1 k333 d8",
                                        "b3 h2 q70 k1 d8",
                                        "h2 q150 k131 d24 qlens kvlens layout=bshd",
                                        "h3 q33 k65 d3 mask bias sinks",
                                        "q3 k1030 d8"};
    int wrong = 0;
    for (size_t n = 0; n < COUNT_OF(sizes) * COUNT_OF(probabilities); n++) {
        char text[160];
        snprintf(text, sizeof text, "%s dropout=%.9g seed=%d",
                 sizes[n / COUNT_OF(probabilities)],
                 (double)probabilities[n % COUNT_OF(probabilities)], (int)n);
        wrong += run_text(text, DATA_RANDOM);
    }
    assert_int_equal(wrong, 0);
}

/* Seeds and indices of any size: all 64 bits of one and 32 of the other count. */
static void every_bit_of_seed_and_index(void **state) {
    (void)state;
    static const int64_t seeds[] = {0, -1, 1, INT64_C(1) << 32, INT64_MIN, INT64_MAX};
    int64_t indices[2] = {0, UINT32_MAX};
    call_open(&call, "b2 h2 q9 k70 d4 dropout=0.5", 1 << OUT | 1 << DROPOUT_MASK);
    const int64_t two[1] = {2};
    assert_int_equal(
        attn_tensor_init(&call.inputs.rng_indices, ATTN_I64, 1, two, indices), ATTN_OK);
    call.args.rng_indices = &call.inputs.rng_indices;
    for (size_t s = 0; s < COUNT_OF(seeds); s++) {
        for (indices[0] = 1; indices[0] <= UINT32_MAX; indices[0] *= 256) {
            call.inputs.dropout_seed = call.args.dropout_seed = seeds[s];
            call_run(&call);
            assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
        }
    }
    call_close(&call);
}

/* A weight is kept if its random number is not below the probability: at the number
 * itself it is, at the next fraction of 2^24 and halfway there it is not. */
static void threshold_is_exact(void **state) {
    (void)state;
    for (int64_t j = 0; j < 40; j++) {
        struct philox counter = {{0, 0, 0, (uint32_t)(j / 4)}};
        float number = (float)(philox(counter, 5, 0).word[j % 4] >> 8) * 0x1p-24f;
        const float at[] = {number, number + 0x1p-25f, number + 0x1p-24f};
        for (size_t n = 0; n < COUNT_OF(at); n++) {
            struct test_problem problem = run_parse("q1 k40 d4");
            problem.dropout = at[n];
            call_open_on(&call, NULL, &problem, DATA_RANDOM,
                         1 << OUT | 1 << DROPOUT_MASK);
            call.inputs.dropout_seed = call.args.dropout_seed = 5;
            call.inputs.rng_indices.rank = 0;
            call.args.rng_indices = NULL;
            call_run(&call);
            const attn_tensor *mask = &call.outputs.tensor[DROPOUT_MASK];
            assert_int_equal(*(uint8_t *)element_at(mask, 0, 0, 0, j), at[n] <= number);
            call_close(&call);
        }
    }
}

/* Kept weights among those from (row, key) in steps, of all heads. */
static double share_kept(int64_t row, int64_t row_step, int64_t key, int64_t key_step) {
    const attn_tensor *mask = &call.outputs.tensor[DROPOUT_MASK];
    double kept = 0, count = 0;
    for (int64_t h = 0; h < mask->shape[1]; h++) {
        for (int64_t i = row; i < mask->shape[2]; i += row_step) {
            for (int64_t j = key; j < mask->shape[3]; j += key_step) {
                kept += *(uint8_t *)element_at(mask, 0, h, i, j);
                count++;
            }
        }
    }
    return kept / count;
}

/* The share of n kept weights is off by more than 5 sqrt(p (1 - p) / n) once in two
 * million cases; the seed is fixed. */
static void share_is_the_probability(void **state) {
    (void)state;
    for (size_t n = 0; n < COUNT_OF(probabilities); n++) {
        char text[96];
        double p = probabilities[n];
        snprintf(text, sizeof text, "h4 q128 k512 d1 dropout=%.9g seed=%d", p, (int)n);
        call_open(&call, text, 1 << OUT | 1 << DROPOUT_MASK);
        call_run(&call);
        double one = sqrt(p * (1 - p) / (4 * 128 * 512)), few = one * sqrt(128);
        assert_true(fabs(share_kept(0, 1, 0, 1) - (1 - p)) <= 5 * one + 0x1p-24);
        for (int64_t start = 0; start < 128; start++) {
            double of_row = share_kept(start, 128, 0, 1);
            double of_keys = share_kept(0, 1, start, 128);
            assert_true(fabs(of_row - (1 - p)) <= 5 * few + 2.0 / 2048);
            assert_true(fabs(of_keys - (1 - p)) <= 5 * few + 2.0 / 2048);
        }
        call_close(&call);
    }
}

/* Neighbours, heads and seeds have nothing to do with each other: with p = 1/2 two
 * masks agree in half of the places. */
static void masks_are_independent(void **state) {
    (void)state;
    struct test_call other;
    call_open(&call, "h4 q128 k512 d1 dropout=0.5 seed=1",
              1 << OUT | 1 << DROPOUT_MASK);
    call_open(&other, "h4 q128 k512 d1 dropout=0.5 seed=1",
              1 << OUT | 1 << DROPOUT_MASK);
    other.args.dropout_seed = call.args.dropout_seed + 1;
    call_run(&call);
    call_run(&other);
    const attn_tensor *mask = &call.outputs.tensor[DROPOUT_MASK];
    const double n = 3 * 127 * 511;
    double seed = 0, head = 0, row = 0, key = 0;
    for (int64_t h = 0; h < 3; h++) {
        for (int64_t i = 0; i < 127; i++) {
            for (int64_t j = 0; j < 511; j++) {
                uint8_t kept = *(uint8_t *)element_at(mask, 0, h, i, j);
                seed += kept == *(uint8_t *)element_at(
                                    &other.outputs.tensor[DROPOUT_MASK], 0, h, i, j);
                head += kept == *(uint8_t *)element_at(mask, 0, h + 1, i, j);
                row += kept == *(uint8_t *)element_at(mask, 0, h, i + 1, j);
                key += kept == *(uint8_t *)element_at(mask, 0, h, i, j + 1);
            }
        }
    }
    const double agree[] = {seed / n, head / n, row / n, key / n};
    for (size_t a = 0; a < COUNT_OF(agree); a++) {
        assert_true(fabs(agree[a] - 0.5) < 5 * 0.5 / sqrt(n));
    }
    call_close(&call);
    call_close(&other);
}

/* Probability 0 is no dropout, and then the mask says that all is kept. */
static void zero_is_off(void **state) {
    (void)state;
    struct test_call plain;
    uint8_t kept[2 * 9 * 70] = {0};
    const int64_t shape[4] = {1, 2, 9, 70};
    attn_tensor mask;
    call_open(&plain, "h2 q9 k70 d16 causal align=br seed=3", ALL_OUTPUTS);
    call_open(&call, "h2 q9 k70 d16 causal align=br dropout=0 seed=3", ALL_OUTPUTS);
    call.args.dropout_seed = 77;
    assert_int_equal(attn_tensor_init(&mask, ATTN_BOOL, 4, shape, kept), ATTN_OK);
    call.args.dropout_mask = &mask;
    call_need_same(&plain, &call);
    for (size_t n = 0; n < COUNT_OF(kept); n++) {
        assert_int_equal(kept[n], 1);
    }
    call_close(&plain);
    call_close(&call);
}

/* With probability 1 out is 0, and all that is before dropout is as without. */
static void one_drops_all(void **state) {
    (void)state;
    struct test_call plain;
    call_open(&plain, "h2 q90 k170 d16 alibi seed=3", ALL_OUTPUTS & ~ONLY_OUT);
    call_open(&call, "h2 q90 k170 d16 alibi dropout=1 seed=3", ALL_OUTPUTS);
    plain.outputs.tensor[OUT] = call.outputs.tensor[OUT]; /* it must be there */
    plain.args.out = &plain.outputs.tensor[OUT];
    call_run(&plain);
    plain.outputs.tensor[OUT].rank = 0;
    call_run(&call);
    assert_true(call_same(&plain, &call));
    const attn_tensor *out = &call.outputs.tensor[OUT];
    for (int64_t n = 0; n < element_count(out); n++) {
        assert_true(*(float *)element_nth(out, n) == 0);
    }
    for (int64_t n = 0; n < element_count(&call.outputs.tensor[LSE]); n++) {
        assert_true(isfinite(*(float *)element_nth(&call.outputs.tensor[LSE], n)));
    }
    call_close(&plain);
    call_close(&call);
}

/* What comes before dropout has the bits that it has without it. */
static void only_out_changes(void **state) {
    (void)state;
    static const char *const engines[] = {"auto", "dense", "flash", "decode"};
    for (size_t e = 0; e < COUNT_OF(engines); e++) {
        struct test_call plain;
        char text[128];
        snprintf(text, sizeof text, "b2 h4/2 q90 k300 d16 sinks bias engine=%s",
                 engines[e]);
        call_open(&plain, text, ALL_OUTPUTS);
        snprintf(text, sizeof text,
                 "b2 h4/2 q90 k300 d16 sinks bias engine=%s dropout=0.3", engines[e]);
        call_open(&call, text, ALL_OUTPUTS);
        call_run(&plain);
        call_run(&call);
        assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
        plain.outputs.tensor[OUT].rank = 0;
        assert_true(call_same(&plain, &call));
        call_close(&plain);
        call_close(&call);
    }
}

static void refusals(void **state) {
    (void)state;
    static const float bad[] = {-0.1f, 1.5f, NAN, INFINITY, -INFINITY, 1.0000001f};
    attn_desc *desc;
    int64_t indices[2] = {0, INT64_C(1) << 32};
    const int64_t shape[4] = {2, 2, 9, 70};
    attn_tensor tensor;
    assert_int_equal(attn_desc_create(&desc), ATTN_OK);
    for (size_t n = 0; n < COUNT_OF(bad); n++) {
        expect_refusal(attn_desc_set_dropout(desc, bad[n]), ATTN_ERR_INVALID,
                       "probability|1");
    }
    expect_refusal(attn_desc_set_dropout(NULL, 0.5f), ATTN_ERR_INVALID, "desc|NULL");
    attn_desc_destroy(desc);

    call_open(&call, "b2 h2 q9 k70 d4 dropout=0.5", ALL_OUTPUTS);
    call.args.rng_indices = &tensor;
    assert_int_equal(attn_tensor_init(&tensor, ATTN_I64, 1, shape, indices), ATTN_OK);
    expect_refusal(attn_plan_forward(call.plan, &call.args), ATTN_ERR_INVALID,
                   "rng_indices|4294967296|4294967295");
    indices[1] = -1;
    expect_refusal(attn_plan_forward(call.plan, &call.args), ATTN_ERR_INVALID,
                   "rng_indices|-1");
    indices[1] = 0;
    tensor.shape[0] = 3;
    expect_refusal(attn_plan_forward(call.plan, &call.args), ATTN_ERR_INVALID,
                   "rng_indices|3|2");
    call.args.rng_indices = NULL;
    attn_tensor mask = call.outputs.tensor[DROPOUT_MASK];
    call.args.dropout_mask = &mask;
    mask.dtype = ATTN_F32;
    expect_refusal(attn_plan_forward(call.plan, &call.args), ATTN_ERR_INVALID,
                   "dropout_mask|f32");
    mask.dtype = ATTN_BOOL;
    mask.shape[3] = 71;
    expect_refusal(attn_plan_forward(call.plan, &call.args), ATTN_ERR_INVALID,
                   "dropout_mask|71|70");
    assert_true(outputs_untouched(&call.outputs));
    call_close(&call);
}

/* Counters have 32 bits for a row. */
static void too_many_queries(void **state) {
    (void)state;
    const struct test_problem problem = run_parse("h1 q1 k1 d4 dropout=0.5");
    attn_context *context = run_context(&problem);
    attn_desc *desc = run_desc(&problem);
    attn_plan *plan = NULL;
    attn_bounds bounds = {sizeof bounds, 1, INT64_C(1) << 32, 8};
    assert_int_equal(attn_plan_create(&plan, context, desc, &bounds), ATTN_OK);
    attn_plan_destroy(plan);
    bounds.q_length++;
    expect_refusal(attn_plan_create(&plan, context, desc, &bounds),
                   ATTN_ERR_UNSUPPORTED, "dropout|4294967297");
    assert_null(plan);
    assert_int_equal(attn_desc_set_dropout(desc, 0), ATTN_OK);
    assert_int_equal(attn_plan_create(&plan, context, desc, &bounds), ATTN_OK);
    attn_plan_destroy(plan);
    attn_desc_destroy(desc);
    attn_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_probability),
        cmocka_unit_test(every_bit_of_seed_and_index),
        cmocka_unit_test(threshold_is_exact),
        cmocka_unit_test(share_is_the_probability),
        cmocka_unit_test(masks_are_independent),
        cmocka_unit_test(zero_is_off),
        cmocka_unit_test(one_drops_all),
        cmocka_unit_test(only_out_changes),
        cmocka_unit_test(refusals),
        cmocka_unit_test(too_many_queries),
    };
    int skip = run_skip_isa();
    return skip != 0 ? skip : cmocka_run_group_tests(tests, NULL, NULL);
}
