/*
 * Plain attention against the oracle, by every engine: head dimensions, lengths,
 * layouts, sizes of zero, and data that is hard on arithmetic. Also run with each
 * ATTN_ISA.
 */
#include <stdio.h>

#include "tests/support/run.h"

static const int dims[] = {1, 3, 17, 40, 64, 80, 96, 128, 256};
static const int lengths[] = {1, 17, 64, 65, 100, 197, 333, 1000};

static void every_head_dim(void **state) {
    (void)state;
    static const char *const sizes[] = {"h2 q100 k197", "q1 k333",
                                        "q65 k17 layout=bshd", "h4/2 q33 k64"};
    int wrong = 0;
    for (size_t d = 0; d < COUNT_OF(dims); d++) {
        for (size_t s = 0; s < COUNT_OF(sizes); s++) {
            char text[128];
            snprintf(text, sizeof text, "%s d%d seed=%d", sizes[s], dims[d], (int)s);
            wrong += run_text(text, DATA_RANDOM);
        }
    }
    assert_int_equal(wrong, 0);
}

static void every_length(void **state) {
    (void)state;
    int wrong = 0;
    for (size_t n = 0; n < COUNT_OF(lengths) * COUNT_OF(lengths); n += TEST_SHARE) {
        char text[128];
        snprintf(text, sizeof text, "q%d k%d d24 seed=%d",
                 lengths[n / COUNT_OF(lengths)], lengths[n % COUNT_OF(lengths)],
                 (int)n);
        struct test_problem problem = run_parse(text);
        wrong += run_engines(&problem, DATA_RANDOM, 1 << OUT | 1 << LSE);
    }
    assert_int_equal(wrong, 0);
}

static void value_dim_of_its_own(void **state) {
    (void)state;
    int wrong = 0;
    for (size_t d = 0; d < COUNT_OF(dims); d++) {
        char text[128];
        snprintf(text, sizeof text, "b2 h2 q37 k130 d%d/%d seed=%d", dims[d],
                 dims[COUNT_OF(dims) - 1 - d], (int)d);
        wrong += run_text(text, DATA_RANDOM);
    }
    assert_int_equal(wrong, 0);
}

static void relative_positions(void **state) {
    (void)state;
    int wrong = 0;
    for (size_t d = 0; d < COUNT_OF(dims); d++) {
        char text[128];
        snprintf(text, sizeof text,
                 "h2 q%d k%d d%d relkeys ubias vbias segments relbias=32,128 seed=%d",
                 lengths[d % COUNT_OF(lengths)], lengths[COUNT_OF(lengths) - 2 - d % 7],
                 dims[d], (int)d);
        wrong += run_text(text, DATA_RANDOM);
    }
    assert_int_equal(wrong, 0);
}

static void sizes_of_zero(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b0 q5 k7 d4",
        "b2 q0 k7 d4",
        "b2 h2 q5 k0 d4",
        "b0 q0 k0 d4",
        "q0 k0 d3",
        "b2 q5 k0 sinks",
        "b2 q5 k0 d3 relbias=4,9 relkeys ubias vbias segments ranks=upto",
        "q0 k5 d3 relbias=4,9 relkeys ubias vbias segments ranks=below",
        "b0 h2 q5 k5 d3 relbias=4,9 relkeys ubias vbias segments ranks=upto",
        "q5 k0 kvlens qlens causal align=br d4 mask bias"};
    int wrong = 0;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        wrong += run_text(texts[t], DATA_RANDOM);
    }
    assert_int_equal(wrong, 0);
}

static void layouts(void **state) {
    (void)state;
    int wrong = 0;
    for (int seed = 0; seed < 12; seed++) {
        char text[128];
        snprintf(text, sizeof text, "b3 h6/3 q41 k70 d20/9 layout=%s seed=%d",
                 seed % 2 ? "bshd" : "bhsd", seed);
        wrong += run_text(text, DATA_RANDOM);
    }
    assert_int_equal(wrong, 0);
}

static void hard_data(void **state) {
    (void)state;
    static const char *const texts[] = {
        "h2 q60 k300 d64 seed=1",
        "q300 k600 d32 seed=2",
        "q1 k100 d17 seed=3",
        "q70 k90 d8 causal seed=4",
        "h2 q40 k260 d64 softcap=20 sinks seed=5",
        "h2 q70 k300 d16 relbias=32,128 relkeys ubias vbias segments seed=6",
        "q300 k400 d40 relkeys vbias causal align=br seed=7",
        "q70 k2300 d128 seed=8"}; /* several panels of keys */
    int wrong = 0;
    for (int data = 0; data < DATA_KINDS; data++) {
        for (size_t t = 0; t < COUNT_OF(texts); t++) {
            wrong += run_text(texts[t], data);
        }
    }
    assert_int_equal(wrong, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_head_dim),
        cmocka_unit_test(every_length),
        cmocka_unit_test(value_dim_of_its_own),
        cmocka_unit_test(relative_positions),
        cmocka_unit_test(sizes_of_zero),
        cmocka_unit_test(layouts),
        cmocka_unit_test(hard_data),
    };
    int skip = run_skip_isa();
    return skip != 0 ? skip : cmocka_run_group_tests(tests, NULL, NULL);
}
