/*
 * Additive scores beside what the tests of all masks and terms say of them: numbers
 * that have no powers, sizes of the vector, refusals, caches and what a plan tells.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/backward.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

static struct test_call call, clean;

static void put_row(const attn_tensor *tensor, int64_t h, int64_t i, float factor) {
    for (int64_t c = 0; c < tensor->shape[3]; c++) {
        *(float *)element_at(tensor, 0, h, i, c) *= factor;
    }
}

static const char *const texts[] = {
    "h2 q70 k150 d24 additive causal seed=3", "h4/2 q9 k300 d65/8 additive seed=4",
    "h2 q2 k90 d40 additive seed=5", "h2 q130 k90 d17 additive window=20,9 seed=6",
    "h2 q140 k300 d40/72 additive seed=7"};

/* Queries and keys with features beyond the limit of powers, infinite ones too, and
 * the same in which sums are small again. */
static void spread(const struct test_inputs *inputs) {
    const int64_t rows = inputs->problem.q_length, keys = inputs->problem.kv_length;
    const attn_tensor *query = &inputs->query, *key = &inputs->key;
    put_row(query, 0, rows - 1, 300.0f);
    put_row(query, 1, rows / 2, 45.0f);
    put_row(key, 0, 5, 1e30f);
    put_row(key, 0, 7, 60.0f);
    put_row(key, 1, keys - 1, 1e5f);
    for (int64_t j = keys / 2; j < keys / 2 + 20; j++) {
        put_row(key, 1, j, 50.0f);
    }
    *(float *)element_at(key, 0, 0, 9, 3) = INFINITY;
    *(float *)element_at(key, 0, 0, 10, 4) = -FLT_MAX;
    *(float *)element_at(query, 0, 0, rows / 3, 2) = 1000.0f;
    *(float *)element_at(key, 0, 0, 11, 2) = -1000.5f;
}

static void numbers_without_powers(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        call_open(&call, texts[t], ALL_OUTPUTS);
        spread(&call.inputs);
        call_run(&call);
        assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
        call_close(&call);
        struct test_backward backward;
        backward_open(&backward, texts[t], ALL_INCOMING, ALL_GRADIENTS);
        spread(&backward.forward.inputs);
        backward_forward(&backward);
        backward_run(&backward);
        assert_int_equal(backward_check(&backward), 0);
        backward_close(&backward);
    }
}

/* A query without powers changes no bit of the others; one that is NaN makes its own
 * row NaN. */
static void no_other_row_is_touched(void **state) {
    (void)state;
    static const float factors[] = {1e4f, 50.0f, NAN};
    for (size_t f = 0; f < COUNT_OF(factors); f++) {
        call_open(&clean, texts[0], ALL_OUTPUTS);
        call_open(&call, texts[0], ALL_OUTPUTS);
        call_run(&clean);
        put_row(&call.inputs.query, 1, 33, factors[f]);
        call_run(&call);
        for (int64_t n = 0; n < element_count(&call.outputs.tensor[OUT]); n++) {
            int64_t i[4];
            element_index(&call.outputs.tensor[OUT], n, i);
            const float *after = element_nth(&call.outputs.tensor[OUT], n);
            const float *before = element_nth(&clean.outputs.tensor[OUT], n);
            if (i[1] != 1 || i[2] != 33) {
                assert_memory_equal(after, before, sizeof *after);
            } else {
                assert_true(isnan(factors[f]) == isnan(*after));
            }
        }
        call_close(&call);
        call_close(&clean);
    }
}

/* A key that is NaN reaches the queries that attend it, and no others. */
static void nan_reaches_those_that_attend(void **state) {
    (void)state;
    enum { KEY = 40 };
    call_open(&clean, texts[0], ALL_OUTPUTS);
    call_open(&call, texts[0], ALL_OUTPUTS);
    call_run(&clean);
    *(float *)element_at(&call.inputs.key, 0, 0, KEY, 1) = NAN;
    call_run(&call);
    for (int64_t i = 0; i < 70; i++) {
        const float *after = element_at(&call.outputs.tensor[OUT], 0, 0, i, 0);
        const float *before = element_at(&clean.outputs.tensor[OUT], 0, 0, i, 0);
        if (i < KEY) {
            assert_memory_equal(after, before, sizeof *after);
        } else {
            assert_true(isnan(*after));
        }
    }
    call_close(&call);
    call_close(&clean);
}

/* Masks every other key of a head for all queries. */
static void mask_odd_keys(const struct test_inputs *inputs, int64_t h) {
    for (int64_t i = 0; i < inputs->problem.q_length; i++) {
        for (int64_t j = 0; j < inputs->problem.kv_length; j++) {
            *(uint8_t *)element_at(&inputs->mask, 0, h, i, j) = j % 2 == 0;
        }
    }
}

