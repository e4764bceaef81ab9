/*
 * Masked values reach no gradient: NaN, infinity and the largest numbers in every
 * masked place, of the inputs and of the gradients that come in, leave the bits that
 * zeros there give. And rows that attend nothing have gradient 0.
 */
#include <math.h>

#include "tests/support/backward.h"
#include "tests/support/compose.h"
#include "tests/support/element.h"
#include "tests/support/oracle.h"
#include "tests/support/poison.h"
#include "tests/support/run.h"

static void open_poisoned(struct test_backward *call,
                          const struct test_problem *problem, int data, unsigned given,
                          int poison, int64_t *count) {
    backward_open_on(call, NULL, problem, data, ALL_INCOMING, ALL_GRADIENTS);
    *count += poison_masked(&call->forward.inputs, poison);
    *count += poison_incoming(&call->forward.inputs, &call->incoming, poison);
    for (int w = 0; w < INCOMING; w++) {
        if ((given >> w & 1) == 0) {
            call->incoming.tensor[w].rank = 0;
        }
    }
    incoming_give(&call->incoming, &call->args);
    call->forward.args.out = &call->forward.outputs.tensor[OUT];
    backward_forward(call);
}

/* Overwritten numbers; the tests that call this need some. */
static int64_t poison_and_compare(const struct test_problem *problem, int data,
                                  unsigned given) {
    struct test_backward zero, poisoned;
    int64_t count = 0;
    open_poisoned(&zero, problem, data, given, POISON_ZERO, &count);
    backward_run(&zero);
    assert_int_equal(backward_check(&zero), 0);
    for (int poison = POISON_NAN; poison < POISONS; poison++) {
        open_poisoned(&poisoned, problem, data, given, poison, &count);
        backward_need_same(&zero, &poisoned);
        backward_close(&poisoned);
    }
    backward_close(&zero);
    return count;
}

static void each_mask(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b2 h2 q40 k300 d24 kvlens seed=1",
        "b3 h2 q90 k40 d24 qlens seed=2",
        "h2 q150 k150 d8 causal seed=3",
        "q33 k400 d64 window=10,5 align=br seed=4",
        "b2 h4/2 q70 k270 d17 docs seed=5",
        "h2 q64 k256 d32 block=16x64 seed=6",
        "b2 q140 k130 d16 mask seed=7",
        "b2 h2 q40 k130 d16 bias kvlens qlens seed=8",
        "q100 k100 d8 causal prefix kvlens bias seed=9",
        "b2 h2 q65 k200 d40 kvlens layout=bshd bias causal align=br seed=10",
        "q1 k300 d64 kvlens causal seed=11",
        "b4 h2 q30 k60 d8 qlens kvlens sinks alibi softcap=4 docs dropout=0.3 seed=12",
        "b2 h2 q70 k140 d8 causal align=offsets sinks seed=13",
        "b3 h2 q60 k150 d8 ranks=below qlens kvlens ubias seed=14",
        "b2 h2 q150 k150 d16 ranks=upto relkeys ubias vbias segments seed=15",
        "b2 h4/2 q33 k140 d8 segments qlens kvlens docs seed=16"};
    const unsigned given[] = {ONLY_OF_OUT, ALL_INCOMING,
                              1 << OF_LSE | 1 << OF_KEY_SUMS};
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_problem problem = run_parse(texts[t]);
        for (size_t g = 0; g < COUNT_OF(given); g++) {
            /* A problem that masks nothing proves nothing: take the next that does. */
            while (poison_and_compare(&problem, DATA_RANDOM, given[g]) == 0) {
                problem.seed += 100;
            }
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
        assert_true(poison_and_compare(&problem, DATA_RANDOM, ALL_INCOMING) > 0);
    }
}

static void random_problems(void **state) {
    (void)state;
    int useful = 0;
    for (uint64_t number = 9000; number < 9120; number += TEST_SHARE) {
        int data;
        struct test_problem problem = compose_differentiable(number, &data);
        unsigned given = number % 2 ? ALL_INCOMING : 1 + number / 2 % ALL_INCOMING;
        useful += poison_and_compare(&problem, data, given) > 0;
    }
    assert_true(useful > 60 / TEST_SHARE);
}

/* Rows without keys: by lengths, documents, a window beyond the keys, and a mask. */
static void empty_rows_have_no_gradient(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b4 h2 q20 k30 d8 qlens kvlens seed=1",
        "b2 h2 q70 k9 d8 docs sinks seed=12",
        "h2 q90 k20 d8 window=3,3 bias seed=3",
        "b2 h3 q5 k2 d8 mask alibi seed=4",
        "b3 h2 q150 k40 d8 causal align=br sinks seed=5",
        "b2 h2 q70 k60 d8 ranks=below relkeys ubias vbias segments seed=6"};
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_backward call;
        int64_t empty = 0;
        struct test_problem problem = run_parse(texts[t]);
        const struct test_problem *p = &problem;
        open_poisoned(&call, p, DATA_RANDOM, ALL_INCOMING, POISON_NAN, &empty);
        backward_run(&call);
        assert_int_equal(backward_check(&call), 0);
        empty = 0;
        for (int64_t n = 0; n < p->batch * p->q_heads * p->q_length; n++) {
            int64_t b = n / p->q_length / p->q_heads, h = n / p->q_length % p->q_heads;
            int64_t i = n % p->q_length, keys = 0;
            for (int64_t j = 0; j < p->kv_length; j++) {
                keys += oracle_attends(&call.forward.inputs, b, h, i, j);
            }
            const attn_tensor *query = &call.gradients.tensor[GRAD_QUERY];
            for (int32_t c = 0; c < p->key_dim && keys == 0; c++) {
                assert_true(element_float(query, b, h, i, c) == 0);
            }
            empty += keys == 0;
        }
        if (empty == 0) {
            fail_msg("no row of \"%s\" is empty", texts[t]);
        }
        backward_close(&call);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_mask),
        cmocka_unit_test(each_table),
        cmocka_unit_test(random_problems),
        cmocka_unit_test(empty_rows_have_no_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
