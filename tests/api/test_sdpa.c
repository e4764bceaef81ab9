/*
 * The one call, attn_sdpa(), and attn_tensor_init(): right results with and without a
 * context, what they refuse, and that a refusal writes nothing.
 */
#include <math.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

static attn_tensor contiguous(int64_t b, int64_t h, int64_t s, int64_t d, float *data) {
    attn_tensor tensor;
    const int64_t shape[4] = {b, h, s, d};
    assert_int_equal(attn_tensor_init(&tensor, ATTN_F32, 4, shape, data), ATTN_OK);
    return tensor;
}

static float data[4][20000];

/* Runs attn_sdpa() on made-up data; out is compared with the oracle. */
static void run(attn_context *context, const char *text) {
    struct test_inputs in = {.problem = run_parse(text)};
    struct test_outputs out = {.elements = {0}};
    const struct test_problem *p = &in.problem;
    for (int i = 0; i < 20000; i++) {
        data[0][i] = sinf((float)i);
        data[1][i] = cosf(1.7f * (float)i);
        data[2][i] = sinf(0.3f * (float)i * (float)i);
        data[3][i] = NAN;
    }
    in.query = contiguous(p->batch, p->q_heads, p->q_length, p->key_dim, data[0]);
    in.key = contiguous(p->batch, p->kv_heads, p->kv_length, p->key_dim, data[1]);
    in.value = contiguous(p->batch, p->kv_heads, p->kv_length, p->value_dim, data[2]);
    out.tensor[OUT] =
        contiguous(p->batch, p->q_heads, p->q_length, p->value_dim, data[3]);
    run_need(attn_sdpa(context, p->batch, p->q_heads, p->kv_heads, p->q_length,
                       p->kv_length, p->key_dim, p->value_dim, p->causal, data[0],
                       data[1], data[2], data[3]),
             p, "attn_sdpa");
    assert_int_equal(check_outputs(&in, &out), 0);
    int64_t written = p->batch * p->q_heads * p->q_length * p->value_dim;
    assert_true(isnan(data[3][written]));
}

static const char *const texts[] = {"b2 h4/2 q20 k30 d8/5",
                                    "h3 q40 d24 causal",
                                    "q1 k300 d64",
                                    "b2 h2 q50 k7 d3 causal",
                                    "b0 q5 d4",
                                    "q0 k5 d4",
                                    "q5 k0 d4",
                                    "h6/1 q33 k70 d40"};

static void with_and_without_context(void **state) {
    (void)state;
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        run(NULL, texts[t]);
        run(context, texts[t]);
    }
    attn_context_destroy(context);
}

static void nothing_needs_no_data(void **state) {
    (void)state;
    assert_int_equal(attn_sdpa(NULL, 0, 1, 1, 5, 5, 4, 4, 0, NULL, NULL, NULL, NULL),
                     ATTN_OK);
    assert_int_equal(
        attn_sdpa(NULL, 1, 1, 1, 0, 5, 4, 4, 0, NULL, data[1], data[2], NULL), ATTN_OK);
}

