/*
 * Backward calls in parts: each gradient that comes in alone and every set of them,
 * each gradient that goes out alone, what is taken from the forward call, and
 * gradients that are added to what is there.
 */
#include <math.h>
#include <string.h>

#include "tests/support/backward.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/oracle_backward.h"
#include "tests/support/run.h"

static const char *const texts[] = {
    "b2 h4/2 q70 k150 d9/5 causal bias alibi sinks softcap=3 dropout=0.3 seed=1",
    "b2 h2 q9 k20 d8 bias alibi sinks qlens kvlens docs threads=2 seed=2",
    "h3/1 q330 k264 d16 alibi sinks layout=bshd threads=3 seed=3",
    "b2 h4/2 q70 k150 d9/5 relbias=9,30 relkeys ubias vbias segments softcap=3 seed=4",
    "b2 h2 q80 k70 d8 relbias=8,20 bidir relkeys vbias segments ranks=upto seed=5"};

static void every_set_of_incoming(void **state) {
    (void)state;
    int wrong = 0;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_problem problem = run_parse(texts[t]);
        for (unsigned given = 1; given <= ALL_INCOMING; given++) {
            wrong +=
                backward_run_and_check(&problem, DATA_RANDOM, given, ALL_GRADIENTS);
        }
    }
    assert_int_equal(wrong, 0);
}

static unsigned how_many(const struct test_backward *call) {
    unsigned count = 0;
    for (int o = GRAD_QUERY; o < SLOTS; o++) {
        count += call->gradients.tensor[o].rank > 0;
    }
    return count;
}

/* The gradients of a call that are in a set, of which bit n stands for the n-th. */
static unsigned nth_ones(const struct test_backward *call, unsigned set) {
    unsigned wanted = 0;
    for (unsigned o = GRAD_QUERY; o < SLOTS; o++) {
        if (call->gradients.tensor[o].rank > 0) {
            wanted |= (set & 1) << o;
            set >>= 1;
        }
    }
    return wanted;
}

/* Which gradients are asked for changes no bit of those that are. */
static void every_set_of_outgoing(void **state) {
    (void)state;
    const unsigned incoming[] = {ONLY_OF_OUT, ALL_INCOMING};
    for (size_t n = 0; n < COUNT_OF(texts) * COUNT_OF(incoming); n++) {
        const char *text = texts[n / COUNT_OF(incoming)];
        unsigned given = incoming[n % COUNT_OF(incoming)];
        struct test_backward all, few;
        backward_open(&all, text, given, ALL_GRADIENTS);
        for (unsigned set = 1; set < 1u << how_many(&all); set += TEST_SHARE) {
            backward_open(&few, text, given, nth_ones(&all, set));
            backward_need_same(&all, &few);
            assert_true(outputs_whole(&few.gradients));
            backward_close(&few);
        }
        backward_close(&all);
    }
}

/* The weights come from row_max and row_sum if both are there, else from LSE. */
static void statistics_of_the_forward_call(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_backward all, few;
        backward_open(&all, texts[t], ALL_INCOMING, ALL_GRADIENTS);
        backward_open(&few, texts[t], ALL_INCOMING, ALL_GRADIENTS);
        const attn_tensor *tensors = few.forward.outputs.tensor;
        attn_forward_args *args = &few.forward.args;
        all.forward.args.lse = &all.forward.outputs.tensor[LSE];
        all.forward.args.row_max = &all.forward.outputs.tensor[ROW_MAX];
        all.forward.args.row_sum = &all.forward.outputs.tensor[ROW_SUM];
        args->lse = NULL;
        args->row_max = &tensors[ROW_MAX];
        args->row_sum = &tensors[ROW_SUM];
        backward_need_same(&all, &few);
        assert_int_equal(backward_check(&few), 0);

        args->lse = &tensors[LSE];
        args->row_max = NULL;
        backward_run(&few);
        assert_int_equal(backward_check(&few), 0);
        args->row_max = &tensors[ROW_MAX];
        args->row_sum = NULL;
        backward_run(&few);
        assert_int_equal(backward_check(&few), 0);
        backward_close(&all);
        backward_close(&few);
    }
}

