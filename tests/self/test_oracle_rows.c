/*
 * The oracle on numbers in 16 bits and in bytes and on packed sequences, worked out by
 * hand; what a rounded number may be, and which rows a call must leave alone.
 */
#include <math.h>

#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/oracle.h"
#include "tests/support/rows.h"
#include "tests/support/run.h"

static struct test_inputs in;
static struct oracle_row row;

#define assert_near(a, b) assert_true(fabs((a) - (b)) < 1e-6)

static void types_by_their_bits(void **state) {
    (void)state;
    assert_true(stored_float(ATTN_F16, 0x3c00) == 1.0f);
    assert_true(stored_float(ATTN_F16, 0x8001) == -0x1p-24f);
    assert_true(stored_float(ATTN_BF16, 0x3fc0) == 1.5f);
    assert_true(stored_float(ATTN_I8, 0x80) == -128.0f);
    assert_int_equal(stored_nearest(ATTN_F16, 65519.9), 0x7bff);
    assert_int_equal(stored_nearest(ATTN_F16, -65520.0), 0xfc00);
    assert_int_equal(stored_nearest(ATTN_F16, 0x1p-25), 0);
    assert_int_equal(stored_nearest(ATTN_F16, 0x1.00001p-25), 1);
    assert_int_equal(stored_nearest(ATTN_BF16, 1.00390625), 0x3f80);
    assert_int_equal(stored_nearest(ATTN_BF16, 1.01171875), 0x3f82);
    assert_int_equal(stored_nearest(ATTN_BF16, INFINITY), 0x7f80);
    assert_true(isnan(stored_float(ATTN_BF16, stored_nearest(ATTN_BF16, -NAN))));
    int8_t byte;
    element_put(ATTN_I8, &byte, -300);
    assert_int_equal(byte, -128);
    element_put(ATTN_I8, &byte, 2.5);
    assert_int_equal(byte, 2);
}

/* Two keys of two components: scores 1 and 3 of raw, weights by scale=ln 3 / 2. */
static void scales_multiply_bytes(void **state) {
    (void)state;
    uint16_t query[2] = {0x3c00, 0x4000};  /* 1, 2 in f16 */
    int8_t keys[4] = {-2, 4, 1, 1};        /* with the scales 1/6 and 1: 1 and 3 */
    uint16_t values[2] = {0x4120, 0xc0a0}; /* 10, -5 in bf16 */
    float scales[2] = {1.0f / 6, 1};
    in = (struct test_inputs){
        .problem = run_parse("k2 d2/1 query=f16 key=i8 value=bf16 out=f16 "
                             "scale=0.5493061")};
    const attn_tensor view = {.rank = 4, .shape = {1, 1, 2, 2}, .stride = {4, 4, 2, 1}};
    in.query = in.key = in.value = view;
    in.query.dtype = ATTN_F16;
    in.query.shape[2] = 1;
    in.query.data = query;
    in.key.dtype = ATTN_I8;
    in.key.data = keys;
    in.value.dtype = ATTN_BF16;
    in.value.shape[3] = in.value.stride[2] = 1;
    in.value.data = values;
    in.key_scales = (attn_tensor){
        .rank = 1, .dtype = ATTN_F32, .shape = {2}, .stride = {1}, .data = scales};
    oracle_open(&row, &in.problem);
    oracle_compute(&row, &in, 0, 0, 0);
    assert_near(row.raw[0], 0.5493061);
    assert_near(row.raw[1], 3 * 0.5493061);
    assert_near(row.weight[0], 0.25);
    assert_near(row.out[0], 0.25 * 10 - 0.75 * 5);
    /* one scale for all: raw 1 and 1/2 */
    in.key_scales.shape[0] = 1;
    oracle_compute(&row, &in, 0, 0, 0);
    assert_near(row.raw[1], 0.5 * 0.5493061);
    in.key_scales.shape[0] = 2;
    scales[1] = NAN;
    oracle_compute(&row, &in, 0, 0, 0);
    assert_true(isnan(row.raw[1]) && isnan(row.out[0]) && !isnan(row.raw[0]));
    oracle_close(&row);
}

