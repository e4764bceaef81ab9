/*
 * Masked values never arrive: NaN, infinity and the largest numbers in every masked
 * place leave the results with the bits that zeros there give.
 */
#include <math.h>

#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/compose.h"
#include "tests/support/poison.h"
#include "tests/support/run.h"

/* Raw and capped scores are of masked pairs too. */
enum { MASKED_OUTPUTS = ALL_OUTPUTS & ~(1 << RAW_SCORES | 1 << CAPPED_SCORES) };

/* Overwritten numbers; the tests that call this need some. */
static int64_t poison_and_compare(const struct test_problem *problem, int data) {
    int64_t count = 0;
    struct test_problem p = *problem;
    for (p.engine = ATTN_ENGINE_AUTO; p.engine <= run_last_engine(&p); p.engine++) {
        struct test_call zero;
        call_open_on(&zero, NULL, &p, data, MASKED_OUTPUTS);
        poison_masked(&zero.inputs, POISON_ZERO);
        call_run(&zero);
        assert_int_equal(check_outputs(&zero.inputs, &zero.outputs), 0);
        for (int poison = POISON_NAN; poison < POISONS; poison++) {
            struct test_call poisoned;
            call_open_on(&poisoned, NULL, &p, data, MASKED_OUTPUTS);
            count += poison_masked(&poisoned.inputs, poison);
            call_need_same(&zero, &poisoned);
            call_close(&poisoned);
        }
        call_close(&zero);
    }
    return count;
}

static void each_mask(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b2 h2 q40 k300 d24 kvlens seed=1", "b3 h2 q90 k40 d24 qlens seed=2",
        "h2 q50 k300 d8 causal seed=3", "q33 k400 d64 window=10,5 align=br seed=4",
        "b2 h4/2 q70 k270 d17 docs seed=5", "h2 q64 k256 d32 block=16x64 seed=6",
        "b2 q40 k130 d16 mask seed=7", "b2 h2 q40 k130 d16 bias kvlens qlens seed=8",
        "q100 k100 d8 causal prefix kvlens bias seed=9",
        "b2 h2 q5 k700 d40 kvlens layout=bshd bias causal align=br seed=10",
        "q1 k300 d64 kvlens causal seed=11",
        "b4 h2 q30 k60 d8 qlens kvlens sinks alibi softcap=4 docs seed=12",
        "b2 h4/2 q70 k200 d16 causal align=br kvlens dropout=0.4 seed=13",
        "b3 h2 q60 k150 d8 ranks=below qlens kvlens ubias seed=14",
        "b2 h2 q150 k150 d16 ranks=upto relkeys ubias vbias segments seed=15",
        "b2 h4/2 q33 k140 d8 segments qlens kvlens docs seed=16",
        "b2 h4/2 q40 k300 d24 kvlens causal align=br key=f16 value=bf16 seed=17",
        "b2 h2 q40 k130 d16 mask key=i8 value=i8 query=f16 out=bf16 seed=18",
        "b2 h4/2 q3 k700 d40 window=100,0 align=br key=i8 value=i8 seed=19",
        "b2 h2 q2 k300 d17 bias kvlens qlens key=bf16 value=f16 out=f16 seed=20",
        "b2 h4/1 q1 k1500 d8 docs key=i8 value=f16 query=bf16 seed=21",
        "b3 h2 q70 k90 d8 ranks=below kvlens value=i8 out=f16 seed=22",
        "b5 h2 q40 k150 d16 qpacked kpacked causal align=br seed=23",
        "b4 h4/2 q3 k900 d24 qpacked kpacked key=i8 value=i8 window=9,0 align=br",
        "b3 h2 q20 k90 d8 kpacked qlens key=f16 value=bf16 out=f16 seed=25",
        /* long enough for products of pieces */
        "b2 h2 q90 k300 d40/33 kvlens causal bias seed=26",
        "b2 h4/2 q200 k333 d32/64 docs qlens kvlens seed=27",
        "h2 q100 k700 d64 block=16x64 seed=28",
        "q170 k170 d48 mask dropout=0.2 seed=29",
        "b2 h2 q60 k600 d64 window=100,20 align=br layout=bshd value=bf16 seed=30",
        "b3 h2 q150 k200 d40 qpacked kpacked causal align=br seed=31"};
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_problem problem = run_parse(texts[t]);
        /* A problem that masks nothing proves nothing: take the next seed that does. */
        while (poison_and_compare(&problem, DATA_RANDOM) == 0) {
            problem.seed += 100;
        }
    }
}

/* What only masked pairs look up, in each table of which there may be such a part. */
static void each_table(void **state) {
    (void)state;
#define TABLE(text, member)                                                            \
    { text, offsetof(struct test_inputs, member) }
    static const struct {
        const char *text;
        size_t tensor;
    } cases[] = {
        TABLE("b2 h4/2 q40 k300 d16 relbias=32,128 bidir causal seed=1", relative_bias),
        TABLE("h2 q150 k200 d8 relbias=64,300 window=30,2 softcap=2 seed=2",
              relative_bias),
        TABLE("b2 h2 q70 k200 d8 relkeys vbias window=9,3 seed=3", relative_keys),
        TABLE("h4 q150 k150 d24 relkeys causal align=br ubias kvlens seed=4",
              relative_keys),
        TABLE("b2 h2 q50 k140 d8 relkeys mask segments seed=5", relative_keys),
        TABLE("b2 h2 q9 k9 d8 segments window=0,0 seed=6", segment_keys),
        TABLE("h2 q5 k7 d8 segments ranks=below kvlens seed=7", segment_keys),
        TABLE("h3 q20 k70 d8 ubias block=20x70 seed=8", content_bias),
        TABLE("h3 q20 k70 d8 additive block=20x70 seed=8", score_vector),
        TABLE("h3 q20 k70 d8 relkeys vbias block=20x70 seed=9", position_bias),
        TABLE("h3 q20 k70 d8 segments block=20x70 seed=10", segment_bias)};
#undef TABLE
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        struct test_problem problem = run_parse(cases[c].text);
        while (!poison_reaches(&problem, DATA_RANDOM, cases[c].tensor)) {
            problem.seed += 100;
        }
        assert_true(poison_and_compare(&problem, DATA_RANDOM) > 0);
    }
}

static void random_problems(void **state) {
    (void)state;
    int useful = 0;
    for (uint64_t number = 9000; number < 9150; number += TEST_SHARE) {
        int data;
        struct test_problem problem = compose_problem(number, &data);
        useful += poison_and_compare(&problem, data) > 0;
    }
    assert_true(useful > 60 / TEST_SHARE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_mask),
        cmocka_unit_test(each_table),
        cmocka_unit_test(random_problems),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
