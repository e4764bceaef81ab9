/*
 * Bitwise laws about what is in a call: two ways to say the same thing give the same
 * bits. Both sides read the same memory, so that alignment is the same.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/call.h"
#include "tests/support/element.h"
#include "tests/support/run.h"

static const char *const engines[] = {"auto", "dense", "flash", "decode"};
static struct test_call left, right;

static void open_call(struct test_call *call, const char *words, size_t e) {
    char text[256];
    snprintf(text, sizeof text, "%s engine=%s", words, engines[e]);
    call_open(call, text, ALL_OUTPUTS);
}

/* Those of the first keys of the first batch elements. */
static void share_scales(attn_tensor *to, const attn_tensor *from,
                         const struct test_inputs *inputs) {
    const int64_t most[3] = {inputs->problem.batch, inputs->problem.kv_heads,
                             inputs->problem.kv_length};
    *to = *from;
    for (int32_t d = 0; d < to->rank; d++) {
        const int64_t size = most[3 - to->rank + d];
        to->shape[d] = to->shape[d] > size ? size : to->shape[d];
    }
}

/* The query, key and value of one call, in all of their sizes, as those of another. */
static void share(struct test_call *to, const struct test_call *from) {
    to->inputs.query.data = from->inputs.query.data;
    to->inputs.key.data = from->inputs.key.data;
    to->inputs.value.data = from->inputs.value.data;
    memcpy(to->inputs.query.stride, from->inputs.query.stride, sizeof(int64_t[6]));
    memcpy(to->inputs.key.stride, from->inputs.key.stride, sizeof(int64_t[6]));
    memcpy(to->inputs.value.stride, from->inputs.value.stride, sizeof(int64_t[6]));
    share_scales(&to->inputs.key_scales, &from->inputs.key_scales, &to->inputs);
    share_scales(&to->inputs.value_scales, &from->inputs.value_scales, &to->inputs);
}

/* What all tokens of one call look up, as that of another. */
static void share_tables(struct test_call *to, const struct test_call *from) {
    to->inputs.alibi_slopes = from->inputs.alibi_slopes;
    to->inputs.sinks = from->inputs.sinks;
    to->inputs.relative_bias = from->inputs.relative_bias;
    to->inputs.relative_keys = from->inputs.relative_keys;
    to->args.relative_zero = from->args.relative_zero;
    to->inputs.content_bias = from->inputs.content_bias;
    to->inputs.position_bias = from->inputs.position_bias;
    to->inputs.score_vector = from->inputs.score_vector;
}

/* Output rows of left that have a counterpart in right, whose shape is the smaller. */
static void need_same_corner(int output) {
    const attn_tensor *large = &left.outputs.tensor[output];
    const attn_tensor *small = &right.outputs.tensor[output];
    int64_t n[4] = {1, 1, 1, 1};
    for (int32_t d = 0; d < small->rank; d++) {
        n[4 - small->rank + d] = small->shape[d];
        assert_true(small->shape[d] <= large->shape[d]);
    }
    int64_t count = n[0] * n[1] * n[2] * n[3];
    assert_true(count > 0);
    for (int64_t i = 0; i < count; i++) {
        int64_t i0 = i / n[3] / n[2] / n[1], i1 = i / n[3] / n[2] % n[1];
        int64_t i2 = i / n[3] % n[2], i3 = i % n[3];
        if (memcmp(element_at(large, i0, i1, i2, i3), element_at(small, i0, i1, i2, i3),
                   element_size(small->dtype)) != 0) {
            fail_msg("%s differs at %d,%d,%d,%d, engine %d", outputs_name(output),
                     (int)i0, (int)i1, (int)i2, (int)i3,
                     (int)left.inputs.problem.engine);
        }
    }
}

static void close_both(void) {
    call_close(&left);
    call_close(&right);
}

