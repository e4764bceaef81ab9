/*
 * Numbers stored in 16 bits, and keys and values in bytes with scales: every pair of
 * types, by every engine; the same bits as of float32 tensors that hold the same
 * numbers, and out rounded once from there. Also run with each ATTN_ISA. (Queries in
 * bfloat16 by tiles of AMX, which may have other bits, are those of test_pieces.)
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/rows.h"
#include "tests/support/run.h"

static const char *const halves[] = {"f32", "f16", "bf16"};
static const char *const types[] = {"f32", "f16", "bf16", "i8"};

/* All kinds of keys with all kinds of values; query and out take turns. */
static void every_pair(void **state) {
    (void)state;
    static const char *const sizes[] = {"b2 h4/2 q33 k150 d24/17", "h6/2 q2 k1100 d40",
                                        "b2 h2 q70 k270 d64/9 layout=bshd"};
    int wrong = 0;
    for (size_t n = 0; n < 16 * COUNT_OF(sizes); n++) {
        char text[160];
        snprintf(text, sizeof text, "%s key=%s value=%s query=%s out=%s seed=%d",
                 sizes[n / 16], types[n / 4 % 4], types[n % 4], halves[n % 3],
                 halves[n / 3 % 3], (int)n);
        wrong += run_text(text, DATA_RANDOM);
    }
    assert_int_equal(wrong, 0);
}

static void every_head_dim(void **state) {
    (void)state;
    static const int dims[] = {1, 3, 7, 16, 17, 40, 64, 80, 128, 256, 300};
    int wrong = 0;
    for (size_t n = 0; n < 4 * COUNT_OF(dims); n += TEST_SHARE) {
        char text[160];
        snprintf(text, sizeof text, "h4/2 q%d k140 d%d/%d key=%s value=%s seed=%d",
                 n % 3 == 0 ? 11 : (int)(n % 3), dims[n / 4],
                 dims[COUNT_OF(dims) - 1 - n / 4], types[n % 4], types[(n + 1) % 4],
                 (int)n);
        wrong += run_text(text, DATA_RANDOM);
    }
    assert_int_equal(wrong, 0);
}

/* Results beyond the largest number of a type, and below the smallest. */
static void hard_data(void **state) {
    (void)state;
    static const char *const texts[] = {"h2 q20 k200 d24", "h4/2 q3 k1200 d17 sinks",
                                        "b2 h4/2 q40 k150 d16 causal softcap=20",
                                        "h2 q1 k70 d64 kvlens"};
    int wrong = 0;
    for (size_t n = 0; n < COUNT_OF(texts) * 12; n++) {
        char text[160];
        snprintf(text, sizeof text, "%s key=%s value=%s query=%s out=%s", texts[n / 12],
                 types[n % 4], types[n / 3 % 4], halves[n % 3], halves[n / 2 % 3]);
        wrong += run_text(text, 1 + (int)(n % (DATA_KINDS - 1)));
    }
    assert_int_equal(wrong, 0);
}

/* Of values of 1e15, out of f16 is all infinite. */
static void beyond_the_largest(void **state) {
    (void)state;
    int64_t infinite = 0;
    struct test_call call;
    struct test_problem problem = run_parse("h2 q20 k90 d16 value=bf16 out=f16");
    call_open_on(&call, NULL, &problem, DATA_HUGE, ONLY_OUT);
    call_run(&call);
    const attn_tensor *out = &call.outputs.tensor[OUT];
    for (int64_t n = 0; n < element_count(out); n++) {
        int64_t i[4];
        element_index(out, n, i);
        infinite += isinf(element_float(out, i[0], i[1], i[2], i[3])) != 0;
    }
    assert_true(infinite > element_count(out) / 2);
    assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
    call_close(&call);
}

/* ---------------------------------------------------------- the same numbers */

/* Where the float32 tensors of a call lie that has the numbers of another. */
static void *blocks[3];

/* A tensor of float32 with the rows of another, contiguous from a multiple of 64 on: as
 * rows lie that the library copies. */
static void widen(attn_tensor *tensor, int which, const struct test_inputs *from,
                  struct element_row (*row_of)(const struct test_inputs *, int64_t,
                                               int64_t, int64_t)) {
    const size_t count = (size_t)element_count(tensor);
    tensor->dtype = ATTN_F32;
    free(blocks[which]);
    blocks[which] = aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
    assert_non_null(blocks[which]);
    assert_int_equal(
        attn_tensor_init(tensor, ATTN_F32, 4, tensor->shape, blocks[which]), ATTN_OK);
    for (int64_t n = 0; n < (int64_t)count; n++) {
        int64_t i[4];
        element_index(tensor, n, i);
        const struct element_row row = row_of(from, i[0], i[1], i[2]);
        *(float *)element_nth(tensor, n) = (float)element_in(&row, i[3]);
    }
}

/* Scales that are powers of two, with which nothing rounds. */
static void make_exact(const attn_tensor *scales) {
    for (int64_t n = 0; n < element_count(scales); n++) {
        *(float *)element_nth(scales, n) = ldexpf(n % 3 == 0 ? -1 : 1, -(int)(n % 9));
    }
}

