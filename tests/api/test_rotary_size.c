/*
 * Args structs of other releases: a program compiled for an older header passes a
 * smaller one, for a newer header a larger one.
 */
#include <stdio.h>
#include <string.h>

#include "tests/support/expect.h"
#include "tests/support/guard.h"
#include "tests/support/rotary.h"

static struct rotary_call call;

static int setup(void **state) {
    (void)state;
    const struct rotary_problem problem = {
        .batch = 2, .heads = 2, .rows = 3, .dim = 8, .seed = 2};
    rotary_open(&call, &problem);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    rotary_close(&call);
    return 0;
}

/* The first bytes of the call's args, at the end of readable memory. */
static attn_rotary_args *shortened(struct guard *guard, size_t bytes) {
    char *memory = guard_before(guard, bytes);
    memcpy(memory, &call.args, bytes < sizeof call.args ? bytes : sizeof call.args);
    const int64_t size = (int64_t)bytes;
    memcpy(memory, &size, sizeof size);
    return (void *)memory;
}

static void older_and_newer_structs(void **state) {
    (void)state;
    struct guard guard;
    /* all that this call needs ends with output */
    for (size_t bytes = offsetof(attn_rotary_args, rotary_dim);
         bytes <= sizeof call.args + 4000; bytes += 8) {
        rotary_reset(&call);
        assert_int_equal(attn_rotary(NULL, shortened(&guard, bytes)), ATTN_OK);
        rotary_check(&call);
        guard_free(&guard);
    }
}

static void structs_that_will_not_do(void **state) {
    (void)state;
    struct guard guard;
    static const size_t lacking[] = {offsetof(attn_rotary_args, input),
                                     offsetof(attn_rotary_args, output)};
    static const char *const names[] = {"input", "output"};
    for (size_t n = 0; n < COUNT_OF(lacking); n++) {
        expect_refusal(attn_rotary(NULL, shortened(&guard, lacking[n])),
                       ATTN_ERR_INVALID, names[n]);
        guard_free(&guard);
    }
    for (size_t at = sizeof call.args; at < sizeof call.args + 64; at += 21) {
        char says[32];
        attn_rotary_args *args = shortened(&guard, sizeof call.args + 64);
        ((char *)args)[at] = 1;
        snprintf(says, sizeof says, "args|%zu", at);
        expect_refusal(attn_rotary(NULL, args), ATTN_ERR_UNSUPPORTED, says);
        guard_free(&guard);
    }
    static const int64_t sizes[] = {0, 1, 7, 12, 97, 1 << 20, -1, INT64_MIN};
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        call.args.size = sizes[s];
        expect_refusal(attn_rotary(NULL, &call.args), ATTN_ERR_INVALID, "args|size");
        assert_true(rotary_untouched(&call));
    }
}

static void init_zeroes_and_notes_the_size(void **state) {
    (void)state;
    unsigned char bytes[sizeof(attn_rotary_args) + 16];
    static const size_t sizes[] = {sizeof(int64_t), 16, sizeof(attn_rotary_args),
                                   sizeof bytes - 8};
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        int64_t noted;
        memset(bytes, 0xee, sizeof bytes);
        assert_int_equal(attn_rotary_args_init((void *)bytes, sizes[s]), ATTN_OK);
        memcpy(&noted, bytes, sizeof noted);
        assert_int_equal(noted, sizes[s]);
        for (size_t i = sizeof noted; i < sizeof bytes; i++) {
            assert_int_equal(bytes[i], i < sizes[s] ? 0 : 0xee);
        }
    }
    expect_refusal(attn_rotary_args_init((void *)bytes, 7), ATTN_ERR_INVALID, "7|8");
    expect_refusal(attn_rotary_args_init((void *)bytes, 0), ATTN_ERR_INVALID, "0");
    expect_refusal(attn_rotary_args_init(NULL, 64), ATTN_ERR_INVALID, "args|NULL");
}

/* Sizes and offsets are part of the ABI, the same on 64-bit and 32-bit systems. */
static void layout_is_pinned(void **state) {
    (void)state;
    assert_int_equal(offsetof(attn_rotary_args, input), 8);
    assert_int_equal(offsetof(attn_rotary_args, output), 16);
    assert_int_equal(offsetof(attn_rotary_args, rotary_dim), 24);
    assert_int_equal(offsetof(attn_rotary_args, inverse), 40);
    assert_int_equal(offsetof(attn_rotary_args, base), 48);
    assert_int_equal(offsetof(attn_rotary_args, position_ids), 56);
    assert_int_equal(offsetof(attn_rotary_args, sines), 80);
    assert_true(sizeof(attn_rotary_args) >= 88);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(older_and_newer_structs),
        TEST(structs_that_will_not_do),
        TEST(init_zeroes_and_notes_the_size),
        TEST(layout_is_pinned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