/* A vector that is NaN reaches no key without queries, and no other head. */
static void nan_in_the_vector(void **state) {
    (void)state;
    struct test_backward backward;
    backward_open(&backward, "h2 q20 k90 d24 additive mask", 1 << OF_OUT,
                  ALL_GRADIENTS);
    mask_odd_keys(&backward.forward.inputs, 1);
    *(float *)element_at(&backward.forward.inputs.score_vector, 0, 0, 1, 3) = NAN;
    backward_forward(&backward);
    backward_run(&backward);
    for (int64_t j = 0; j < 90; j++) {
        for (int64_t c = 0; c < 24; c++) {
            const float *first =
                element_at(&backward.gradients.tensor[GRAD_KEY], 0, 0, j, c);
            const float *second =
                element_at(&backward.gradients.tensor[GRAD_KEY], 0, 1, j, c);
            assert_true(!isnan(*first));
            assert_true(j % 2 == 0 ? isnan(*second) : *second == 0);
        }
    }
    backward_close(&backward);
}

/* Keys that are masked, between others without powers, change no bit of gradients. */
static void masked_keys_between_those_without_powers(void **state) {
    (void)state;
    struct test_backward one, other;
    struct test_backward *const calls[] = {&one, &other};
    for (int n = 0; n < 2; n++) {
        struct test_inputs *in = &calls[n]->forward.inputs;
        backward_open(calls[n], "q20 k60 d3 additive mask seed=7", ALL_INCOMING,
                      ALL_GRADIENTS);
        mask_odd_keys(in, 0);
        for (int64_t j = 0; j < 60; j++) {
            const int masked = j % 2 == 1;
            *(float *)element_at(&in->key, 0, 0, j, 1) = !masked  ? (j % 4 - 1) * 41.0f
                                                         : n == 0 ? 0.5f
                                                                  : 100.0f;
        }
        backward_forward(calls[n]);
    }
    backward_need_same(&one, &other);
    backward_close(&one);
    backward_close(&other);
}

/* Runs a problem whose queries and keys are 0, with this vector. */
static void run_zeros(struct test_backward *of, const float vector[2]) {
    backward_open(of, "q5 k9 d2/7 additive seed=3", 1 << OF_OUT, ALL_GRADIENTS);
    for (int c = 0; c < 2; c++) {
        for (int64_t i = 0; i < 9; i++) {
            *(float *)element_at(&of->forward.inputs.key, 0, 0, i, c) = 0.0f;
            if (i < 5) {
                *(float *)element_at(&of->forward.inputs.query, 0, 0, i, c) = 0.0f;
            }
        }
        *(float *)element_at(&of->forward.inputs.score_vector, 0, 0, 0, c) = vector[c];
    }
    backward_forward(of);
    backward_run(of);
}

/* Gradients of queries are in proportion to the numbers of the vector, each for itself,
 * where all scores are 0. */
static void far_apart_numbers_of_the_vector(void **state) {
    (void)state;
    static const float ones[] = {1.0f, 1.0f}, vector[] = {1.5e38f, -1e-8f};
    struct test_backward one, other;
    run_zeros(&one, ones);
    run_zeros(&other, vector);
    assert_true(call_same(&one.forward, &other.forward));
    for (int64_t i = 0; i < 5; i++) {
        for (int c = 0; c < 2; c++) {
            const double unit =
                *(float *)element_at(&one.gradients.tensor[GRAD_QUERY], 0, 0, i, c);
            const double got =
                *(float *)element_at(&other.gradients.tensor[GRAD_QUERY], 0, 0, i, c);
            const double right = unit * vector[c];
            assert_true(fabs(got - right) <= 1e-6 * fabs(right));
        }
    }
    backward_close(&one);
    backward_close(&other);
}

/* The vector may be of any size, or 0, or have a scale that undoes it. */
static void sizes_of_the_vector(void **state) {
    (void)state;
    static const struct {
        float factor;
        const char *scale;
    } cases[] = {{0.0f, ""},
                 {1e-38f, "scale=1e37"},
                 {1e-42f, "scale=1e36"},
                 {1e30f, "scale=1e-30"},
                 {3e37f, "scale=-1e-37"},
                 {1e3f, ""}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char text[128];
        struct test_backward backward;
        snprintf(text, sizeof text, "h2 q20 k70 d24 additive %s", cases[i].scale);
        backward_open(&backward, text, 1 << OF_OUT, ALL_GRADIENTS);
        const attn_tensor *vector = &backward.forward.inputs.score_vector;
        for (int64_t n = 0; n < element_count(vector); n++) {
            *(float *)element_nth(vector, n) *= cases[i].factor;
        }
        backward_forward(&backward);
        assert_int_equal(
            check_outputs(&backward.forward.inputs, &backward.forward.outputs), 0);
        backward_run(&backward);
        assert_int_equal(backward_check(&backward), 0);
        backward_close(&backward);
    }
}

