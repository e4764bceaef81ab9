/*
 * attn_profile: what calls add to it, and that it changes nothing else. Clocks give no
 * number that could be foretold, but on one thread the stages are parts of the call,
 * and a stage that a call does not have stays 0.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/backward.h"
#include "tests/support/call.h"
#include "tests/support/expect.h"
#include "tests/support/guard.h"
#include "tests/support/test.h"

static int64_t stages(const attn_profile *p) {
    return p->copies + p->scores + p->terms + p->softmax + p->values + p->gradients +
           p->outputs + p->other;
}

static void need_sound(const attn_profile *p, int64_t calls, int32_t threads) {
    const int64_t members[] = {p->copies, p->scores,    p->terms,   p->softmax,
                               p->values, p->gradients, p->outputs, p->other};
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        assert_true(members[i] >= 0);
    }
    assert_int_equal(p->size, sizeof *p);
    assert_int_equal(p->calls, calls);
    assert_true(stages(p) > 0);
    assert_true(stages(p) <= p->elapsed * threads);
}

/* What kinds of calls there are: each way to the result. */
static const struct {
    const char *text;
    bool terms; /* whether something comes between scores and softmax */
} ways[] = {
    {"b2 h4 q70 k90 d16", false},
    {"b1 h4/2 q150 k700 d8 causal", true},
    {"b1 h4 q150 k300 d8 engine=flash bias", true},
    {"b1 h8/2 q1 k3000 d64", false},
    {"b1 h2/1 q2 k2500 d16 mask", true},
    {"b1 h2 q40 k60 d8 dropout=0.3", true},
    {"b1 h2 q40 k60 d8 query=bf16 key=bf16 value=bf16 out=bf16", false},
};

static void times_are_added_and_bits_stay(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(ways); i++) {
        for (int threads = 1; threads <= 3; threads += 2) {
            char text[128];
            (void)snprintf(text, sizeof text, "%s threads=%d", ways[i].text, threads);
            struct test_call plain, measured;
            call_open(&plain, text, ALL_OUTPUTS);
            call_open(&measured, text, ALL_OUTPUTS);
            attn_profile profile;
            assert_int_equal(attn_profile_init(&profile, sizeof profile), ATTN_OK);
            measured.args.profile = &profile;
            call_need_same(&plain, &measured);
            need_sound(&profile, 1, threads);
            assert_true(profile.scores > 0 && profile.softmax > 0);
            assert_true(profile.values > 0 && profile.outputs > 0);
            assert_int_equal(profile.gradients, 0);
            assert_true(!ways[i].terms || profile.terms > 0);
            const attn_profile before = profile;
            call_run(&measured);
            need_sound(&profile, 2, threads);
            assert_true(profile.elapsed > before.elapsed);
            assert_true(profile.scores >= before.scores);
            assert_true(stages(&profile) > stages(&before));
            call_close(&plain);
            call_close(&measured);
        }
    }
}

static void backward_calls_have_gradients(void **state) {
    (void)state;
    struct test_backward call;
    attn_profile profile;
    backward_open(&call, "b2 h4/2 q70 k150 d8 causal threads=1 seed=3", ONLY_OF_OUT,
                  1 << GRAD_QUERY | 1 << GRAD_KEY | 1 << GRAD_VALUE);
    assert_int_equal(attn_profile_init(&profile, sizeof profile), ATTN_OK);
    call.forward.args.profile = &profile;
    outputs_reset(&call.gradients);
    assert_int_equal(attn_plan_backward(call.forward.plan, &call.args), ATTN_OK);
    assert_int_equal(backward_check(&call), 0);
    need_sound(&profile, 1, 1);
    assert_true(profile.scores > 0 && profile.gradients > 0);
    assert_int_equal(profile.values, 0);
    backward_close(&call);
}

static int32_t stop(void *user) {
    (void)user;
    return 1;
}

static void calls_that_fail_add_nothing(void **state) {
    (void)state;
    struct test_call call;
    attn_profile profile, before;
    call_open(&call, "b1 h2 q150 k150 d8", ONLY_OUT);
    assert_int_equal(attn_profile_init(&profile, sizeof profile), ATTN_OK);
    call.args.profile = &profile;
    call_run(&call);
    before = profile;
    call.args.should_stop = stop;
    assert_int_equal(attn_plan_forward(call.plan, &call.args), ATTN_ERR_CANCELLED);
    assert_memory_equal(&profile, &before, sizeof profile);
    call.args.should_stop = NULL;
    call.args.out = NULL;
    assert_int_equal(attn_plan_forward(call.plan, &call.args), ATTN_ERR_INVALID);
    assert_memory_equal(&profile, &before, sizeof profile);
    call_close(&call);
}

/* Programs of other releases have another struct, up to its end. */
static void other_sizes_are_heeded(void **state) {
    (void)state;
    struct test_call call;
    call_open(&call, "b1 h2 q20 k30 d8", ONLY_OUT);
    for (size_t bytes = sizeof(int64_t); bytes <= sizeof(attn_profile); bytes += 8) {
        struct guard guard;
        attn_profile *profile = guard_before(&guard, bytes);
        assert_int_equal(attn_profile_init(profile, bytes), ATTN_OK);
        call.args.profile = profile;
        call_run(&call);
        assert_int_equal(profile->size, bytes);
        if (bytes > offsetof(attn_profile, calls)) {
            assert_int_equal(profile->calls, 1);
        }
        if (bytes > offsetof(attn_profile, scores)) {
            assert_true(profile->scores > 0);
        }
        guard_free(&guard);
    }
    struct {
        attn_profile known;
        int64_t more;
    } newer;
    assert_int_equal(attn_profile_init(&newer.known, sizeof newer), ATTN_OK);
    newer.more = 5;
    call.args.profile = &newer.known;
    call_run(&call);
    assert_int_equal(newer.known.calls, 1);
    assert_int_equal(newer.more, 5);
    newer.known.size = 7;
    expect_refusal(attn_plan_forward(call.plan, &call.args), ATTN_ERR_INVALID,
                   "size is 7");
    expect_refusal(attn_profile_init(&newer.known, 7), ATTN_ERR_INVALID, "7");
    expect_refusal(attn_profile_init(NULL, sizeof newer.known), ATTN_ERR_INVALID, "");
    call_close(&call);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_added_and_bits_stay),
        cmocka_unit_test(backward_calls_have_gradients),
        cmocka_unit_test(calls_that_fail_add_nothing),
        cmocka_unit_test(other_sizes_are_heeded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