static void compare_out(const struct test_call *stored, const struct test_call *plain) {
    const attn_tensor *out = &stored->outputs.tensor[OUT];
    for (int64_t n = 0; n < element_count(out); n++) {
        int64_t i[4];
        element_index(out, n, i);
        const float x =
            element_float(&plain->outputs.tensor[OUT], i[0], i[1], i[2], i[3]);
        float rounded = 0;
        element_put(out->dtype, &rounded, x);
        if (memcmp(element_nth(out, n), &rounded, element_size(out->dtype)) != 0) {
            check_print_problem("not rounded once", &stored->inputs);
            fail_msg("[%d,%d,%d,%d] is %.9g, of %.9g", (int)i[0], (int)i[1], (int)i[2],
                     (int)i[3], (double)element_float(out, i[0], i[1], i[2], i[3]),
                     (double)x);
        }
    }
}

static void bits_of_float32(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b2 h4/2 q37 k300 d64 causal align=br", "b2 h4/2 q5 k1500 d40/24 kvlens sinks",
        "h2 q100 k700 d32/16 window=50,9 layout=bshd", "h4/1 q1 k2500 d17 mask"};
    for (size_t n = 0; n < COUNT_OF(texts) * 12; n++) {
        char text[160];
        struct test_call stored, plain;
        snprintf(text, sizeof text,
                 "%s key=%s value=%s query=%s out=%s engine=%s seed=%d", texts[n / 12],
                 types[n % 4], types[n / 3 % 4], halves[n % 3], halves[n / 2 % 3],
                 n % 12 < 4   ? "auto"
                 : n % 12 < 8 ? "flash"
                              : "decode",
                 (int)n);
        struct test_problem problem = run_parse(text);
        call_open_on(&stored, NULL, &problem, DATA_RANDOM, ALL_OUTPUTS);
        make_exact(&stored.inputs.key_scales);
        make_exact(&stored.inputs.value_scales);
        problem.key_type = problem.value_type = problem.query_type = STORE_F32;
        problem.out_type = STORE_F32;
        call_open_on(&plain, NULL, &problem, DATA_RANDOM, ALL_OUTPUTS);
        widen(&plain.inputs.query, 0, &stored.inputs, rows_query);
        widen(&plain.inputs.key, 1, &stored.inputs, rows_key);
        widen(&plain.inputs.value, 2, &stored.inputs, rows_value);
        call_run(&stored);
        call_run(&plain);
        compare_out(&stored, &plain);
        stored.outputs.tensor[OUT].rank = 0;
        assert_true(call_same(&stored, &plain));
        call_close(&stored);
        call_close(&plain);
    }
    for (size_t b = 0; b < COUNT_OF(blocks); b++) {
        free(blocks[b]);
        blocks[b] = NULL;
    }
}

/* A NaN in one row of keys or values, or as the scale of one: who attends it has it. */
static void nan_arrives(void **state) {
    (void)state;
    static const char *const sizes[] = {"h2 q20 k150 d16 causal align=br",
                                        "h4/2 q3 k1200 d24 kvlens"};
    for (size_t n = 0; n < COUNT_OF(sizes) * 16; n++) {
        char text[160];
        struct test_call call;
        int64_t bad = 0;
        snprintf(text, sizeof text, "%s key=%s value=%s out=%s engine=%s seed=%d",
                 sizes[n / 16], types[n % 4], types[(n + 1) % 4], halves[n % 3],
                 n % 16 < 8 ? "auto" : "flash", (int)n);
        call_open(&call, text, 1 << OUT | 1 << LSE);
        struct test_inputs *in = &call.inputs;
        attn_tensor *of = n / 4 % 2 == 0 ? &in->key : &in->value;
        if (of->dtype == ATTN_I8) {
            attn_tensor *scales = of == &in->key ? &in->key_scales : &in->value_scales;
            *(float *)element_at(scales, 0, 0, 1, 13) = NAN;
        } else {
            element_put(of->dtype, element_at(of, 0, 1, 13, 3), NAN);
        }
        call_run(&call);
        assert_int_equal(check_outputs(in, &call.outputs), 0);
        for (int64_t i = 0; i < in->problem.q_length; i++) {
            bad += isnan(element_float(&call.outputs.tensor[OUT], 0,
                                       in->problem.q_heads - 1, i, 3)) != 0;
        }
        assert_true(bad > 0 || in->problem.kv_lengths);
        call_close(&call);
    }
}

/* Bytes that all batch elements share are other numbers with other scales. */
static void scales_of_batch_elements(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b3 h2/1 q20 k100 d16 key=i8 value=i8", "b3 h4/1 q2 k1200 d24 key=i8 value=i8",
        "b3 q70 k600 d24 value=i8", "b3 h2/1 q70 k60 d24 key=i8"};
    float scales[3] = {0.01f, 0.03f, -0.02f};
    const attn_tensor per_batch = {.dtype = ATTN_F32,
                                   .rank = 3,
                                   .shape = {3, 1, 1},
                                   .stride = {1, 1, 1},
                                   .data = scales};
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_call call;
        call_open(&call, texts[t], ALL_OUTPUTS);
        call.inputs.key.stride[0] = call.inputs.value.stride[0] = 0;
        if (call.inputs.key.dtype == ATTN_I8) {
            call.inputs.key_scales = per_batch;
        }
        if (call.inputs.value.dtype == ATTN_I8) {
            call.inputs.value_scales = per_batch;
        }
        call_run(&call);
        assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
        call_close(&call);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair),
        cmocka_unit_test(every_head_dim),
        cmocka_unit_test(hard_data),
        cmocka_unit_test(beyond_the_largest),
        cmocka_unit_test(scales_of_batch_elements),
        cmocka_unit_test(bits_of_float32),
        cmocka_unit_test(nan_arrives),
    };
    int skip = run_skip_isa();
    return skip != 0 ? skip : cmocka_run_group_tests(tests, NULL, NULL);
}