/* Lengths in large tensors, and small tensors, are the same. */
static void padded_equals_trimmed(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"h2 q100 k300 d40 qlens kvlens", "h2 q37 k150 d40"},
        {"h2 q100 k300 d40 qlens kvlens causal align=br",
         "h2 q37 k150 d40 causal align=br"},
        {"h4/2 q40 k1000 d64 qlens kvlens window=50,20",
         "h4/2 q37 k150 d64 window=50,20"},
        {"q90 k700 d8 qlens kvlens alibi sinks layout=bshd",
         "q37 k150 d8 alibi sinks layout=bshd"},
        {"h4/2 q100 k300 d24 qlens kvlens relbias=32,128 relkeys ubias vbias align=br",
         "h4/2 q37 k150 d24 relbias=32,128 relkeys ubias vbias align=br"},
        {"h4/2 q100 k300 d40 qlens kvlens key=i8 value=f16 query=bf16 out=f16",
         "h4/2 q37 k150 d40 key=i8 value=f16 query=bf16 out=f16"},
        {"h2 q90 k1700 d24 qlens kvlens key=bf16 value=i8 out=bf16",
         "h2 q37 k150 d24 key=bf16 value=i8 out=bf16"}};
    int32_t q_length[1] = {37}, kv_length[1] = {150};
    for (size_t c = 0; c < COUNT_OF(cases) * COUNT_OF(engines); c++) {
        open_call(&left, cases[c / 4][0], c % 4);
        open_call(&right, cases[c / 4][1], c % 4);
        share(&right, &left);
        share_tables(&right, &left);
        left.inputs.q_lengths.dtype = left.inputs.kv_lengths.dtype = ATTN_I32;
        left.inputs.q_lengths.data = q_length;
        left.inputs.kv_lengths.data = kv_length;
        call_run(&left);
        call_run(&right);
        for (int o = 0; o < DROPOUT_MASK; o++) {
            need_same_corner(o);
        }
        close_both();
    }
}

static void batch_element_alone(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"b3 h4/2 q45 k400 d48/20 causal align=br seed=5",
         "h4/2 q45 k400 d48/20 causal align=br"},
        {"b3 h4/2 q45 k400 d48 relbias=32,128 relkeys ubias vbias seed=5",
         "h4/2 q45 k400 d48 relbias=32,128 relkeys ubias vbias"},
        {"b3 h4/2 q5 k400 d48/20 key=i8 value=i8 query=f16 out=bf16 seed=5",
         "h4/2 q5 k400 d48/20 key=i8 value=i8 query=f16 out=bf16"}};
    for (size_t c = 0; c < COUNT_OF(cases) * COUNT_OF(engines); c++) {
        open_call(&left, cases[c / 4][0], c % 4);
        call_run(&left);
        for (int64_t b = 0; b < 3; b++) {
            open_call(&right, cases[c / 4][1], c % 4);
            share(&right, &left);
            share_tables(&right, &left);
            right.inputs.query.data = element_at(&left.inputs.query, b, 0, 0, 0);
            right.inputs.key.data = element_at(&left.inputs.key, b, 0, 0, 0);
            right.inputs.value.data = element_at(&left.inputs.value, b, 0, 0, 0);
            right.inputs.key_scales.data =
                element_at(&left.inputs.key_scales, 0, b, 0, 0);
            right.inputs.value_scales.data =
                element_at(&left.inputs.value_scales, 0, b, 0, 0);
            call_run(&right);
            /* Shift left's outputs so that element b comes first. */
            struct test_outputs all = left.outputs;
            for (int o = 0; o < DROPOUT_MASK; o++) {
                attn_tensor *t = &left.outputs.tensor[o];
                t->data = t->rank == 4 ? element_at(t, b, 0, 0, 0)
                                       : element_at(t, 0, b, 0, 0);
                need_same_corner(o);
            }
            left.outputs = all;
            call_close(&right);
        }
        call_close(&left);
    }
}

/* One KV head for all query heads, and the same memory as one KV head for each: as many
 * queries as both ways decode, or neither. */
