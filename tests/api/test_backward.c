/*
 * Gradients of plain attention against the oracle: head dimensions, lengths on both
 * sides of tiles and blocks, layouts, grouped heads, sizes of zero, and data that is
 * hard on arithmetic. Also run with each ATTN_ISA.
 */
#include <stdio.h>

#include "tests/support/backward.h"
#include "tests/support/run.h"

static const int dims[] = {1, 2, 3, 17, 40, 64, 65, 96, 128, 130};

static void every_head_dim(void **state) {
    (void)state;
    static const char *const sizes[] = {"h2 q70 k140", "q1 k197", "q65 k17 layout=bshd",
                                        "h4/2 q33 k64", "h3/1 q9 k130"};
    int wrong = 0;
    for (size_t d = 0; d < COUNT_OF(dims); d++) {
        for (size_t s = 0; s < COUNT_OF(sizes); s++) {
            char text[128];
            snprintf(text, sizeof text, "%s d%d seed=%d", sizes[s], dims[d], (int)s);
            struct test_problem problem = run_parse(text);
            wrong += backward_run_and_check(&problem, DATA_RANDOM, ONLY_OF_OUT,
                                            ALL_GRADIENTS);
        }
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
        wrong += backward_run_text(text, DATA_RANDOM);
    }
    assert_int_equal(wrong, 0);
}

/* Tiles are of 64 rows and 128 keys; one more and one less are the hard cases. */
static void every_length(void **state) {
    (void)state;
    static const int lengths[] = {1, 2, 31, 63, 64, 65, 127, 128, 129, 200, 257, 385};
    int wrong = 0;
    for (size_t n = 0; n < COUNT_OF(lengths) * COUNT_OF(lengths); n += TEST_SHARE) {
        char text[128];
        snprintf(text, sizeof text, "q%d k%d d9/7 seed=%d",
                 lengths[n / COUNT_OF(lengths)], lengths[n % COUNT_OF(lengths)],
                 (int)n);
        wrong += backward_run_text(text, DATA_RANDOM);
    }
    assert_int_equal(wrong, 0);
}

/* More rows than a block holds, more keys than fit a panel, by few threads and many. */
static void long_calls(void **state) {
    (void)state;
    static const char *const texts[] = {
        "q1300 k140 d8 threads=1 seed=1",    "q1300 k140 d8 causal threads=4 seed=1",
        "h4/1 q700 k70 d5 threads=3 seed=2", "q3 k9000 d16 threads=4 seed=3",
        "q70 k2300 d128 threads=2 seed=4",   "q2100 k50 d4/3 bias sinks alibi seed=5"};
    int wrong = 0;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        wrong += backward_run_text(texts[t], DATA_RANDOM);
    }
    assert_int_equal(wrong, 0);
}

static void layouts_and_groups(void **state) {
    (void)state;
    static const char *const heads[] = {"h6", "h6/3", "h6/1"};
    int wrong = 0;
    for (int seed = 0; seed < 18; seed++) {
        char text[128];
        snprintf(text, sizeof text, "b3 %s q41 k70 d20/9 layout=%s seed=%d",
                 heads[seed % 3], seed % 2 ? "bshd" : "bhsd", seed);
        wrong += backward_run_text(text, DATA_RANDOM);
    }
    assert_int_equal(wrong, 0);
}

/* Thousands of keys that share a row of relative_keys, a bucket or a segment, with
 * gradients of one sign: the sums of their products must not be formed one by one. */
static void sums_of_many_pairs(void **state) {
    (void)state;
    static const char *const texts[] = {
        "q2 k12000 d2 align=br relkeys seed=7",
        "q2 k12000 d2 align=br relkeys ubias vbias segments relbias=2,2 seed=11",
        "q12000 k2 d2 relkeys ubias vbias segments relbias=2,2 seed=7"};
    int wrong = 0;
    for (size_t n = 0; n < COUNT_OF(texts) * DATA_KINDS; n += TEST_SHARE) {
        struct test_problem problem = run_parse(texts[n / DATA_KINDS]);
        wrong += backward_run_and_check(&problem, (int)(n % DATA_KINDS), 1 << OF_LSE,
                                        ALL_GRADIENTS);
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
        "q0 k0 d3 alibi",
        "b2 q5 k0 sinks",
        "b2 q5 k0 d3 relbias=4,9 relkeys ubias vbias segments ranks=upto",
        "q0 k5 d3 relbias=4,9 relkeys ubias vbias segments ranks=below",
        "b0 h2 q5 k5 d3 relbias=4,9 relkeys ubias vbias segments ranks=upto",
        "q0 k5 sinks bias",
        "b0 h2 q3 k3 sinks bias alibi",
        "q5 k0 kvlens qlens causal align=br d4 mask bias dropout=0.5"};
    int wrong = 0;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        wrong += backward_run_text(texts[t], DATA_RANDOM);
    }
    assert_int_equal(wrong, 0);
}

static void hard_data(void **state) {
    (void)state;
    static const char *const texts[] = {
        "h2 q60 k300 d64 seed=1",
        "q300 k200 d32 seed=2",
        "q1 k100 d17 seed=3",
        "q70 k90 d8 causal seed=4",
        "q70 k90 d8 causal seed=5",
        "h2 q40 k260 d64 softcap=20 sinks seed=6",
        "h2 q70 k300 d16 relbias=32,128 relkeys ubias vbias segments seed=7",
        "q300 k400 d40 relkeys vbias causal align=br seed=8"};
    int wrong = 0;
    for (int data = 0; data < DATA_KINDS; data++) {
        for (size_t t = 0; t < COUNT_OF(texts); t++) {
            wrong += backward_run_text(texts[t], data);
        }
    }
    assert_int_equal(wrong, 0);
}

/* A forced engine says how the forward call works; there is one backward pass. */
static void every_engine(void **state) {
    (void)state;
    static const char *const engines[] = {"auto", "dense", "flash", "decode"};
    int wrong = 0;
    for (size_t e = 0; e < COUNT_OF(engines); e++) {
        char text[128];
        snprintf(text, sizeof text,
                 "b2 h4/2 q90 k300 d24 causal align=br bias sinks engine=%s",
                 engines[e]);
        wrong += backward_run_text(text, DATA_RANDOM);
    }
    assert_int_equal(wrong, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_head_dim),     cmocka_unit_test(value_dim_of_its_own),
        cmocka_unit_test(every_length),       cmocka_unit_test(long_calls),
        cmocka_unit_test(layouts_and_groups), cmocka_unit_test(sums_of_many_pairs),
        cmocka_unit_test(sizes_of_zero),      cmocka_unit_test(hard_data),
        cmocka_unit_test(every_engine),
    };
    int skip = run_skip_isa();
    return skip != 0 ? skip : cmocka_run_group_tests(tests, NULL, NULL);
}
