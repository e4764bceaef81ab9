/*
 * The oracle against cases worked out by hand. Scores are chosen as logarithms, so that
 * weights are simple fractions.
 */
#include <math.h>
#include <string.h>

#include "tests/support/oracle.h"
#include "tests/support/oracle_relative.h"
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

/* --------------------------------------------------------- relative positions */

/* First distances of the buckets from the middle on, which the code of T5 (Hugging Face
 * Transformers, _relative_position_bucket, in float32) gives. */
struct buckets {
    const char *text;
    int64_t count, first[16];
};

static int64_t bucket_before(const struct buckets *buckets, int64_t half,
                             int64_t distance) {
    int64_t bucket = half - 1;
    while (bucket - half + 1 < buckets->count &&
           buckets->first[bucket - half + 1] <= distance) {
        bucket++;
    }
    return distance < half ? distance : bucket;
}

static void buckets_of_t5(void **state) {
    (void)state;
    static const struct buckets cases[] = {
        {"relbias=32,128 bidir", 8, {8, 12, 16, 23, 32, 46, 64, 91}},
        {"relbias=32,128",
         16,
         {16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113}},
        {"relbias=6,400 bidir", 2, {1, 20}},
        {"relbias=8,20", 4, {4, 6, 9, 14}},
        {"relbias=5,7", 3, {2, 4, 5}},
        {"relbias=5,250", 3, {2, 10, 50}},
        {"relbias=9,128", 5, {4, 8, 16, 32, 64}},
        {"relbias=2,2", 1, {1}}};
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        struct test_problem p = run_parse(cases[c].text);
        int both = p.bidirectional;
        int64_t n = both ? p.buckets / 2 : p.buckets, half = n - cases[c].count;
        for (int64_t distance = 0; distance < 3000; distance++) {
            int64_t bucket = bucket_before(&cases[c], half, distance);
            assert_int_equal(oracle_bucket(&p, -distance), bucket);
            assert_int_equal(oracle_bucket(&p, distance),
                             both && distance > 0 ? n + bucket : 0);
        }
        assert_int_equal(oracle_bucket(&p, -(INT64_C(1) << 53)), n - 1);
        assert_int_equal(oracle_bucket(&p, INT64_C(1) << 53), both ? 2 * n - 1 : 0);
    }
}

/* A table of four rows, or fewer, of one component for one head. */
static attn_tensor column(float *numbers, int64_t rows) {
    return (attn_tensor){.rank = 2,
                         .dtype = ATTN_F32,
                         .shape = {rows, 1},
                         .stride = {1, 1},
                         .data = numbers};
}

static void relative_bias(void **state) {
    (void)state;
    float table[4] = {logf(5), logf(2), logf(3), logf(7)};
    struct test_inputs in = four_keys("q4 relbias=4,8");
    in.relative_bias = column(table, 4);
    /* Keys 0 to 3 are 3, 2, 1 and 0 before query 3: buckets 2, 2, 1, 0. */
    compute(&in, 3);
    assert_near(row.lse, log(1 * 3 + 2 * 3 + 3 * 2 + 4 * 5));
    assert_near(row.weight[3], 20 / 35.0);
    assert_near(row.capped[0], 0);
    assert_near(row.biased[0], log(3));
    /* Those after query 1 are in bucket 0, as it is; both ways, in bucket 3. */
    compute(&in, 1);
    assert_near(row.lse, log(1 * 2 + 2 * 5 + 3 * 5 + 4 * 5));
    in.problem.bidirectional = 1;
    compute(&in, 1);
    assert_near(row.lse, log(1 * 2 + 2 * 5 + 3 * 7 + 4 * 7));
}

static void relative_keys(void **state) {
    (void)state;
    float table[3] = {logf(2), logf(5), logf(3)}, one[1] = {1};
    struct test_inputs in = four_keys("q4 relkeys");
    in.relative_keys = column(table, 3);
    in.relative_zero = 1;
    /* Row 0 for key 0, 1 for key 1, and the last for what is beyond. */
    compute(&in, 1);
    assert_near(row.lse, log(1 * 2 + 2 * 5 + 3 * 3 + 4 * 3));
    in.relative_zero = 0;
    compute(&in, 1);
    assert_near(row.lse, log(1 * 2 + 2 * 2 + 3 * 5 + 4 * 3));
    /* The query meets rows as it meets keys, but no softcap. */
    in.position_bias = column(one, 1);
    compute(&in, 1);
    assert_near(row.lse, log(1 * 4 + 2 * 4 + 3 * 25 + 4 * 9));
    in.content_bias = column(one, 1);
    in.problem.has_scale = 1;
    in.problem.scale = 0.5F;
    in.problem.softcap = 2;
    compute(&in, 1);
    assert_near(row.raw[3], log(4));
    assert_near(row.biased[3], 2 * tanh(log(4) / 2) + log(3));
    /* Queries that are the last of the keys: the first one stands beside key 2. */
    in = four_keys("q2 k4 relkeys align=br");
    in.relative_keys = column(table, 3);
    in.relative_zero = 2;
    compute(&in, 0);
    assert_near(row.lse, log(1 * 2 + 2 * 5 + 3 * 3 + 4 * 3));
}