static void grouped_equals_repeated(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"b2 h4/1 q50 k300 d32 seed=2", "b2 h4 q50 k300 d32 seed=2"},
        {"h6/1 q1 k500 d64 seed=2", "h6 q1 k500 d64 seed=2"},
        {"b2 h6/1 q2 k1500 d24 key=f16 value=bf16 out=f16 seed=2",
         "b2 h6 q2 k1500 d24 key=f16 value=bf16 out=f16 seed=2"},
        {"h8/1 q3 k70 d64 causal align=br seed=2",
         "h8 q3 k70 d64 causal align=br seed=2"}};
    for (size_t c = 0; c < COUNT_OF(cases) * COUNT_OF(engines); c++) {
        open_call(&left, cases[c / 4][0], c % 4);
        open_call(&right, cases[c / 4][1], c % 4);
        share(&right, &left);
        right.inputs.key.stride[1] = right.inputs.value.stride[1] = 0;
        call_need_same(&left, &right);
        close_both();
    }
}

/* Row i is what it was when keys and values beyond it change. */
static void causal_rows_ignore_later_keys(void **state) {
    (void)state;
    for (size_t e = 0; e < COUNT_OF(engines); e++) {
        for (int64_t i = 0; i < 200; i += 33) {
            open_call(&left, "h2 q200 d24 causal seed=8", e);
            open_call(&right, "h2 q200 d24 causal seed=8", e);
            for (int64_t n = 0; n < 2 * (199 - i); n++) {
                float *key = element_at(&right.inputs.key, 0, n % 2, i + 1 + n / 2, 0);
                float *value =
                    element_at(&right.inputs.value, 0, n % 2, i + 1 + n / 2, 0);
                for (int c = 0; c < 24; c++) {
                    key[c] = 5.0f + (float)c;
                    value[c] = -7.0f;
                }
            }
            call_run(&left);
            call_run(&right);
            right.outputs.tensor[OUT].shape[2] = i + 1;
            need_same_corner(OUT);
            right.outputs.tensor[LSE].shape[2] = i + 1;
            need_same_corner(LSE);
            close_both();
        }
    }
}

/* Causal is a window without a left end. */
static void causal_is_a_window(void **state) {
    (void)state;
    for (size_t e = 0; e < COUNT_OF(engines); e++) {
        open_call(&left, "h2 q130 d24 causal seed=9", e);
        open_call(&right, "h2 q130 d24 window=-1,0 seed=9", e);
        call_need_same(&left, &right);
        close_both();
    }
}

/* Ranks in the order of the tokens are causal, in whatever type they come. */
static void ranks_can_be_causal(void **state) {
    (void)state;
    int64_t of_queries[130], of_keys[130];
    const int64_t shape[1] = {130};
    for (size_t n = 0; n < 2 * COUNT_OF(engines); n++) {
        int below = n % 2 == 1;
        open_call(&left, "h2 q130 d24 causal seed=10", n / 2);
        open_call(&right,
                  below ? "h2 q130 d24 ranks=below seed=10"
                        : "h2 q130 d24 ranks=upto seed=10",
                  n / 2);
        for (int64_t i = 0; i < 130; i++) {
            of_queries[i] = 3 * (i + below) + INT64_MIN;
            of_keys[i] = 3 * i + INT64_MIN;
        }
        assert_int_equal(
            attn_tensor_init(&right.inputs.q_ranks, ATTN_I64, 1, shape, of_queries),
            ATTN_OK);
        assert_int_equal(
            attn_tensor_init(&right.inputs.k_ranks, ATTN_I64, 1, shape, of_keys),
            ATTN_OK);
        call_need_same(&left, &right);
        close_both();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(padded_equals_trimmed),
        cmocka_unit_test(batch_element_alone),
        cmocka_unit_test(grouped_equals_repeated),
        cmocka_unit_test(causal_rows_ignore_later_keys),
        cmocka_unit_test(causal_is_a_window),
        cmocka_unit_test(ranks_can_be_causal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