static void setters_that_do_not_go_together(void **state) {
    (void)state;
    static const struct {
        const char *words, *says;
    } cases[] = {
        {"relkeys", "additive|relative keys"},
        {"ubias", "additive|content bias"},
        {"segments", "additive|segments"},
        {"engine=decode", "additive|decode"},
    };
    const attn_bounds bounds = {sizeof bounds, 1, 8, 8};
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct test_problem problem = run_parse(cases[i].words);
        attn_desc *desc = run_desc(&problem);
        attn_plan *plan = NULL;
        assert_int_equal(attn_desc_set_score(desc, ATTN_SCORE_ADDITIVE), ATTN_OK);
        expect_refusal(attn_plan_create(&plan, context, desc, &bounds),
                       ATTN_ERR_UNSUPPORTED, cases[i].says);
        assert_null(plan);
        /* a refused score does not count, a good one after it does */
        expect_refusal(attn_desc_set_score(desc, 2), ATTN_ERR_INVALID, "score|2");
        expect_refusal(attn_plan_create(&plan, context, desc, &bounds),
                       ATTN_ERR_INVALID, "setter|score|2");
        assert_int_equal(attn_desc_set_score(desc, ATTN_SCORE_DOT), ATTN_OK);
        run_need(attn_plan_create(&plan, context, desc, &bounds), &problem, "again");
        attn_plan_destroy(plan);
        attn_desc_destroy(desc);
    }
    attn_context_destroy(context);
}

static void refused(const char *says) {
    expect_refusal(attn_plan_forward(call.plan, &call.args), ATTN_ERR_INVALID, says);
    assert_true(outputs_untouched(&call.outputs));
}

static void vectors_that_do_not_fit(void **state) {
    (void)state;
    call_open(&call, "h4/2 q9 k30 d8 additive", ALL_OUTPUTS);
    attn_tensor vector = *call.args.score_vector;
    call.args.score_vector = NULL;
    refused("score_vector is missing");
    call.args.score_vector = &vector;
    vector.shape[0] = 2;
    refused("score_vector|2|4|query_heads");
    vector.shape[0] = 4;
    vector.shape[1] = 7;
    refused("score_vector|7|8|key_dim");
    vector.shape[1] = 8;
    vector.dtype = ATTN_BF16;
    expect_refusal(attn_plan_forward(call.plan, &call.args), ATTN_ERR_UNSUPPORTED,
                   "score_vector|bf16|f32");
    call_close(&call);
    call_open(&call, "h4/2 q9 k30 d8", ALL_OUTPUTS);
    vector.dtype = ATTN_F32;
    call.args.score_vector = &call.inputs.query;
    refused("score_vector is given");
    call_close(&call);
}

static void what_a_plan_tells(void **state) {
    (void)state;
    char text[4096];
    struct test_problem problem = run_parse("h4 q90 k900 d64 additive");
    attn_context *context = run_context(&problem);
    attn_plan *plan = run_plan(context, &problem);
    assert_in_range(attn_plan_explain(plan, text, sizeof text), 1, sizeof text - 1);
    assert_non_null(strstr(text, "terms: additive scores, scale 1\n"));
    assert_null(strstr(text, "splits"));
    assert_non_null(strstr(text, "engine refused: decode (it has no additive scores)"));
    assert_null(strstr(text, "beyond that, with"));
    attn_plan_destroy(plan);
    /* tables for products are neither made for them nor read by them */
    attn_desc *desc = run_desc(&problem);
    const attn_bounds bounds = {sizeof bounds, 1, 90, 900};
    expect_refusal(attn_context_tune(context, desc, &bounds, 1), ATTN_ERR_UNSUPPORTED,
                   "additive scores are not tuned");
    attn_desc_destroy(desc);
    attn_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_without_powers),
        cmocka_unit_test(no_other_row_is_touched),
        cmocka_unit_test(nan_reaches_those_that_attend),
        cmocka_unit_test(nan_in_the_vector),
        cmocka_unit_test(masked_keys_between_those_without_powers),
        cmocka_unit_test(far_apart_numbers_of_the_vector),
        cmocka_unit_test(sizes_of_the_vector),
        cmocka_unit_test(setters_that_do_not_go_together),
        cmocka_unit_test(vectors_that_do_not_fit),
        cmocka_unit_test(what_a_plan_tells),
    };
    int skip = run_skip_isa();
    return skip != 0 ? skip : cmocka_run_group_tests(tests, NULL, NULL);
}
