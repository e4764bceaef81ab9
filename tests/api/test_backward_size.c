/*
 * attn_backward_args of other releases: a program compiled for an older header passes a
 * smaller struct, for a newer header a larger one; the same for the forward args in it.
 */
#include <stdio.h>
#include <string.h>

#include "tests/support/backward.h"
#include "tests/support/expect.h"
#include "tests/support/guard.h"

static struct test_backward call;

static int setup(void **state) {
    (void)state;
    backward_open(&call, "b2 h4/2 q20 k30 d8 seed=1", ONLY_OF_OUT,
                  1 << GRAD_QUERY | 1 << GRAD_KEY | 1 << GRAD_VALUE);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    backward_close(&call);
    return 0;
}

/* The first bytes of a struct of args, at the end of readable memory. */
static void *shortened(struct guard *guard, const void *args, size_t size,
                       size_t bytes) {
    char *memory = guard_before(guard, bytes);
    const int64_t noted = (int64_t)bytes;
    memcpy(memory, args, bytes < size ? bytes : size);
    memcpy(memory, &noted, sizeof noted);
    return memory;
}

static void need_good(const attn_backward_args *args) {
    outputs_reset(&call.gradients);
    assert_int_equal(attn_plan_backward(call.forward.plan, args), ATTN_OK);
    assert_int_equal(backward_check(&call), 0);
}

/* A struct that ends after any member from grad_value on knows all that this needs. */
static void older_structs_succeed(void **state) {
    (void)state;
    for (size_t bytes = offsetof(attn_backward_args, grad_bias);
         bytes <= sizeof call.args; bytes += 8) {
        struct guard guard;
        need_good(shortened(&guard, &call.args, sizeof call.args, bytes));
        guard_free(&guard);
    }
    for (size_t bytes = offsetof(attn_forward_args, weights);
         bytes <= sizeof call.forward.args; bytes += 8) {
        struct guard guard;
        call.args.forward =
            shortened(&guard, &call.forward.args, sizeof call.forward.args, bytes);
        need_good(&call.args);
        guard_free(&guard);
    }
}

/* What an older struct does not have is not there, even if it is required. */
static void older_structs_lack_members(void **state) {
    (void)state;
    static const struct {
        size_t bytes;
        const char *says;
    } cases[] = {{offsetof(attn_backward_args, forward), "forward"},
                 {offsetof(attn_backward_args, grad_out), "grad_out"},
                 {offsetof(attn_backward_args, grad_query), "gradient"}};
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        struct guard guard;
        attn_backward_args *args =
            shortened(&guard, &call.args, sizeof call.args, cases[c].bytes);
        expect_refusal(attn_plan_backward(call.forward.plan, args), ATTN_ERR_INVALID,
                       cases[c].says);
        assert_true(outputs_untouched(&call.gradients));
        guard_free(&guard);
    }
}

static void newer_structs_with_zeros_succeed(void **state) {
    (void)state;
    struct guard guard, inner;
    attn_backward_args *args =
        shortened(&guard, &call.args, sizeof call.args, sizeof call.args + 4000);
    args->forward = shortened(&inner, &call.forward.args, sizeof call.forward.args,
                              sizeof call.forward.args + 800);
    need_good(args);
    guard_free(&guard);
    guard_free(&inner);
}

static void newer_structs_that_ask_for_more(void **state) {
    (void)state;
    for (size_t past = 0; past < 64; past += 21) {
        struct guard guard;
        char says[64];
        const size_t own = sizeof call.args, inner = sizeof call.forward.args;
        char *args = shortened(&guard, &call.args, own, own + 64);
        args[own + past] = 1;
        snprintf(says, sizeof says, "args|%zu", own + past);
        expect_refusal(attn_plan_backward(call.forward.plan, (void *)args),
                       ATTN_ERR_UNSUPPORTED, says);
        guard_free(&guard);
        args = shortened(&guard, &call.forward.args, inner, inner + 64);
        args[inner + past] = 1;
        call.args.forward = (void *)args;
        snprintf(says, sizeof says, "forward|%zu", inner + past);
        expect_refusal(attn_plan_backward(call.forward.plan, &call.args),
                       ATTN_ERR_UNSUPPORTED, says);
        guard_free(&guard);
        call.args.forward = &call.forward.args;
        assert_true(outputs_untouched(&call.gradients));
    }
}

static void sizes_that_cannot_be(void **state) {
    (void)state;
    static const int64_t sizes[] = {0, 1, 7, 12, 241, 1 << 20, -1, INT64_MIN};
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        attn_backward_args args = call.args;
        args.size = sizes[s];
        expect_refusal(attn_plan_backward(call.forward.plan, &args), ATTN_ERR_INVALID,
                       "args|size");
        attn_forward_args forward = call.forward.args;
        forward.size = sizes[s];
        args = call.args;
        args.forward = &forward;
        expect_refusal(attn_plan_backward(call.forward.plan, &args), ATTN_ERR_INVALID,
                       "forward|size");
        assert_true(outputs_untouched(&call.gradients));
    }
}

static void init_zeroes_and_notes_the_size(void **state) {
    (void)state;
    unsigned char bytes[sizeof(attn_backward_args) + 16];
    static const size_t sizes[] = {sizeof(int64_t), 16, sizeof(attn_backward_args),
                                   sizeof bytes - 8};
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        int64_t noted;
        memset(bytes, 0xee, sizeof bytes);
        assert_int_equal(attn_backward_args_init((void *)bytes, sizes[s]), ATTN_OK);
        memcpy(&noted, bytes, sizeof noted);
        assert_int_equal(noted, sizes[s]);
        for (size_t i = sizeof noted; i < sizeof bytes; i++) {
            assert_int_equal(bytes[i], i < sizes[s] ? 0 : 0xee);
        }
    }
    memset(bytes, 0xee, sizeof bytes);
    expect_refusal(attn_backward_args_init((void *)bytes, 7), ATTN_ERR_INVALID, "7|8");
    expect_refusal(attn_backward_args_init((void *)bytes, 0), ATTN_ERR_INVALID, "0");
    assert_int_equal(bytes[0], 0xee);
    expect_refusal(attn_backward_args_init(NULL, 64), ATTN_ERR_INVALID, "args|NULL");
}

/* Sizes and offsets are part of the ABI, the same on every 64-bit and 32-bit system. */
static void layout_is_pinned(void **state) {
    (void)state;
    assert_int_equal(offsetof(attn_backward_args, forward), 8);
    assert_int_equal(offsetof(attn_backward_args, grad_out), 16);
    assert_int_equal(offsetof(attn_backward_args, grad_query), 48);
    assert_int_equal(offsetof(attn_backward_args, grad_sinks), 88);
    assert_int_equal(offsetof(attn_backward_args, accumulate), 96);
    assert_int_equal(offsetof(attn_backward_args, workspace), 104);
    assert_int_equal(offsetof(attn_backward_args, should_stop_user), 128);
    assert_int_equal(offsetof(attn_backward_args, grad_relative_bias), 136);
    assert_int_equal(offsetof(attn_backward_args, grad_segment_bias), 176);
    assert_true(sizeof(attn_backward_args) >= 184);
    assert_int_equal(offsetof(attn_forward_args, dropout_seed), 232);
    assert_int_equal(offsetof(attn_forward_args, dropout_mask), 248);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(older_structs_succeed),
        TEST(older_structs_lack_members),
        TEST(newer_structs_with_zeros_succeed),
        TEST(newer_structs_that_ask_for_more),
        TEST(sizes_that_cannot_be),
        TEST(init_zeroes_and_notes_the_size),
        TEST(layout_is_pinned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
