/*
 * A NaN or infinity that is attended reaches exactly the rows that attend it: those
 * turn to NaN as the oracle says, and all others keep the bits they had without it.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/oracle.h"
#include "tests/support/oracle_relative.h"
#include "tests/support/run.h"

static const char *const engines[] = {"auto", "dense", "flash", "decode"};
static struct test_call clean, dirty;

static void open_both(const char *words, size_t e) {
    char text[256];
    snprintf(text, sizeof text, "%s engine=%s", words, engines[e]);
    call_open(&clean, text, ALL_OUTPUTS);
    call_open(&dirty, text, ALL_OUTPUTS);
}

static void close_both(void) {
    call_close(&clean);
    call_close(&dirty);
}

/* Runs both; rows that touched() names must be as the oracle says, others unchanged. */
static void compare(int (*touched)(int64_t b, int64_t h, int64_t i)) {
    const struct test_problem *p = &clean.inputs.problem;
    int64_t hit = 0, missed = 0;
    call_run(&clean);
    call_run(&dirty);
    assert_int_equal(check_outputs(&dirty.inputs, &dirty.outputs), 0);
    for (int64_t r = 0; r < p->batch * p->q_heads * p->q_length; r++) {
        int64_t b = r / p->q_length / p->q_heads, h = r / p->q_length % p->q_heads;
        int64_t i = r % p->q_length;
        float lse = element_float(&dirty.outputs.tensor[LSE], 0, b, h, i);
        const float *before = element_at(&clean.outputs.tensor[OUT], b, h, i, 0);
        const float *after = element_at(&dirty.outputs.tensor[OUT], b, h, i, 0);
        if (touched(b, h, i)) {
            hit++;
            assert_true(isnan(lse) || isnan(after[0]) || isinf(after[0]));
        } else {
            missed++;
            assert_memory_equal(before, after, (size_t)p->value_dim * sizeof *before);
            assert_memory_equal(element_at(&clean.outputs.tensor[LSE], 0, b, h, i),
                                &lse, sizeof lse);
        }
    }
    assert_true(hit > 0 && missed > 0);
}

/* Where the bad number is put: KV head 1 of batch element 1. */
static int64_t bad_key;

static int attends_bad_key(int64_t b, int64_t h, int64_t i) {
    const struct test_problem *p = &dirty.inputs.problem;
    return b == 1 && h / (p->q_heads / p->kv_heads) == 1 &&
           oracle_attends(&dirty.inputs, b, h, i, bad_key);
}

static const char *const texts[] = {
    "b2 h4/2 q150 k200 d24 causal seed=21",
    "b2 h2 q70 k300 d40 window=9,9 seed=22",
    "b2 h4/2 q40 k90 d16 mask seed=23",
    "b2 h2 q64 k128 d8 docs layout=bshd seed=25",
    "b2 h2 q33 k70 d8 block=8x8 seed=26",
    "b2 h2 q1 k300 d64 seed=27",
    "b2 h4/2 q3 k2500 d16 window=2450,0 align=br seed=29",
    "b2 h2 q90 k90 d24 causal sinks alibi softcap=9 seed=28",
    "b2 h4/2 q150 k200 d40 causal seed=41",
    "h2 q170 k700 d64/33 window=90,90 seed=42"};

static const int64_t bad_keys[] = {0, 13, 63, 64, 69};

static void bad_number_in(attn_tensor *(*pick)(struct test_call *call), float number) {
    int cases = 0;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        for (size_t n = 0; n < COUNT_OF(bad_keys) * COUNT_OF(engines); n++) {
            bad_key = bad_keys[n / COUNT_OF(engines)];
            open_both(texts[t], n % COUNT_OF(engines));
            const struct test_problem *p = &dirty.inputs.problem;
            int any = 0;
            for (int64_t r = 0; r < p->q_heads * p->q_length; r++) {
                any += attends_bad_key(1, r / p->q_length, r % p->q_length);
            }
            /* Elements of one memory for all batch elements would reach others too. */
            int shared =
                clean.inputs.key.stride[0] == 0 || clean.inputs.value.stride[0] == 0;
            if (any > 0 && !shared) {
                *(float *)element_at(pick(&dirty), 1, 1, bad_key, 0) = number;
                compare(attends_bad_key);
                cases++;
            }
            close_both();
        }
    }
    assert_true(cases > 40);
}

