/*
 * Every kernel set that runs here, by attn_context_set_isa(): each is right, and a set
 * that does not run is refused with its name.
 */
#include <stdio.h>
#include <string.h>

#include "tests/support/backward.h"
#include "tests/support/compose.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

static const char *const names[] = {"auto", "scalar", "avx2",  "avx512",
                                    "neon", "amx",    "pieces"};

static int runs_here(int32_t isa) {
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    attn_status status = attn_context_set_isa(context, isa);
    if (status != ATTN_OK) {
        expect_refusal(status, ATTN_ERR_UNSUPPORTED, names[isa]);
    }
    attn_context_destroy(context);
    return status == ATTN_OK;
}

static void scalar_always_runs(void **state) {
    (void)state;
    assert_true(runs_here(ATTN_ISA_AUTO));
    assert_true(runs_here(ATTN_ISA_SCALAR));
#if !defined(__x86_64__)
    assert_false(runs_here(ATTN_ISA_AVX2));
    assert_false(runs_here(ATTN_ISA_AVX512));
#endif
#if !defined(__aarch64__)
    assert_false(runs_here(ATTN_ISA_NEON));
#endif
}

static void each_is_right(void **state) {
    (void)state;
    int wrong = 0;
    for (int32_t isa = ATTN_ISA_SCALAR; isa <= ATTN_ISA_PIECES; isa++) {
        if (!runs_here(isa)) {
            print_message("%s does not run here\n", names[isa]);
            continue;
        }
        for (uint64_t number = 30000; number < 30080; number += TEST_SHARE) {
            int data;
            struct test_problem problem = compose_problem(number, &data);
            problem.isa = isa;
            wrong += run_engines(&problem, data, ALL_OUTPUTS);
            problem = compose_differentiable(number, &data);
            problem.isa = isa;
            wrong +=
                backward_run_and_check(&problem, data, ALL_INCOMING, ALL_GRADIENTS);
        }
    }
    assert_int_equal(wrong, 0);
}

static void the_context_says_which(void **state) {
    (void)state;
    for (int32_t isa = ATTN_ISA_SCALAR; isa <= ATTN_ISA_PIECES; isa++) {
        if (runs_here(isa)) {
            char text[4096], line[64];
            struct test_problem problem = run_parse("");
            problem.isa = isa;
            attn_context *context = run_context(&problem);
            attn_context_explain(context, text, sizeof text);
            snprintf(line, sizeof line, "isa: %s\n", names[isa]);
            assert_non_null(strstr(text, line));
            attn_context_destroy(context);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalar_always_runs),
        cmocka_unit_test(each_is_right),
        cmocka_unit_test(the_context_says_which),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
