/*
 * Args structs of other releases: a program compiled for an older header passes a
 * smaller one, for a newer header a larger one.
 */
#include <stdio.h>
#include <string.h>

#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/expect.h"
#include "tests/support/guard.h"

static struct test_call call;

static int setup(void **state) {
    (void)state;
    call_open(&call, "b2 h4/2 q20 k30 d8", ONLY_OUT);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    call_close(&call);
    return 0;
}

/* The first bytes of the call's args, at the end of readable memory. */
static attn_forward_args *shortened(struct guard *guard, size_t bytes) {
    char *memory = guard_before(guard, bytes);
    size_t known = bytes < sizeof call.args ? bytes : sizeof call.args;
    memcpy(memory, &call.args, known);
    const int64_t size = (int64_t)bytes;
    memcpy(memory, &size, sizeof size);
    return (void *)memory;
}

/* A struct that ends after any member from out on knows all that this call needs. */
static void older_structs_succeed(void **state) {
    (void)state;
    for (size_t bytes = offsetof(attn_forward_args, q_lengths);
         bytes <= sizeof call.args; bytes += 8) {
        struct guard guard;
        attn_forward_args *args = shortened(&guard, bytes);
        outputs_reset(&call.outputs);
        assert_int_equal(attn_plan_forward(call.plan, args), ATTN_OK);
        assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
        guard_free(&guard);
    }
}

/* What an older struct does not have is not there, even if it is required. */
static void older_structs_lack_members(void **state) {
    (void)state;
    static const struct {
        size_t bytes;
        const char *says;
    } cases[] = {{offsetof(attn_forward_args, query), "query"},
                 {offsetof(attn_forward_args, key), "key"},
                 {offsetof(attn_forward_args, value), "value"},
                 {offsetof(attn_forward_args, out), "out"}};
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        struct guard guard;
        attn_forward_args *args = shortened(&guard, cases[c].bytes);
        expect_refusal(attn_plan_forward(call.plan, args), ATTN_ERR_INVALID,
                       cases[c].says);
        assert_true(outputs_untouched(&call.outputs));
        guard_free(&guard);
    }
}

/* A program that does not know of relative keys cannot run a plan that needs them; one
 * that knows nothing behind them has no other row than 0 for j = p. */
static void older_structs_and_relative_keys(void **state) {
    (void)state;
    struct guard guard;
    const struct test_call plain = call;
    call_open(&call, "h2 q20 k30 d8 relkeys seed=1", ONLY_OUT);
    attn_forward_args *args =
        shortened(&guard, offsetof(attn_forward_args, relative_keys));
    expect_refusal(attn_plan_forward(call.plan, args), ATTN_ERR_INVALID,
                   "relative_keys|missing");
    guard_free(&guard);
    args = shortened(&guard, offsetof(attn_forward_args, relative_zero));
    assert_int_equal(attn_plan_forward(call.plan, args), ATTN_OK);
    call.inputs.relative_zero = 0;
    assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
    guard_free(&guard);
    call_close(&call);
    call = plain; /* for the teardown */
}

static void newer_structs_with_zeros_succeed(void **state) {
    (void)state;
    struct guard guard;
    attn_forward_args *args = shortened(&guard, sizeof call.args + 4000);
    assert_int_equal(attn_plan_forward(call.plan, args), ATTN_OK);
    assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
    guard_free(&guard);
}

static void newer_structs_that_ask_for_more(void **state) {
    (void)state;
    const size_t bytes = sizeof call.args + 64;
    for (size_t at = sizeof call.args; at < bytes; at += 21) {
        struct guard guard;
        char says[32];
        attn_forward_args *args = shortened(&guard, bytes);
        ((char *)args)[at] = 1;
        snprintf(says, sizeof says, "args|%zu", at);
        expect_refusal(attn_plan_forward(call.plan, args), ATTN_ERR_UNSUPPORTED, says);
        assert_true(outputs_untouched(&call.outputs));
        guard_free(&guard);
    }
}

static void sizes_that_cannot_be(void **state) {
    (void)state;
    static const int64_t sizes[] = {0, 1, 7, 12, 241, 1 << 20, -1, INT64_MIN};
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        attn_forward_args args = call.args;
        args.size = sizes[s];
        expect_refusal(attn_plan_forward(call.plan, &args), ATTN_ERR_INVALID,
                       "args|size");
        assert_true(outputs_untouched(&call.outputs));
    }
}

static void init_zeroes_and_notes_the_size(void **state) {
    (void)state;
    unsigned char bytes[sizeof(attn_forward_args) + 16];
    static const size_t sizes[] = {sizeof(int64_t), 16, sizeof(attn_forward_args),
                                   sizeof bytes - 8};
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        int64_t noted;
        memset(bytes, 0xee, sizeof bytes);
        assert_int_equal(attn_forward_args_init((void *)bytes, sizes[s]), ATTN_OK);
        memcpy(&noted, bytes, sizeof noted);
        assert_int_equal(noted, sizes[s]);
        for (size_t i = sizeof noted; i < sizeof bytes; i++) {
            assert_int_equal(bytes[i], i < sizes[s] ? 0 : 0xee);
        }
    }
    memset(bytes, 0xee, sizeof bytes);
    expect_refusal(attn_forward_args_init((void *)bytes, 7), ATTN_ERR_INVALID, "7|8");
    assert_int_equal(bytes[0], 0xee);
    expect_refusal(attn_forward_args_init((void *)bytes, 0), ATTN_ERR_INVALID, "0");
    expect_refusal(attn_forward_args_init(NULL, 64), ATTN_ERR_INVALID, "args|NULL");
}

/* Sizes and offsets are part of the ABI, the same on every 64-bit and 32-bit system. */
static void layout_is_pinned(void **state) {
    (void)state;
    assert_int_equal(sizeof(attn_tensor), 128);
    assert_int_equal(offsetof(attn_tensor, shape), 8);
    assert_int_equal(offsetof(attn_tensor, stride), 56);
    assert_int_equal(offsetof(attn_tensor, dtype), 104);
    assert_int_equal(offsetof(attn_tensor, rank), 108);
    assert_int_equal(offsetof(attn_tensor, reserved), 112);
    assert_int_equal(sizeof(attn_bounds), 32);
    assert_int_equal(offsetof(attn_forward_args, query), 8);
    assert_int_equal(offsetof(attn_forward_args, sinks), 120);
    assert_int_equal(offsetof(attn_forward_args, biased_scores), 192);
    assert_int_equal(offsetof(attn_forward_args, workspace), 200);
    assert_int_equal(offsetof(attn_forward_args, should_stop_user), 224);
    assert_int_equal(offsetof(attn_forward_args, relative_bias), 256);
    assert_int_equal(offsetof(attn_forward_args, relative_zero), 272);
    assert_int_equal(offsetof(attn_forward_args, segment_bias), 320);
    assert_int_equal(offsetof(attn_forward_args, k_ranks), 336);
    assert_true(sizeof(attn_forward_args) >= 344);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(older_structs_succeed),           TEST(older_structs_lack_members),
        TEST(older_structs_and_relative_keys), TEST(newer_structs_with_zeros_succeed),
        TEST(newer_structs_that_ask_for_more), TEST(sizes_that_cannot_be),
        TEST(init_zeroes_and_notes_the_size),  TEST(layout_is_pinned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
