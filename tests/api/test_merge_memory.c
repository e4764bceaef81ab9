/*
 * A merge allocates nothing, however many states there are, but for the threads that
 * the first call on a context of several starts, and works without them. Links the
 * static library with --wrap (tests/support/wrap.h).
 */
#include "tests/support/merge.h"
#include "tests/support/wrap.h"

static const struct merge_problem large = {70, 2, 8, 20, 130, 10, 20, 0, 1};

static void nothing_is_allocated(void **state) {
    (void)state;
    struct merge_call call;
    merge_open(&call, &large);
    attn_context *one = merge_context(1);
    attn_context *several = merge_context(3);
    merge_expect(&call);
    merge_run(&call, several);
    wrap_fail_allocation(0);
    merge_run(&call, NULL);
    merge_run(&call, one);
    merge_run(&call, several);
    assert_int_equal(wrap_allocations(), 0);
    merge_check(&call);
    attn_context_destroy(one);
    attn_context_destroy(several);
    merge_close(&call);
}

static void no_memory_for_threads(void **state) {
    (void)state;
    struct merge_call call;
    merge_open(&call, &large);
    attn_context *context = merge_context(3);
    merge_expect(&call);
    wrap_fail_allocation(1);
    merge_run(&call, context);
    assert_int_equal(wrap_allocations(), 1);
    wrap_fail_allocation(0);
    merge_check(&call);
    attn_context_destroy(context);
    merge_close(&call);
}

static void no_threads(void **state) {
    (void)state;
    struct merge_call call;
    merge_open(&call, &large);
    attn_context *context = merge_context(3);
    merge_expect(&call);
    wrap_fail_threads_from(1);
    merge_run(&call, context);
    assert_true(wrap_threads() > 0);
    wrap_fail_threads_from(0);
    merge_check(&call);
    attn_context_destroy(context);
    merge_close(&call);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_allocated),
        cmocka_unit_test(no_memory_for_threads),
        cmocka_unit_test(no_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
