/*
 * A rotation allocates nothing, but for the threads that the first call on a context of
 * several starts, and works without them. Links the static library with --wrap
 * (tests/support/wrap.h).
 */
#include "tests/support/rotary.h"
#include "tests/support/wrap.h"

static const struct rotary_problem large = {.batch = 2,
                                            .heads = 8,
                                            .rows = 300,
                                            .dim = 300,
                                            .rotary_dim = 200,
                                            .positions = ROTARY_IDS,
                                            .seed = 1};

static void nothing_is_allocated(void **state) {
    (void)state;
    struct rotary_call call;
    rotary_open(&call, &large);
    attn_context *one = rotary_context(1, ATTN_ISA_AUTO);
    attn_context *several = rotary_context(3, ATTN_ISA_AUTO);
    rotary_run(&call, several);
    wrap_fail_allocation(0);
    rotary_run(&call, NULL);
    rotary_run(&call, one);
    rotary_run(&call, several);
    assert_int_equal(wrap_allocations(), 0);
    rotary_check(&call);
    attn_context_destroy(one);
    attn_context_destroy(several);
    rotary_close(&call);
}

static void no_memory_for_threads(void **state) {
    (void)state;
    struct rotary_call call;
    rotary_open(&call, &large);
    attn_context *context = rotary_context(3, ATTN_ISA_AUTO);
    wrap_fail_allocation(1);
    rotary_run(&call, context);
    assert_int_equal(wrap_allocations(), 1);
    wrap_fail_allocation(0);
    rotary_check(&call);
    attn_context_destroy(context);
    rotary_close(&call);
}

static void no_threads(void **state) {
    (void)state;
    struct rotary_call call;
    rotary_open(&call, &large);
    attn_context *context = rotary_context(3, ATTN_ISA_AUTO);
    wrap_fail_threads_from(1);
    rotary_run(&call, context);
    assert_true(wrap_threads() > 0);
    wrap_fail_threads_from(0);
    rotary_check(&call);
    attn_context_destroy(context);
    rotary_close(&call);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_allocated),
        cmocka_unit_test(no_memory_for_threads),
        cmocka_unit_test(no_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