/* out is needed only for grad_out; other outputs of the forward call not at all, and
 * what its members say of workspace and stopping is not looked at. */
static void what_is_not_looked_at(void **state) {
    (void)state;
    struct test_backward with, without;
    backward_open(&with, texts[0], ALL_INCOMING & ~ONLY_OF_OUT, ALL_GRADIENTS);
    backward_open(&without, texts[0], ALL_INCOMING & ~ONLY_OF_OUT, ALL_GRADIENTS);
    attn_forward_args *args = &with.forward.args;
    attn_tensor nonsense = {.rank = 99, .dtype = -3};
    args->out = &with.forward.outputs.tensor[OUT];
    without.forward.args.out = NULL;
    args->weights = args->mean_weights = args->key_sums = &nonsense;
    args->raw_scores = args->capped_scores = args->biased_scores = &nonsense;
    args->dropout_mask = &nonsense;
    args->workspace = &nonsense;
    args->workspace_size = -5;
    backward_need_same(&with, &without);
    backward_close(&with);
    backward_close(&without);
}

/* ---------------------------------------------------------------- accumulate */

/* Fills gradients with numbers that start(n) gives. */
static void fill(const struct test_outputs *gradients, float (*start)(int64_t n)) {
    for (int o = GRAD_QUERY; o < SLOTS; o++) {
        for (int64_t n = 0; n < element_count(&gradients->tensor[o]); n++) {
            *(float *)element_nth(&gradients->tensor[o], n) = start(n);
        }
    }
}

static float zero(int64_t n) {
    (void)n;
    return 0;
}

static float wave(int64_t n) {
    return 4 * cosf((float)n);
}

/* Adding to 0 is the same as overwriting. */
static void added_to_zero(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_backward plain, added;
        backward_open(&plain, texts[t], ALL_INCOMING, ALL_GRADIENTS);
        backward_open(&added, texts[t], ALL_INCOMING, ALL_GRADIENTS);
        backward_run(&plain);
        fill(&added.gradients, zero);
        added.args.accumulate = 1;
        run_need(attn_plan_backward(added.forward.plan, &added.args),
                 &added.forward.inputs.problem, "attn_plan_backward");
        assert_true(outputs_all_same(&plain.gradients, &added.gradients));
        assert_true(outputs_whole(&added.gradients));
        backward_close(&plain);
        backward_close(&added);
    }
}

/* The old numbers are one more term of each sum. */
static void check_sums(const struct test_outputs *gradients,
                       const struct oracle_gradients *oracle,
                       float (*start)(int64_t n)) {
    for (int o = GRAD_QUERY; o < SLOTS; o++) {
        for (int64_t n = 0; n < element_count(&gradients->tensor[o]); n++) {
            struct oracle_sum sum = oracle->sum[o][n];
            double got = *(const float *)element_nth(&gradients->tensor[o], n);
            sum.value += start(n);
            sum.size += fabs((double)start(n));
            if (!check_number(got, sum.value, oracle_gradient_bound(&sum))) {
                fail_msg("%s, element %d: %.9g, expected %.9g", outputs_name(o), (int)n,
                         got, sum.value);
            }
        }
    }
}

static void added_to_numbers(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_backward call;
        struct oracle_gradients oracle;
        backward_open(&call, texts[t], ALL_INCOMING, ALL_GRADIENTS);
        fill(&call.gradients, wave);
        call.args.accumulate = 1;
        run_need(attn_plan_backward(call.forward.plan, &call.args),
                 &call.forward.inputs.problem, "attn_plan_backward");
        oracle_gradients_open(&oracle, &call.forward.inputs, &call.incoming, 1);
        check_sums(&call.gradients, &oracle, wave);
        oracle_gradients_close(&oracle);
        assert_true(outputs_whole(&call.gradients));
        backward_close(&call);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_of_incoming),
        cmocka_unit_test(every_set_of_outgoing),
        cmocka_unit_test(statistics_of_the_forward_call),
        cmocka_unit_test(what_is_not_looked_at),
        cmocka_unit_test(added_to_zero),
        cmocka_unit_test(added_to_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
