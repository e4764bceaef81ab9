/*
 * What changes no bit of a merge: threads, strides, working in place, and whether lse
 * is asked for; and that no page beside the tensors is touched.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/support/element.h"
#include "tests/support/fence.h"
#include "tests/support/loops.h"
#include "tests/support/merge.h"

/* Enough work for several threads. */
static const struct merge_problem large[] = {
    {2, 2, 8, 300, 128, 5, 10, 0, 1},    {1, 1, 1, 9001, 130, 5, 10, 1, 2},
    {7, 64, 16, 1, 128, 50, 30, 0, 3},   {40, 1, 32, 7, 129, 3, 10, 0, 4},
    {3, 3, 5, 4001, 5, 1000, 10, 0, 5},  {33, 2, 2, 3, 2000, 5, 10, 0, 6},
    {64, 1, 1, 10000, 1, 1e30, 5, 1, 7},
};

static void threads(void **state) {
    (void)state;
    static const int32_t counts[] = {1, 2, 3, 7};
    for (size_t n = 0; n < COUNT_OF(large); n++) {
        struct merge_call alone, call;
        merge_open(&alone, &large[n]);
        merge_run(&alone, NULL);
        for (size_t t = 0; t < COUNT_OF(counts); t++) {
            attn_context *context = merge_context(counts[t]);
            merge_open(&call, &large[n]);
            merge_run(&call, context);
            merge_need_same(&alone.out, &call.out);
            merge_need_same(&alone.lse, &call.lse);
            merge_close(&call);
            attn_context_destroy(context);
        }
        merge_close(&alone);
    }
}

/* Large calls use the threads there are, small ones wake nobody. */
static void threads_of_the_application(void **state) {
    (void)state;
    static attn_parallel_for *const functions[] = {loops_on_threads, loops_on_caller};
    for (size_t f = 0; f < COUNT_OF(functions); f++) {
        struct loops loops = {0};
        attn_context *context = merge_context(3);
        assert_int_equal(attn_context_set_parallel_for(context, functions[f], &loops),
                         ATTN_OK);
        const struct merge_problem small = {8, 1, 8, 16, 64, 5, 10, 0, 8};
        for (size_t n = 0; n <= COUNT_OF(large); n++) {
            struct merge_call alone, call;
            merge_open(&alone, n < COUNT_OF(large) ? &large[n] : &small);
            merge_open(&call, n < COUNT_OF(large) ? &large[n] : &small);
            merge_run(&alone, NULL);
            merge_run(&call, context);
            merge_need_same(&alone.out, &call.out);
            merge_need_same(&alone.lse, &call.lse);
            merge_close(&alone);
            merge_close(&call);
            assert_int_equal(loops.calls, n < COUNT_OF(large) ? n + 1 : n);
        }
        assert_int_equal(loops.most, 3);
        attn_context_destroy(context);
    }
}

/* Sets a tensor to the numbers of another. */
static void copy(const attn_tensor *to, const attn_tensor *from) {
    for (int64_t n = 0; n < element_count(to); n++) {
        memcpy(element_nth(to, n), element_nth(from, n), sizeof(float));
    }
}

static void strides(void **state) {
    (void)state;
    for (uint64_t number = 3000; number < 3060; number += TEST_SHARE) {
        struct merge_problem problem = merge_compose(number);
        problem.plain = 0;
        struct merge_call odd, plain;
        merge_open(&odd, &problem);
        problem.plain = 1;
        merge_open(&plain, &problem);
        for (int32_t i = 0; i < problem.count; i++) {
            copy(&plain.outs[i], &odd.outs[i]);
            copy(&plain.lses[i], &odd.lses[i]);
        }
        merge_run(&odd, NULL);
        merge_run(&plain, NULL);
        merge_need_same(&odd.out, &plain.out);
        merge_need_same(&odd.lse, &plain.lse);
        merge_close(&odd);
        merge_close(&plain);
    }
}

/* Whether a tensor can be written: no row repeats. */
static int can_be_output(const attn_tensor *tensor) {
    for (int32_t d = 0; d < tensor->rank; d++) {
        if (tensor->shape[d] > 1 && tensor->stride[d] == 0) {
            return 0;
        }
    }
    return 1;
}