static attn_tensor *key_of(struct test_call *call) {
    return &call->inputs.key;
}

static attn_tensor *value_of(struct test_call *call) {
    return &call->inputs.value;
}

static void nan_in_key(void **state) {
    (void)state;
    bad_number_in(key_of, NAN);
}

static void nan_in_value(void **state) {
    (void)state;
    bad_number_in(value_of, NAN);
}

static void infinity_in_value(void **state) {
    (void)state;
    bad_number_in(value_of, -INFINITY);
}

static int is_query_17(int64_t b, int64_t h, int64_t i) {
    return b == 0 && h == 1 && i == 17;
}

static void nan_in_query(void **state) {
    (void)state;
    for (size_t e = 0; e < COUNT_OF(engines); e++) {
        open_both("b2 h3 q40 k300 d24 seed=31", e);
        *(float *)element_at(&dirty.inputs.query, 0, 1, 17, 5) = NAN;
        compare(is_query_17);
        close_both();
    }
}

/* A bias of (B, Hq, Sq, Sk) of the test's own. */
static void bad_bias(float number, size_t e) {
    static float zeros[2 * 2 * 40 * 70], other[2 * 2 * 40 * 70];
    const int64_t shape[4] = {2, 2, 40, 70};
    open_both("b2 h2 q40 k70 d24 bias seed=32", e);
    memset(other, 0, sizeof other);
    assert_int_equal(attn_tensor_init(&clean.inputs.bias, ATTN_F32, 4, shape, zeros),
                     ATTN_OK);
    assert_int_equal(attn_tensor_init(&dirty.inputs.bias, ATTN_F32, 4, shape, other),
                     ATTN_OK);
    *(float *)element_at(&dirty.inputs.bias, 0, 1, 17, 66) = number;
    compare(is_query_17);
    close_both();
}

static void nan_and_infinity_in_bias(void **state) {
    (void)state;
    for (size_t e = 0; e < COUNT_OF(engines); e++) {
        bad_bias(NAN, e);
        bad_bias(INFINITY, e);
    }
}

/* A number that is looked up. */
static float *bad_place;

static int looks_up_bad_place(int64_t b, int64_t h, int64_t i) {
    int found = 0;
    for (int64_t j = 0; j < dirty.inputs.problem.kv_length; j++) {
        found = found || (oracle_attends(&dirty.inputs, b, h, i, j) &&
                          oracle_looked_up(&dirty.inputs, b, h, i, j) == bad_place);
    }
    return found;
}

static void nan_in_tables(void **state) {
    (void)state;
    static const char *const words[] = {
        "b2 h2 q100 k200 d24 relbias=32,128 causal align=br seed=33",
        "b2 h4/2 q100 k200 d8 relkeys ubias vbias window=40,40 seed=34",
        "h2 q100 k300 d17 relkeys vbias causal align=br softcap=9 seed=35",
        "b2 h2 q90 k150 d16 segments docs align=br seed=36",
        "b2 h2 q90 k150 d16 segments relkeys ranks=upto align=br seed=37"};
    for (size_t n = 0; n < COUNT_OF(words) * COUNT_OF(engines); n++) {
        open_both(words[n / COUNT_OF(engines)], n % COUNT_OF(engines));
        bad_place = oracle_looked_up(&dirty.inputs, 0, 1, 30, 64);
        *bad_place = NAN;
        compare(looks_up_bad_place);
        close_both();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nan_in_key),
        cmocka_unit_test(nan_in_value),
        cmocka_unit_test(infinity_in_value),
        cmocka_unit_test(nan_in_query),
        cmocka_unit_test(nan_and_infinity_in_bias),
        cmocka_unit_test(nan_in_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
