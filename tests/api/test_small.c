/*
 * The small engine: it stands in for the dense one where heads have few keys, and no
 * call can tell by its results. Calls that ask for a profile are computed in steps, so
 * every problem runs with and without, at sizes around those where the plan changes its
 * mind.
 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/run.h"
#include "tests/support/test.h"

/* Up to how many keys a plan takes the small engine; 0: it never does. */
static int64_t small_keys(const attn_plan *plan) {
    char text[8192];
    assert_true(attn_plan_explain(plan, text, sizeof text) < sizeof text);
    const char *line = strstr(text, "engine: small");
    const char *keys = line != NULL ? strstr(line, "up to ") : NULL;
    assert_true((line == NULL) == (keys == NULL));
    return keys != NULL ? strtoll(keys + strlen("up to "), NULL, 10) : 0;
}

/* Keys of plain problems with this processor's vectors. */
static int64_t most_keys(void) {
    struct test_call call;
    call_open(&call, "h2 q40 k40 d16", ONLY_OUT);
    const int64_t keys = small_keys(call.plan);
    call_close(&call);
    return keys;
}

static struct test_call whole, steps;
static attn_profile profile;

/* On this context, or on two of their own. */
static void open_on(attn_context *context, const char *words, int64_t rows,
                    int64_t keys, int data, unsigned wanted) {
    char text[256];
    (void)snprintf(text, sizeof text, "%s q%lld k%lld", words, (long long)rows,
                   (long long)keys);
    const struct test_problem problem = run_parse(text);
    call_open_on(&whole, context, &problem, data, wanted);
    call_open_on(&steps, context, &problem, data, wanted);
    assert_int_equal(attn_profile_init(&profile, sizeof profile), ATTN_OK);
    steps.args.profile = &profile;
}

static void open_both(const char *words, int64_t rows, int64_t keys, unsigned wanted) {
    open_on(NULL, words, rows, keys, DATA_RANDOM, wanted);
}

/* Makes both calls, which must agree with each other and with the oracle. */
static void compare(void) {
    call_need_same(&whole, &steps);
    assert_int_equal(check_outputs(&whole.inputs, &whole.outputs), 0);
}

static void close_both(void) {
    call_close(&whole);
    call_close(&steps);
}

enum { LENGTHS = 6 }; /* texts from this one on have lengths or offsets */
static const char *const texts[] = {
    "b2 h4 d32 threads=1 seed=1",
    "h12 d64 causal seed=2",
    "b2 h6/2 d40/24 layout=bshd causal align=br threads=2 seed=3",
    "h3 d7/65 window=5,3 seed=4",
    "h2 d1 scale=50 seed=5",
    "h2 d200/8 causal seed=6",
    "b3 h2 d16 qlens kvlens causal align=kvlens seed=7",
    "b2 h4/1 d8/1 window=2,0 align=offsets seed=8",
    "b3 h2 d24 qpacked kpacked causal align=br seed=9",
};

static void bits_are_those_of_steps(void **state) {
    (void)state;
    const int64_t most = most_keys();
    const int64_t rows[] = {9, 15, 16, 17, 33, 64, 65};
    assert_true(most > 0);
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        const bool packed = strstr(texts[t], "packed") != NULL;
        const unsigned wanted = packed ? ONLY_OUT : ALL_OUTPUTS;
        for (size_t r = 0; r < COUNT_OF(rows); r++) {
            for (int64_t keys = 1; keys <= most + 1; keys += keys < 3 ? 1 : 3) {
                open_both(texts[t], rows[r], keys, wanted);
                compare();
                close_both();
                open_both(texts[t], rows[r], keys, ONLY_OUT);
                compare();
                /* where lengths and offsets leave something to attend to */
                assert_true(t >= LENGTHS || profile.scores > 0);
                close_both();
                /* sums that come to -0 */
                open_on(NULL, texts[t], rows[r], keys, DATA_TINY, wanted);
                compare();
                close_both();
            }
        }
    }
}

/* Problems that are more than products and a softmax are left to the dense engine. */
static void others_are_not_small(void **state) {
    (void)state;
    static const char *const words[] = {
        "h2 d8 bias",         "h2 d8 mask",        "h2 d8 alibi",
        "h2 d8 sinks",        "h2 d8 docs",        "h2 d8 causal prefix",
        "h2 d8 softcap=9",    "h2 d8 dropout=0.2", "h2 d8 engine=flash",
        "h2 d8 engine=dense",
    };
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        open_both(words[i], 20, 2, ALL_OUTPUTS);
        assert_int_equal(small_keys(whole.plan), 0);
        compare();
        close_both();
    }
}

/* Tiles and products may be shorter than what the small engine can take. */
static void other_tiles(void **state) {
    (void)state;
    static const int tiles[][2] = {{16, 128}, {128, 16}, {16, 16}, {32, 64}};
    for (size_t t = 0; t < COUNT_OF(tiles); t++) {
        char entry[128];
        (void)snprintf(entry, sizeof entry,
                       "entry 16 16 1 64 %d 16 %d 512 0 1 %d 0 0 0 0", tiles[t][0],
                       tiles[t][1], (int)(t % 2));
        attn_context *context = run_context_tuned(entry);
        for (int64_t keys = 1; keys <= 40; keys += 3) {
            open_on(context, "b2 h2 d16", 21, keys, DATA_RANDOM, ALL_OUTPUTS);
            compare();
            close_both();
        }
        attn_context_destroy(context);
    }
}

static void set_value(struct test_call *call, int64_t h, int64_t key, float number) {
    *(float *)element_at(&call->inputs.value, 0, h, key, 0) = number;
}

/* What no row attends reaches none, whatever it is; what one attends reaches it. */
static void values_that_are_not_numbers(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    const int64_t most = most_keys();
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        for (int causal = 0; causal <= 1; causal++) {
            open_both(causal ? "h2 d8 causal" : "h2 d8", 20, most, ALL_OUTPUTS);
            set_value(&whole, 1, most - 1, bad[i]);
            set_value(&steps, 1, most - 1, bad[i]);
            compare();
            const attn_tensor *out = &whole.outputs.tensor[OUT];
            assert_true(isfinite(element_float(out, 0, 0, 19, 0)));
            assert_int_equal(isfinite(element_float(out, 0, 1, 0, 0)), causal);
            close_both();
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_are_those_of_steps),
        cmocka_unit_test(others_are_not_small),
        cmocka_unit_test(other_tiles),
        cmocka_unit_test(values_that_are_not_numbers),
    };
    int skip = run_skip_isa();
    return skip != 0 ? skip : cmocka_run_group_tests(tests, NULL, NULL);
}