/* out and lse are those of one state, of two different ones, or one of them alone. */
static void in_place(void **state) {
    (void)state;
    attn_context *context = merge_context(3);
    static const struct merge_problem problems[] = {
        {1, 2, 3, 5, 40, 5, 20, 0, 1},   {2, 2, 3, 17, 131, 5, 20, 0, 2},
        {7, 2, 1, 9, 31, 50, 50, 0, 3},  {3, 2, 4, 130, 128, 5, 20, 0, 4},
        {40, 1, 2, 5, 130, 5, 20, 0, 5}, {5, 1, 1, 20, 1, 1, 0, 1, 6},
    };
    int done = 0;
    for (size_t n = 0; n < COUNT_OF(problems); n++) {
        const struct merge_problem problem = problems[n];
        struct merge_call apart;
        merge_open(&apart, &problem);
        merge_run(&apart, NULL);
        for (int32_t i = 0; i < problem.count; i++) {
            for (int way = 0; way < 4; way++) {
                struct merge_call call;
                merge_open(&call, &problem);
                const int32_t j = way == 1 ? problem.count - 1 - i : i;
                if (way != 2 && can_be_output(&call.outs[i])) {
                    call.out = call.outs[i];
                    done++;
                }
                if (way != 3 && can_be_output(&call.lses[j])) {
                    call.lse = call.lses[j];
                    done++;
                }
                merge_run_and_check(&call, way % 2 ? context : NULL);
                merge_need_same(&apart.out, &call.out);
                merge_need_same(&apart.lse, &call.lse);
                merge_close(&call);
            }
        }
        merge_close(&apart);
    }
    assert_true(done > 0);
    attn_context_destroy(context);
}

/* A state that is there twice, and is the output. */
static void one_state_twice(void **state) {
    (void)state;
    const struct merge_problem problem = {3, 2, 3, 5, 131, 5, 20, 1, 9};
    struct merge_call apart, call;
    merge_open(&apart, &problem);
    merge_open(&call, &problem);
    apart.out_list[2] = &apart.outs[0];
    apart.lse_list[2] = &apart.lses[0];
    merge_run(&apart, NULL);
    call.out_list[2] = call.out_list[0];
    call.lse_list[2] = call.lse_list[0];
    call.out = call.outs[0];
    call.lse = call.lses[0];
    merge_run(&call, NULL);
    merge_need_same(&apart.out, &call.out);
    merge_need_same(&apart.lse, &call.lse);
    merge_close(&apart);
    merge_close(&call);
}

/* States as they arrive, each merged into what there is. */
static void without_lse(void **state) {
    (void)state;
    for (uint64_t number = 5000; number < 5030; number += TEST_SHARE) {
        const struct merge_problem problem = merge_compose(number);
        struct merge_call call, other;
        merge_open(&call, &problem);
        merge_open(&other, &problem);
        merge_run(&call, NULL);
        assert_int_equal(attn_merge(NULL, problem.count, other.out_list, other.lse_list,
                                    &other.out, NULL),
                         ATTN_OK);
        merge_need_same(&call.out, &other.out);
        merge_close(&call);
        merge_close(&other);
    }
}

/* All tensors end, or start, at pages that cannot be touched. */
static void pages(void **state) {
    (void)state;
    for (uint64_t number = 6000; number < 6060; number += TEST_SHARE) {
        struct merge_problem problem = merge_compose(number);
        problem.count = 1 + (int32_t)(number % 20);
        struct merge_call call;
        merge_open(&call, &problem);
        for (int32_t i = 0; i < problem.count; i++) {
            fence_tensor(&call.outs[i], (int)(number % 2), 1);
            fence_tensor(&call.lses[i], (int)(number % 2), 1);
        }
        fence_tensor(&call.out, (int)(number % 2), 1);
        fence_tensor(&call.lse, (int)(number % 2), 1);
        merge_run_and_check(&call, NULL);
        fence_free();
        merge_close(&call);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads),         cmocka_unit_test(threads_of_the_application),
        cmocka_unit_test(strides),         cmocka_unit_test(in_place),
        cmocka_unit_test(one_state_twice), cmocka_unit_test(without_lse),
        cmocka_unit_test(pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