static void refusals(void **state) {
    (void)state;
    static const struct {
        int64_t b, hq, hkv, sq, sk, d, dv;
        int32_t causal;
        const char *says;
    } cases[] = {
        {-1, 1, 1, 2, 2, 4, 4, 0, "-1"},
        {1, 0, 1, 2, 2, 4, 4, 0, "query_heads|0"},
        {1, 1, 0, 2, 2, 4, 4, 0, "kv_heads|0"},
        {1, 12, 5, 2, 2, 4, 4, 0, "12|5"},
        {1, ((int64_t)1 << 32) + 1, 1, 2, 2, 4, 4, 0, "query_heads|4294967297"},
        {1, 1, 1, -2, 2, 4, 4, 0, "-2"},
        {1, 1, 1, 2, -3, 4, 4, 0, "-3"},
        {1, 1, 1, 2, 2, 0, 4, 0, "key_dim|0"},
        {1, 1, 1, 2, 2, 4, 0, 0, "value_dim|0"},
        {1, 1, 1, 2, 2, 70000, 4, 0, "key_dim is 70000|1 to 65536"},
        {1, 1, 1, 2, 2, 4, (int64_t)1 << 31, 0, "value_dim|1 to 65536"},
        {1, 1, 1, 2, 2, 4, 4, 2, "causal|2"},
        {(int64_t)1 << 40, 1, 1, (int64_t)1 << 40, 2, 4, 4, 0, "1099511627776"},
        {1, 1, 1, 2, INT64_MAX, 4, 4, 0, "9223372036854775807"},
    };
    data[3][0] = 42.0f;
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        attn_status status =
            attn_sdpa(NULL, cases[c].b, cases[c].hq, cases[c].hkv, cases[c].sq,
                      cases[c].sk, cases[c].d, cases[c].dv, cases[c].causal, data[0],
                      data[1], data[2], data[3]);
        expect_refusal(status, ATTN_ERR_INVALID, cases[c].says);
        assert_true(data[3][0] == 42.0f);
    }
    const float *in[3] = {data[0], data[1], data[2]};
    static const char *const names[] = {"query", "key", "value"};
    for (int n = 0; n < 3; n++) {
        const float *before = in[n];
        in[n] = NULL;
        expect_refusal(
            attn_sdpa(NULL, 1, 1, 1, 2, 2, 4, 4, 0, in[0], in[1], in[2], data[3]),
            ATTN_ERR_INVALID, names[n]);
        in[n] = before;
    }
    expect_refusal(attn_sdpa(NULL, 1, 1, 1, 2, 2, 4, 4, 0, in[0], in[1], in[2], NULL),
                   ATTN_ERR_INVALID, "out");
    expect_refusal(
        attn_sdpa(NULL, 1, 1, 1, 2, 2, 4, 4, 0, in[0], in[1], in[2], data[1] + 1),
        ATTN_ERR_INVALID, "out|key|overlap");
    assert_true(data[3][0] == 42.0f);
}

static void tensors(void **state) {
    (void)state;
    attn_tensor t, before;
    const int64_t shape[6] = {2, 3, 0, 5, 7, 1};
    assert_int_equal(attn_tensor_init(&t, ATTN_I64, 6, shape, data), ATTN_OK);
    assert_int_equal(t.rank, 6);
    assert_int_equal(t.dtype, ATTN_I64);
    assert_ptr_equal(t.data, data);
    assert_memory_equal(t.shape, shape, sizeof shape);
    assert_int_equal(t.stride[5], 1);
    assert_int_equal(t.stride[4], 1);
    assert_int_equal(t.stride[3], 7);
    assert_true(t.reserved[0] == 0 && t.reserved[1] == 0);
    assert_int_equal(attn_tensor_init(&t, ATTN_F32, 2, shape, NULL), ATTN_OK);
    assert_int_equal(t.stride[0], 3);

    const int64_t negative[2] = {4, -6}, huge[2] = {INT64_MAX / 4, 2};
    const int64_t half[1] = {INT64_MAX / 2};
    memset(&t, 0x55, sizeof t);
    before = t;
    expect_refusal(attn_tensor_init(NULL, ATTN_F32, 1, shape, data), ATTN_ERR_INVALID,
                   "tensor|NULL");
    expect_refusal(attn_tensor_init(&t, ATTN_F32, 1, NULL, data), ATTN_ERR_INVALID,
                   "shape|NULL");
    expect_refusal(attn_tensor_init(&t, 0, 1, shape, data), ATTN_ERR_INVALID, "0");
    expect_refusal(attn_tensor_init(&t, 8, 1, shape, data), ATTN_ERR_INVALID, "8");
    expect_refusal(attn_tensor_init(&t, ATTN_F32, 0, shape, data), ATTN_ERR_INVALID,
                   "0|6");
    expect_refusal(attn_tensor_init(&t, ATTN_F32, 7, shape, data), ATTN_ERR_INVALID,
                   "7|6");
    expect_refusal(attn_tensor_init(&t, ATTN_F32, 2, negative, data), ATTN_ERR_INVALID,
                   "-6");
    expect_refusal(attn_tensor_init(&t, ATTN_F32, 2, huge, data), ATTN_ERR_INVALID,
                   "large|2305843009213693951");
    expect_refusal(attn_tensor_init(&t, ATTN_F32, 1, half, data), ATTN_ERR_INVALID,
                   "large|4611686018427387903");
    assert_memory_equal(&t, &before, sizeof t);
    assert_int_equal(attn_tensor_init(&t, ATTN_BOOL, 1, half, data), ATTN_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_and_without_context),
        cmocka_unit_test(nothing_needs_no_data),
        cmocka_unit_test(refusals),
        cmocka_unit_test(tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