static void segments_and_ranks(void **state) {
    (void)state;
    float table[2] = {logf(2), logf(3)}, one[1] = {1};
    int64_t of_queries[4] = {7, -1, 3, 0},
            of_keys[4] = {7, 7, -1, 7 + (INT64_C(1) << 32)};
    const attn_tensor list = {
        .rank = 1, .dtype = ATTN_I64, .shape = {4}, .stride = {1}};
    struct test_inputs in = four_keys("q4 segments");
    in.segment_keys = (attn_tensor){.rank = 3,
                                    .dtype = ATTN_F32,
                                    .shape = {2, 1, 1},
                                    .stride = {1, 1, 1},
                                    .data = table};
    in.q_segments = in.k_segments = list;
    in.q_segments.data = of_queries;
    in.k_segments.data = of_keys;
    compute(&in, 0);
    assert_near(row.lse, log(1 * 2 + 2 * 2 + 3 * 3 + 4 * 3));
    compute(&in, 1);
    assert_near(row.lse, log(1 * 3 + 2 * 3 + 3 * 2 + 4 * 3));
    in.segment_bias = column(one, 1);
    compute(&in, 0);
    assert_near(row.lse, log(1 * 4 + 2 * 4 + 3 * 9 + 4 * 9));

    in = four_keys("q4 ranks=upto");
    in.q_ranks = in.k_ranks = list;
    in.q_ranks.data = of_queries;
    in.k_ranks.data = of_keys;
    assert_int_equal(compute(&in, 0)->attended, 3);
    assert_int_equal(compute(&in, 1)->attended, 1);
    assert_near(row.out[0], 30);
    in.problem.ranks = ATTN_RANKS_BELOW;
    assert_int_equal(compute(&in, 0)->attended, 1);
    assert_int_equal(compute(&in, 1)->attended, 0);
}

/* Which head has which row, in each shape of the tables. */
static void tables_of_heads(void **state) {
    (void)state;
    float rows[12];
    int32_t segments[2] = {4, 4};
    struct test_inputs in = {.problem = run_parse("h2 q2 relkeys relbias=3,9")};
    in.relative_keys = (attn_tensor){.rank = 3,
                                     .dtype = ATTN_F32,
                                     .shape = {2, 3, 1},
                                     .stride = {4, 1, 1},
                                     .data = rows};
    assert_ptr_equal(oracle_relative_key(&in, 0, 0, 1, 1), &rows[0]);
    assert_ptr_equal(oracle_relative_key(&in, 0, 1, 0, 1), &rows[5]);
    in.relative_keys.shape[0] = 1;
    assert_ptr_equal(oracle_relative_key(&in, 0, 1, 0, 1), &rows[1]);
    in.relative_keys = column(rows, 3);
    assert_ptr_equal(oracle_relative_key(&in, 0, 1, 0, 1), &rows[1]);

    in.segment_keys = (attn_tensor){.rank = 3,
                                    .dtype = ATTN_F32,
                                    .shape = {2, 2, 1},
                                    .stride = {6, 2, 1},
                                    .data = rows};
    in.q_segments = in.k_segments = (attn_tensor){.rank = 2,
                                                  .dtype = ATTN_I32,
                                                  .shape = {1, 2},
                                                  .stride = {2, 1},
                                                  .data = segments};
    assert_ptr_equal(oracle_segment_key(&in, 0, 1, 0, 1), &rows[2]);
    segments[1] = 5;
    assert_ptr_equal(oracle_segment_key(&in, 0, 1, 0, 1), &rows[8]);
    assert_ptr_equal(oracle_head_vector(&in.relative_keys, 1), &rows[1]);
    assert_null(oracle_head_vector(&in.content_bias, 1));
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
    gen_free(&in);
    problem =
        run_parse("h2 q3 k300 d64 relbias=32,128 relkeys ubias vbias segments seed=4");
    gen_inputs(&in, &problem, DATA_RANDOM);
    oracle_compute(&large, &in, 0, 1, 2);
    for (int j = 0; j < 300; j++) {
        assert_true(large.raw_error[j] > 1e-6 && large.raw_error[j] < 2e-4);
        assert_true(large.biased_error[j] > 2 * large.raw_error[j]);
        assert_true(large.biased_error[j] < 4e-4);
    }
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
        cmocka_unit_test(buckets_of_t5),
        cmocka_unit_test(relative_bias),
        cmocka_unit_test(relative_keys),
        cmocka_unit_test(segments_and_ranks),
        cmocka_unit_test(tables_of_heads),
        cmocka_unit_test(bounds_are_neither_zero_nor_vain),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
