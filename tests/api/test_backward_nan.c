/*
 * A NaN or infinity that is attended reaches exactly the gradients that it must: those
 * turn to NaN as the oracle says, and all others keep the bits they had without it.
 */
#include <math.h>
#include <string.h>

#include "tests/support/backward.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/oracle_backward.h"
#include "tests/support/oracle_relative.h"
#include "tests/support/run.h"

static struct test_backward clean, dirty;

/* Everything in which a number may be bad. (Whether a weight that is NaN and dropped
 * reaches a gradient is left open, so there is no dropout here.) */
enum { IN_QUERY, IN_KEY, IN_VALUE, IN_OUT, IN_LSE, IN_WEIGHTS, IN_KEY_SUMS, PLACES };

static attn_tensor *place_of(struct test_backward *call, int place) {
    attn_tensor *const places[PLACES] = {
        &call->forward.inputs.query,         &call->forward.inputs.key,
        &call->forward.inputs.value,         &call->incoming.tensor[OF_OUT],
        &call->incoming.tensor[OF_LSE],      &call->incoming.tensor[OF_WEIGHTS],
        &call->incoming.tensor[OF_KEY_SUMS],
    };
    return places[place];
}

/* Whether a bad number is in the sum for element n of a gradient, or for one that lies
 * beside it in the gradient of a query, key or value: those are added up together. */
static int is_touched(const struct oracle_gradients *oracle, int output, int64_t n) {
    int64_t width = output <= GRAD_VALUE ? oracle->shape[output].shape[3] : 1;
    int64_t first = n / width * width;
    int touched = 0;
    for (int64_t c = first; c < first + width; c++) {
        touched = touched || !isfinite(oracle->sum[output][c].value);
    }
    return touched;
}

/* Elements that differ from the clean ones must be touched, and all right. Returns how
 * many are touched, and how many are not. */
static void compare(int64_t *hit, int64_t *missed) {
    struct oracle_gradients oracle;
    oracle_gradients_open(&oracle, &dirty.forward.inputs, &dirty.incoming, 1);
    for (int o = GRAD_QUERY; o < SLOTS; o++) {
        const attn_tensor *tensor = &dirty.gradients.tensor[o];
        for (int64_t n = 0; n < element_count(tensor); n++) {
            const float *after = element_nth(tensor, n);
            const float *before = element_nth(&clean.gradients.tensor[o], n);
            int touched = is_touched(&oracle, o, n);
            if (!touched && memcmp(after, before, sizeof *after) != 0) {
                check_print_problem("differs", &dirty.forward.inputs);
                fail_msg("%s, element %d was %.9g, is %.9g, expected %.9g",
                         outputs_name(o), (int)n, (double)*before, (double)*after,
                         oracle.sum[o][n].value);
            }
            *hit += touched;
            *missed += !touched;
        }
    }
    oracle_gradients_close(&oracle);
    assert_int_equal(backward_check(&dirty), 0);
}

static const char *const texts[] = {
    "b2 h4/2 q150 k200 d8 causal seed=21",
    "b2 h2 q70 k300 d9 window=9,9 bias seed=22",
    "b2 h4/2 q40 k90 d6 mask seed=23",
    "b2 h2 q64 k128 d8 docs layout=bshd seed=25",
    "b2 h2 q33 k70 d8 block=8x8 alibi seed=26",
    "b2 h2 q66 k300 d4 seed=27",
    "b2 h2 q90 k90 d7 causal sinks alibi softcap=9 seed=28",
    "b2 h2 q40 k140 d8 qlens kvlens seed=30",
    "b2 h2 q70 k140 d8 relkeys ubias vbias window=20,9 seed=31",
    "b2 h4/2 q70 k140 d7 relkeys segments docs seed=32",
    "b2 h2 q70 k140 d8 relbias=32,128 bidir segments ubias ranks=upto seed=33",
    "b2 h2 q70 k140 d8 additive causal seed=34",
    "b2 h4/2 q70 k140 d19 additive mask sinks seed=35"};

static const int64_t rows[] = {0, 13, 39}, keys[] = {3, 63, 64};

/* Puts a number in a place in batch element 1 and head 1 or group 1. */
static void bad_number_in(int place, float number) {
    int64_t hit = 0, missed = 0;
    for (size_t n = 0; n < COUNT_OF(texts) * 3; n++) {
        const char *text = texts[n / 3];
        backward_open(&clean, text, ALL_INCOMING, ALL_GRADIENTS);
        backward_open(&dirty, text, ALL_INCOMING, ALL_GRADIENTS);
        int64_t i = rows[n % 3] % clean.forward.inputs.problem.q_length,
                j = keys[n % 3];
        attn_tensor *tensor = place_of(&dirty, place);
        int64_t last = place == IN_WEIGHTS ? j : 1;
        int64_t row = place == IN_KEY || place == IN_VALUE ? j : i;
        if (place == IN_LSE || place == IN_KEY_SUMS) {
            row = 1;
            last = place == IN_LSE ? i : j;
        }
        *(float *)element_at(tensor, 1, 1, row, last) = number;
        backward_forward(&dirty);
        backward_run(&clean);
        backward_run(&dirty);
        compare(&hit, &missed);
        backward_close(&clean);
        backward_close(&dirty);
    }
    assert_true(hit > 1000 && missed > 10000);
}

static void nan_in_tables(void **state) {
    (void)state;
    static const char *const words[] = {
        "b2 h2 q100 k200 d8 relbias=32,128 causal align=br seed=33",
        "b2 h4/2 q100 k200 d8 relkeys ubias vbias window=40,40 seed=34",
        "h2 q100 k300 d7 relkeys vbias causal align=br softcap=9 seed=35",
        "b2 h2 q90 k150 d8 segments docs align=br seed=36"};
    int64_t hit = 0, missed = 0;
    for (size_t t = 0; t < COUNT_OF(words); t++) {
        backward_open(&clean, words[t], ALL_INCOMING, ALL_GRADIENTS);
        backward_open(&dirty, words[t], ALL_INCOMING, ALL_GRADIENTS);
        *oracle_looked_up(&dirty.forward.inputs, 0, 1, 30, 64) = NAN;
        backward_forward(&dirty);
        backward_run(&clean);
        backward_run(&dirty);
        compare(&hit, &missed);
        backward_close(&clean);
        backward_close(&dirty);
    }
    assert_true(hit > 1000 && missed > 10000);
}

static void nan_in_inputs(void **state) {
    (void)state;
    bad_number_in(IN_QUERY, NAN);
    bad_number_in(IN_KEY, NAN);
    bad_number_in(IN_VALUE, NAN);
}

static void nan_in_gradients(void **state) {
    (void)state;
    bad_number_in(IN_OUT, NAN);
    bad_number_in(IN_LSE, NAN);
    bad_number_in(IN_WEIGHTS, NAN);
    bad_number_in(IN_KEY_SUMS, NAN);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nan_in_inputs),
        cmocka_unit_test(nan_in_gradients),
        cmocka_unit_test(nan_in_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
