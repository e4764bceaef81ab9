/*
 * Few queries against many keys, by the decode engine, which sequences of up to eight
 * queries get by themselves: lengths around tiles and splits, groups that do and do not
 * fit in a stack, head dimensions, layouts, masks. Also run with each ATTN_ISA.
 */
#include <stdio.h>

#include "tests/support/run.h"

enum { FEW_OUTPUTS = 1 << OUT | 1 << LSE | 1 << ROW_MAX | 1 << ROW_SUM };

/* By itself and forced. */
static int check_text(const char *text, unsigned wanted) {
    struct test_problem problem = run_parse(text);
    int wrong = run_and_check(&problem, DATA_RANDOM, wanted);
    problem.engine = ATTN_ENGINE_DECODE;
    return wrong + run_and_check(&problem, DATA_RANDOM, wanted);
}

static void every_length(void **state) {
    (void)state;
    static const int keys[] = {0,    1,    127,  128,  129,   1023,
                               1024, 1025, 4097, 9000, 20000, 70000};
    static const int queries[] = {1, 2, 7, 8, 9};
    static const char *const words[] = {"", "causal align=br", "h4/2 kvlens"};
    const size_t cases = COUNT_OF(keys) * COUNT_OF(queries);
    int wrong = 0;
    for (size_t n = 0; n < cases; n += TEST_SHARE) {
        char text[128];
        snprintf(text, sizeof text, "q%d k%d d16 %s seed=%d",
                 queries[n % COUNT_OF(queries)], keys[n / COUNT_OF(queries)],
                 words[n % COUNT_OF(words)], (int)n);
        wrong += check_text(text, n % 4 == 0 ? ALL_OUTPUTS : FEW_OUTPUTS);
    }
    assert_int_equal(wrong, 0);
}

/* More heads than one stack takes, and rows that leave part of it empty. */
static void every_group(void **state) {
    (void)state;
    static const int groups[] = {1, 2, 3, 4, 5, 7, 8, 16, 71};
    static const int queries[] = {1, 2, 3, 8};
    int wrong = 0;
    for (size_t n = 0; n < COUNT_OF(groups) * COUNT_OF(queries); n += TEST_SHARE) {
        char text[128];
        snprintf(text, sizeof text, "b2 h%d/%d q%d k1200 d8 causal align=br seed=%d",
                 groups[n / 4] * (n % 3 == 0 ? 2 : 1), n % 3 == 0 ? 2 : 1,
                 queries[n % 4], (int)n);
        wrong += check_text(text, ALL_OUTPUTS);
    }
    assert_int_equal(wrong, 0);
}

static void every_head_dim(void **state) {
    (void)state;
    static const int dims[] = {1, 3, 16, 40, 64, 80, 128, 256, 300};
    static const char *const sizes[] = {"b2 h6/2 q2 k150", "h3 q1 k1100",
                                        "b2 h4/2 q5 k129 layout=bshd"};
    int wrong = 0;
    for (size_t d = 0; d < COUNT_OF(dims); d++) {
        for (size_t s = 0; s < COUNT_OF(sizes); s++) {
            char text[128];
            snprintf(text, sizeof text, "%s d%d/%d seed=%d", sizes[s], dims[d],
                     dims[s == 1 ? d : COUNT_OF(dims) - 1 - d], (int)(d + s));
            wrong += check_text(text, ALL_OUTPUTS);
        }
    }
    assert_int_equal(wrong, 0);
}

/* Some heads of a stack masked where others are not, splits without keys. */
static void masks_of_long_keys(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b3 h4/2 q3 k3000 d24 window=20,5 align=br kvlens",
        "b2 h6/2 q1 k5000 d16 window=2000,-1 align=offsets sinks",
        "b3 h2 q7 k2500 d8 causal align=br qlens kvlens sinks",
        "b2 h4/2 q4 k3000 d16 docs kvlens",
        "b2 h4/2 q2 k3000 d16 block=1x500 sinks",
        "b2 h8/2 q3 k3000 d16 mask alibi",
        "b2 h4/1 q5 k2100 d16 bias softcap=3 mask",
        "b2 h4/2 q6 k3000 d16 dropout=0.4 causal align=br",
        "b2 h4/2 q2 k3000 d16 relkeys ubias vbias relbias=32,128 segments align=br",
        "h6/3 q8 k1500 d16 ranks=below causal prefix align=br kvlens",
        "b4 h5/5 q1 k2100 d16 ubias kvlens causal align=kvlens"};
    int wrong = 0;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        for (int seed = 0; seed < 3; seed++) {
            char text[128];
            snprintf(text, sizeof text, "%s seed=%d", texts[t], seed);
            wrong += check_text(text, seed == 0 ? ALL_OUTPUTS : FEW_OUTPUTS);
        }
    }
    assert_int_equal(wrong, 0);
}

static void hard_data(void **state) {
    (void)state;
    static const char *const texts[] = {
        "h4/2 q1 k2500 d64 seed=1", "q8 k700 d32 sinks seed=2",
        "b2 h4/2 q3 k3000 d17 causal align=br kvlens seed=3",
        "h2 q2 k1200 d16 softcap=20 relbias=32,128 seed=4"};
    int wrong = 0;
    for (int data = 0; data < DATA_KINDS; data++) {
        for (size_t t = 0; t < COUNT_OF(texts); t++) {
            struct test_problem problem = run_parse(texts[t]);
            wrong += run_and_check(&problem, data, ALL_OUTPUTS);
        }
    }
    assert_int_equal(wrong, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length),   cmocka_unit_test(every_group),
        cmocka_unit_test(every_head_dim), cmocka_unit_test(masks_of_long_keys),
        cmocka_unit_test(hard_data),
    };
    int skip = run_skip_isa();
    return skip != 0 ? skip : cmocka_run_group_tests(tests, NULL, NULL);
}