/* Three sequences, of keys 0 and 1, of none, of 2, in a tensor with one row more. */
static void packed_sequences(void **state) {
    (void)state;
    float ones[3] = {1, 1, 1}, keys[4] = {0, logf(3), 5, 99};
    float values[4] = {8, 16, 7, 99};
    int32_t q_starts[4] = {0, 1, 2, 3};
    int64_t k_starts[4] = {0, 2, 2, 3};
    in = (struct test_inputs){.problem = run_parse("b3 q1 k2 qpacked kpacked causal")};
    const attn_tensor view = {
        .rank = 4, .dtype = ATTN_F32, .shape = {1, 1, 4, 1}, .stride = {4, 4, 1, 1}};
    const attn_tensor starts = {.rank = 1, .shape = {4}, .stride = {1}};
    in.query = in.key = in.value = view;
    in.query.shape[2] = 3;
    in.query.data = ones;
    in.key.data = keys;
    in.value.data = values;
    in.q_starts = in.k_starts = starts;
    in.q_starts.dtype = ATTN_I32;
    in.q_starts.data = q_starts;
    in.k_starts.dtype = ATTN_I64;
    in.k_starts.data = k_starts;
    oracle_open(&row, &in.problem);
    oracle_compute(&row, &in, 0, 0, 0);
    assert_near(row.out[0], 8);
    in.problem.alignment = ATTN_ALIGN_BOTTOM_RIGHT;
    oracle_compute(&row, &in, 0, 0, 0);
    assert_near(row.out[0], 0.25 * 8 + 0.75 * 16);
    oracle_compute(&row, &in, 1, 0, 0);
    assert_true(row.attended == 0 && row.out[0] == 0);
    oracle_compute(&row, &in, 2, 0, 0);
    assert_near(row.out[0], 7);
    assert_near(row.lse, 5);
    assert_int_equal(rows_of_query(&in, 2, 0).i, 2);
    assert_int_equal(rows_of_key(&in, 2, 0).i, 2);
    oracle_close(&row);
}

/* Rows that belong to no sequence are to be left alone, all others to be written. */
static void rows_apart(void **state) {
    (void)state;
    struct test_problem problem = run_parse("b3 h2 q9 k5 d4 qpacked kpacked out=bf16");
    struct gen_packing packing;
    do {
        problem.seed++;
        packing = gen_pack_queries(&problem, NULL);
    } while (packing.first == 0 || packing.rows == packing.end ||
             packing.end == packing.first);
    struct test_outputs outputs;
    outputs_open(&outputs, &problem, ALL_OUTPUTS);
    assert_int_equal(outputs.tensor[WEIGHTS].rank, 0);
    const attn_tensor *out = &outputs.tensor[OUT], *lse = &outputs.tensor[LSE];
    for (int o = OUT; o <= ROW_SUM; o++) {
        const attn_tensor *t = &outputs.tensor[o];
        for (int64_t n = 0; n < element_count(t); n++) {
            int64_t i[4];
            element_index(t, n, i);
            const int64_t r = i[o == OUT ? 2 : 3];
            if (r >= packing.first && r < packing.end) {
                element_put(t->dtype, element_nth(t, n), 1);
            }
        }
    }
    assert_true(outputs_whole(&outputs));
    void *const apart[] = {element_at(out, 0, 1, packing.end, 2),
                           element_at(out, 0, 0, packing.first - 1, 3),
                           element_at(lse, 0, 0, 1, packing.end)};
    for (size_t a = 0; a < COUNT_OF(apart); a++) {
        uint8_t *byte = apart[a];
        *byte ^= 1;
        assert_false(outputs_whole(&outputs));
        *byte ^= 1;
    }
    assert_true(outputs_whole(&outputs));
    outputs_close(&outputs);
}

/* Half a step of the type is allowed, and what the bound allows before it. */
static void rounded_numbers(void **state) {
    (void)state;
    const int32_t f16 = ATTN_F16, bf16 = ATTN_BF16;
    assert_true(check_stored_number(f16, 1.0, 1.0004, 0));
    assert_false(check_stored_number(f16, 1.0, 1.0005, 0));
    assert_true(check_stored_number(f16, 1.0, 1.0005, 1e-4));
    assert_false(check_stored_number(f16, 1.0009765625, 1.0004, 0));
    assert_true(check_stored_number(f16, 0x1p-24, 0x1.8p-25, 0));
    assert_false(check_stored_number(f16, 0, 0x1.8p-25, 0));
    assert_true(check_stored_number(f16, INFINITY, 65520, 0));
    assert_false(check_stored_number(f16, 65504, 65521, 0));
    assert_true(check_stored_number(f16, 65504, 65521, 2));
    assert_true(check_stored_number(f16, -INFINITY, -1e15, 1e8));
    assert_false(check_stored_number(f16, -65504, -1e15, 1e8));
    assert_true(check_stored_number(bf16, 1e15f, stored_float(bf16, 0x5863), 1e13));
    assert_true(check_stored_number(bf16, NAN, NAN, 0));
    assert_false(check_stored_number(bf16, NAN, 1, 1));
    assert_false(check_stored_number(bf16, 1, NAN, 1));
    assert_true(check_stored_number(bf16, INFINITY, INFINITY, NAN));
    assert_false(check_stored_number(bf16, 3e38, INFINITY, NAN));
    assert_true(check_stored_number(ATTN_F32, 1.25, 1, 0.25));
    assert_false(check_stored_number(ATTN_F32, 1.26, 1, 0.25));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_by_their_bits), cmocka_unit_test(scales_multiply_bytes),
        cmocka_unit_test(packed_sequences),    cmocka_unit_test(rows_apart),
        cmocka_unit_test(rounded_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
