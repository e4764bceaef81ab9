/*
 * The oracle against cases worked out by hand. Scores are chosen as logarithms, so that
 * weights are simple fractions.
 */
#include <math.h>
#include <string.h>

#include "tests/support/oracle.h"
#include "tests/support/run.h"

/* One query of one component, 1, and keys whose scores are their values. */
static float keys[4], values[4];

static struct test_inputs four_keys(const char *text) {
    struct test_inputs in = {.problem = run_parse(text)};
    static float ones[4] = {1, 1, 1, 1};
    const attn_tensor view = {
        .rank = 4, .dtype = ATTN_F32, .shape = {1, 1, 4, 1}, .stride = {4, 4, 1, 1}};
    assert_int_equal(in.problem.kv_length, 4);
    in.query = in.key = in.value = view;
    in.query.shape[2] = in.problem.q_length;
    in.query.data = ones;
    in.key.data = keys;
    in.value.data = values;
    for (int j = 0; j < 4; j++) {
        keys[j] = logf((float)(j + 1));
        values[j] = (float)(10 * (j + 1));
    }
    return in;
}

static struct oracle_row row;

static const struct oracle_row *compute(const struct test_inputs *in, int64_t i) {
    oracle_compute(&row, in, 0, 0, i);
    return &row;
}

static int setup(void **state) {
    (void)state;
    struct test_problem problem = run_parse("q4");
    oracle_open(&row, &problem);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    oracle_close(&row);
    return 0;
}

#define assert_near(a, b) assert_true(fabs((a) - (b)) < 1e-6)

static void weights_are_fractions(void **state) {
    (void)state;
    struct test_inputs in = four_keys("q4");
    compute(&in, 0);
    for (int j = 0; j < 4; j++) {
        assert_near(row.weight[j], (j + 1) / 10.0);
        assert_near(row.raw[j], log(j + 1));
    }
    assert_near(row.out[0], (10 + 40 + 90 + 160) / 10.0);
    assert_near(row.lse, log(10));
    assert_near(row.row_max, log(4));
    assert_near(row.row_sum, 2.5);
    assert_int_equal(row.attended, 4);
}

static void causal_and_alignment(void **state) {
    (void)state;
    struct test_inputs in = four_keys("q2 k4 causal");
    assert_int_equal(compute(&in, 0)->attended, 1);
    assert_near(row.out[0], 10);
    assert_int_equal(compute(&in, 1)->attended, 2);
    in = four_keys("q2 k4 causal align=br");
    assert_int_equal(compute(&in, 0)->attended, 3);
    assert_near(row.out[0], (10 + 40 + 90) / 6.0);
    assert_int_equal(compute(&in, 1)->attended, 4);
    in = four_keys("q2 k4 causal align=kvlens");
    assert_int_equal(compute(&in, 1)->attended, 2);
}

static void window_is_inclusive(void **state) {
    (void)state;
    struct test_inputs in = four_keys("q4 window=1,0");
    assert_int_equal(compute(&in, 0)->attended, 1);
    assert_int_equal(compute(&in, 2)->attended, 2);
    assert_near(row.out[0], (40 + 90) / 5.0);
    in = four_keys("q4 window=-1,1");
    assert_int_equal(compute(&in, 2)->attended, 4);
    assert_int_equal(compute(&in, 0)->attended, 2);
}

static void lengths_prefix_documents(void **state) {
    (void)state;
    int32_t two[1] = {2}, three[1] = {3};
    const attn_tensor one = {.rank = 1, .dtype = ATTN_I32, .shape = {1}, .stride = {1}};
    struct test_inputs in = four_keys("q4 causal align=br qlens kvlens prefix");
    in.q_lengths = in.kv_lengths = in.prefix_lengths = one;
    in.q_lengths.data = two;
    in.kv_lengths.data = three;
    in.prefix_lengths.data = three;
    /* Query 0 stands at position 1, and the prefix lets it see key 2. */
    assert_int_equal(compute(&in, 0)->attended, 3);
    assert_true(row.raw[3] == -INFINITY);
    in.prefix_lengths.data = two;
    assert_int_equal(compute(&in, 0)->attended, 2);
    assert_int_equal(compute(&in, 2)->attended, 0);
    assert_true(row.out[0] == 0 && row.lse == -INFINITY && row.row_sum == 0);

    int64_t of_queries[4] = {7, 7, 5, 9}, of_keys[4] = {5, 7, 7, 5};
    in = four_keys("q4 docs");
    in.q_documents = in.k_documents =
        (attn_tensor){.rank = 2, .dtype = ATTN_I64, .shape = {1, 4}, .stride = {4, 1}};
    in.q_documents.data = of_queries;
    in.k_documents.data = of_keys;
    assert_near(compute(&in, 1)->out[0], (40 + 90) / 5.0);
    assert_near(compute(&in, 2)->out[0], (10 + 160) / 5.0);
    assert_int_equal(compute(&in, 3)->attended, 0);
}

