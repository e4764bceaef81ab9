/*
 * ATTN_ISA is an upper limit, read once. Run with ATTN_ISA=scalar: nothing above it can
 * be chosen, and changing the variable while the program runs changes nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/support/expect.h"
#include "tests/support/run.h"

static void need_scalar(void) {
    char text[4096];
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    attn_context_explain(context, text, sizeof text);
    assert_non_null(strstr(text, "isa: scalar\n"));
    for (int32_t isa = ATTN_ISA_AVX2; isa <= ATTN_ISA_PIECES; isa++) {
        expect_refusal(attn_context_set_isa(context, isa), ATTN_ERR_UNSUPPORTED,
                       "kernels");
    }
    assert_int_equal(attn_context_set_isa(context, ATTN_ISA_AUTO), ATTN_OK);
    assert_int_equal(attn_context_set_isa(context, ATTN_ISA_SCALAR), ATTN_OK);
    attn_context_destroy(context);
}

static void the_limit_holds(void **state) {
    (void)state;
    assert_non_null(getenv("ATTN_ISA"));
    assert_string_equal(getenv("ATTN_ISA"), "scalar");
    need_scalar();
}

static void the_limit_is_read_once(void **state) {
    (void)state;
    need_scalar();
    assert_int_equal(setenv("ATTN_ISA", "avx512", 1), 0);
    need_scalar();
    assert_int_equal(unsetenv("ATTN_ISA"), 0);
    need_scalar();
}

/* Such as a user may write, whose kernels are not what was meant. */
static void what_is_no_limit_is_said(void **state) {
    (void)state;
    char text[4096];
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_int_equal(setenv("ATTN_ISA", "AVX2", 1), 0);
    attn_context_explain(context, text, sizeof text);
    assert_non_null(
        strstr(text, "isa: scalar (ATTN_ISA is \"AVX2\", which is none)\n"));
    assert_int_equal(setenv("ATTN_ISA", "avx2", 1), 0);
    attn_context_explain(context, text, sizeof text);
    assert_non_null(strstr(text, "isa: scalar\n"));
    attn_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_holds),
        cmocka_unit_test(the_limit_is_read_once),
        cmocka_unit_test(what_is_no_limit_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
