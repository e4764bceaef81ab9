/*
 * What libattn may assume of BLAS. Each policy is right; only SET_SINGLE may touch the
 * process, and only in its own call.
 */
#define _GNU_SOURCE /* RTLD_DEFAULT */

#include <dlfcn.h>

#include "tests/support/check.h"
#include "tests/support/compose.h"
#include "tests/support/expect.h"
#include "tests/support/outputs.h"
#include "tests/support/run.h"

static const char *const names[] = {"SAFE", "SINGLE", "SET_SINGLE"};

/* OpenBLAS's thread count, or 0 where BLAS is another. */
static int openblas_threads(void) {
    union {
        void *address;
        int (*function)(void);
    } get = {dlsym(RTLD_DEFAULT, "openblas_get_num_threads")};
    return get.address != NULL ? get.function() : 0;
}

static void set_openblas_threads(int threads) {
    union {
        void *address;
        void (*function)(int);
    } set = {dlsym(RTLD_DEFAULT, "openblas_set_num_threads")};
    if (set.address != NULL) {
        set.function(threads);
    }
}

static attn_context *context_with(int32_t policy) {
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    attn_status status = attn_context_set_blas_policy(context, policy);
    if (status != ATTN_OK) {
        expect_refusal(status, ATTN_ERR_UNSUPPORTED, "threads");
        print_message("policy %s: %s\n", names[policy], attn_last_error());
        assert_int_equal(policy, ATTN_BLAS_SET_SINGLE);
        attn_context_destroy(context);
        return NULL;
    }
    return context;
}

static int check_policy(int32_t policy, const struct test_problem *problem, int data) {
    struct test_inputs inputs;
    struct test_outputs outputs;
    attn_context *context = context_with(policy);
    if (context == NULL) {
        return 0;
    }
    gen_inputs(&inputs, problem, data);
    outputs_open(&outputs, problem, ALL_OUTPUTS);
    run_on(context, &inputs, &outputs);
    int wrong = check_outputs(&inputs, &outputs);
    outputs_close(&outputs);
    gen_free(&inputs);
    attn_context_destroy(context);
    return wrong;
}

static void each_policy_is_right(void **state) {
    (void)state;
    int wrong = 0;
    const int before = openblas_threads();
    for (int32_t policy = ATTN_BLAS_SAFE; policy <= ATTN_BLAS_SET_SINGLE; policy++) {
        /* SINGLE is the caller's promise. */
        set_openblas_threads(policy == ATTN_BLAS_SINGLE ? 1 : before);
        struct test_problem problem =
            run_parse("h2 q700 k900 d128 engine=flash seed=1");
        wrong += check_policy(policy, &problem, DATA_RANDOM);
        for (uint64_t number = 40000; number < 40030; number += TEST_SHARE) {
            int data;
            problem = compose_problem(number, &data);
            wrong += check_policy(policy, &problem, data);
        }
    }
    set_openblas_threads(before);
    assert_int_equal(wrong, 0);
}

static void only_set_single_touches_blas(void **state) {
    (void)state;
    const int before = openblas_threads();
    if (before == 0) {
        print_message("BLAS is not OpenBLAS: its threads cannot be asked for\n");
        skip();
    }
    set_openblas_threads(2);
    if (openblas_threads() != 2) {
        print_message("this OpenBLAS has no threads\n");
        skip();
    }
    struct test_problem problem = run_parse("h2 q300 k900 d128 threads=2");
    assert_int_equal(check_policy(ATTN_BLAS_SAFE, &problem, DATA_RANDOM), 0);
    assert_int_equal(openblas_threads(), 2);
    attn_context_destroy(context_with(ATTN_BLAS_SINGLE));
    assert_int_equal(openblas_threads(), 2);
    attn_context *context = context_with(ATTN_BLAS_SET_SINGLE);
    assert_non_null(context);
    assert_int_equal(openblas_threads(), 1);
    attn_context_destroy(context);
    set_openblas_threads(before);
}

/* The bits of a result do not depend on BLAS's own thread setting. */
static void blas_threads_change_no_bit(void **state) {
    (void)state;
    const int before = openblas_threads();
    if (before == 0) {
        print_message("BLAS is not OpenBLAS: its threads cannot be set\n");
        skip();
    }
    struct test_problem problem = run_parse("h2 q700 k900 d128 threads=2 seed=2");
    struct test_inputs inputs;
    struct test_outputs one, two;
    gen_inputs(&inputs, &problem, DATA_RANDOM);
    outputs_open(&one, &problem, ALL_OUTPUTS);
    outputs_open(&two, &problem, ALL_OUTPUTS);
    set_openblas_threads(1);
    run_forward(&inputs, &one);
    set_openblas_threads(2);
    run_forward(&inputs, &two);
    set_openblas_threads(before);
    assert_true(outputs_all_same(&one, &two));
    outputs_close(&one);
    outputs_close(&two);
    gen_free(&inputs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_policy_is_right),
        cmocka_unit_test(only_set_single_touches_blas),
        cmocka_unit_test(blas_threads_change_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