static void masks_and_bias(void **state) {
    (void)state;
    uint8_t blocks[4] = {0, 3, 1, 0};
    struct test_inputs in = four_keys("q4 block=2x2");
    in.block_mask = (attn_tensor){.rank = 2,
                                  .dtype = ATTN_BOOL,
                                  .shape = {2, 2},
                                  .stride = {2, 1},
                                  .data = blocks};
    assert_near(compute(&in, 1)->out[0], (90 + 160) / 7.0);
    assert_near(compute(&in, 2)->out[0], (10 + 40) / 3.0);

    uint8_t mask[4] = {1, 0, 255, 0};
    in = four_keys("q4 mask");
    in.mask = (attn_tensor){
        .rank = 1, .dtype = ATTN_BOOL, .shape = {4}, .stride = {1}, .data = mask};
    assert_near(compute(&in, 3)->out[0], (10 + 90) / 4.0);

    float bias[4] = {(float)log(4), -INFINITY, 0, 0};
    in = four_keys("q4 bias");
    in.bias = (attn_tensor){
        .rank = 1, .dtype = ATTN_F32, .shape = {4}, .stride = {1}, .data = bias};
    assert_near(compute(&in, 0)->out[0], (40 + 90 + 160) / 11.0);
    assert_int_equal(row.attended, 3);
    assert_near(row.capped[0], 0);
    assert_near(row.biased[0], log(4));
    assert_true(row.biased[1] == -INFINITY && row.raw[1] > 0);
}

static void terms_and_sink(void **state) {
    (void)state;
    float number[1] = {(float)log(2)};
    const attn_tensor one = {
        .rank = 1, .dtype = ATTN_F32, .shape = {1}, .stride = {1}, .data = number};
    struct test_inputs in = four_keys("q4 alibi");
    in.alibi_slopes = one;
    /* Query 1: keys 0 to 3 are 1, 0, 1, 2 away, each step halves a weight. */
    compute(&in, 1);
    assert_near(row.row_sum * exp(row.row_max), 0.5 + 2 + 1.5 + 1);
    assert_near(row.weight[3], 0.2);

    in = four_keys("q4 sinks");
    number[0] = (float)log(90);
    in.sinks = one;
    compute(&in, 0);
    assert_near(row.weight[3], 0.04);
    assert_near(row.out[0], 3);
    assert_near(row.lse, log(100));
    assert_near(row.row_max, log(90));

    in = four_keys("q4 scale=2 softcap=1.5");
    compute(&in, 0);
    assert_near(row.raw[2], 2 * log(3));
    assert_near(row.capped[2], 1.5 * tanh(2 * log(3) / 1.5));
}

/* Random numbers of (0, 0, 0, 0) by key 0, of the known answers in test_philox, and
 * their upper 24 bits as fractions: 0.40, 0.88, 0.74, 0.61. */
static void dropout(void **state) {
    (void)state;
    struct test_inputs in = four_keys("q4 dropout=0.5");
    compute(&in, 0);
    assert_near(row.drop[0], 0);
    assert_near(row.drop[1], 2);
    assert_near(row.drop[2], 2);
    assert_near(row.drop[3], 2);
    assert_near(row.out[0], 2 * (40 + 90 + 160) / 10.0);
    assert_near(row.weight[0], 0.1);
    in.problem.dropout = 0.75f;
    assert_near(compute(&in, 0)->out[0], 4 * 40 / 10.0);
    in.problem.dropout = 1;
    assert_near(compute(&in, 0)->out[0], 0);
    in.problem.dropout = 0.25f;
    assert_near(compute(&in, 0)->drop[0], 4 / 3.0);
    /* Each number of the counter and the key counts. */
    assert_true(oracle_keeps(&in, 0, 0, 0, 0));
    int differ[5] = {0};
    in.problem.dropout = 0.5f;
    for (int n = 0; n < 32; n++) {
        in.dropout_seed = 0;
        int kept = oracle_keeps(&in, n, 0, 0, 0);
        differ[0] += oracle_keeps(&in, n, 1, 0, 0) != kept;
        differ[1] += oracle_keeps(&in, n, 0, 1, 0) != kept;
        differ[2] += oracle_keeps(&in, n, 0, 0, 4) != kept;
        in.dropout_seed = 1;
        differ[3] += oracle_keeps(&in, n, 0, 0, 0) != kept;
        in.dropout_seed = INT64_C(1) << 32;
        differ[4] += oracle_keeps(&in, n, 0, 0, 0) != kept;
    }
    for (int n = 0; n < 5; n++) {
        assert_true(differ[n] > 5 && differ[n] < 27);
    }
}

static void bounds_are_neither_zero_nor_vain(void **state) {
    (void)state;
    struct test_inputs in;
    struct test_problem problem = run_parse("h2 q3 k300 d64 seed=4");
    struct oracle_row large;
    gen_inputs(&in, &problem, DATA_RANDOM);
    oracle_open(&large, &problem);
    oracle_compute(&large, &in, 0, 1, 2);
    for (int c = 0; c < 64; c++) {
        assert_true(large.out_error[c] > 1e-6 && large.out_error[c] < 2e-4);
    }
    assert_true(large.lse_error > 1e-7 && large.lse_error < 2e-4);
    oracle_close(&large);
    gen_free(&in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_fractions),
        cmocka_unit_test(causal_and_alignment),
        cmocka_unit_test(window_is_inclusive),
        cmocka_unit_test(lengths_prefix_documents),
        cmocka_unit_test(masks_and_bias),
        cmocka_unit_test(terms_and_sink),
        cmocka_unit_test(dropout),
        cmocka_unit_test(bounds_are_neither_zero_nor_vain),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
