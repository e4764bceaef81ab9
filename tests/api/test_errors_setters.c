/*
 * Setters of contexts and descriptors: what they refuse, with which words, and that a
 * refusal changes nothing.
 */
#include <math.h>
#include <string.h>

#include "tests/support/call.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

static attn_context *context;
static attn_desc *desc;

static int setup(void **state) {
    (void)state;
    return attn_context_create(&context) != ATTN_OK ||
           attn_desc_create(&desc) != ATTN_OK;
}

static int teardown(void **state) {
    (void)state;
    attn_desc_destroy(desc);
    attn_context_destroy(context);
    return 0;
}

#define REFUSED(call, says) expect_refusal(call, ATTN_ERR_INVALID, says)

static void null_handles(void **state) {
    (void)state;
    REFUSED(attn_context_create(NULL), "context|NULL");
    REFUSED(attn_context_set_threads(NULL, 1), "context|NULL");
    REFUSED(attn_context_set_parallel_for(NULL, NULL, NULL), "context|NULL");
    REFUSED(attn_context_set_allocator(NULL, NULL, NULL, NULL), "context|NULL");
    REFUSED(attn_context_set_isa(NULL, 0), "context|NULL");
    REFUSED(attn_context_set_blas_policy(NULL, 0), "context|NULL");
    REFUSED(attn_desc_create(NULL), "desc|NULL");
    REFUSED(attn_desc_set_heads(NULL, 1, 1), "desc|NULL");
    REFUSED(attn_desc_set_dims(NULL, 1, 1), "desc|NULL");
    REFUSED(attn_desc_set_score(NULL, 0), "desc|NULL");
    REFUSED(attn_desc_set_scale(NULL, 1), "desc|NULL");
    REFUSED(attn_desc_set_softcap(NULL, 1), "desc|NULL");
    REFUSED(attn_desc_set_causal(NULL, 1), "desc|NULL");
    REFUSED(attn_desc_set_alignment(NULL, 0), "desc|NULL");
    REFUSED(attn_desc_set_window(NULL, 1, 1), "desc|NULL");
    REFUSED(attn_desc_set_lengths(NULL, 1, 1), "desc|NULL");
    REFUSED(attn_desc_set_packed(NULL, 1, 1), "desc|NULL");
    REFUSED(attn_desc_set_documents(NULL, 1), "desc|NULL");
    REFUSED(attn_desc_set_prefix(NULL, 1), "desc|NULL");
    REFUSED(attn_desc_set_block_mask(NULL, 1, 1), "desc|NULL");
    REFUSED(attn_desc_set_mask(NULL, ATTN_BOOL), "desc|NULL");
    REFUSED(attn_desc_set_bias(NULL, ATTN_F32), "desc|NULL");
    REFUSED(attn_desc_set_alibi(NULL, 1), "desc|NULL");
    REFUSED(attn_desc_set_sinks(NULL, 1), "desc|NULL");
    REFUSED(attn_desc_set_relative_bias(NULL, 32, 128, 0), "desc|NULL");
    REFUSED(attn_desc_set_relative_keys(NULL, 1), "desc|NULL");
    REFUSED(attn_desc_set_query_biases(NULL, 1, 1), "desc|NULL");
    REFUSED(attn_desc_set_segments(NULL, 1), "desc|NULL");
    REFUSED(attn_desc_set_ranks(NULL, 1), "desc|NULL");
    REFUSED(attn_desc_set_convention(NULL, 1), "desc|NULL");
    REFUSED(attn_desc_set_engine(NULL, 0), "desc|NULL");
    attn_context_destroy(NULL);
    attn_desc_destroy(NULL);
    attn_plan_destroy(NULL);
}

static void bad_numbers(void **state) {
    (void)state;
    REFUSED(attn_desc_set_heads(desc, 0, 1), "0");
    REFUSED(attn_desc_set_heads(desc, 4, 0), "0");
    REFUSED(attn_desc_set_heads(desc, -4, -2), "-4|-2");
    REFUSED(attn_desc_set_heads(desc, 12, 5), "12|5|multiple");
    REFUSED(attn_desc_set_heads(desc, 4, 8), "4|8|multiple");
    REFUSED(attn_desc_set_score(desc, 2), "score|2");
    REFUSED(attn_desc_set_score(desc, -1), "score|-1");
    REFUSED(attn_desc_set_dims(desc, 0, 64), "0|65536");
    REFUSED(attn_desc_set_dims(desc, 64, -3), "-3|65536");
    REFUSED(attn_desc_set_dims(desc, 65537, 64), "65537|65536");
    REFUSED(attn_desc_set_dims(desc, 64, 65537), "65537|65536");
    REFUSED(attn_desc_set_scale(desc, NAN), "nan|finite");
    REFUSED(attn_desc_set_scale(desc, -INFINITY), "inf|finite");
    REFUSED(attn_desc_set_softcap(desc, NAN), "nan|finite");
    REFUSED(attn_desc_set_softcap(desc, INFINITY), "inf|finite");
    REFUSED(attn_desc_set_softcap(desc, -30.5f), "-30.5");
    REFUSED(attn_desc_set_causal(desc, 2), "2");
    REFUSED(attn_desc_set_causal(desc, -1), "-1");
    REFUSED(attn_desc_set_alignment(desc, 4), "4");
    REFUSED(attn_desc_set_alignment(desc, -1), "-1");
    REFUSED(attn_desc_set_window(desc, -2, 5), "-2|5");
    REFUSED(attn_desc_set_window(desc, 5, -7), "5|-7");
    REFUSED(attn_desc_set_lengths(desc, 2, 0), "2");
    REFUSED(attn_desc_set_lengths(desc, 0, 3), "3");
    REFUSED(attn_desc_set_packed(desc, 2, 0), "packed|query is 2");
    REFUSED(attn_desc_set_packed(desc, 1, -1), "packed|kv is -1");
    REFUSED(attn_desc_set_documents(desc, 5), "5");
    REFUSED(attn_desc_set_prefix(desc, -5), "-5");
    REFUSED(attn_desc_set_block_mask(desc, 16, 0), "16|0");
    REFUSED(attn_desc_set_block_mask(desc, 0, 16), "0|16");
    REFUSED(attn_desc_set_block_mask(desc, -16, 16), "-16|16");
    REFUSED(attn_desc_set_mask(desc, ATTN_F32), "1");
    REFUSED(attn_desc_set_mask(desc, 99), "99");
    REFUSED(attn_desc_set_bias(desc, ATTN_BOOL), "4");
    REFUSED(attn_desc_set_alibi(desc, 2), "2");
    REFUSED(attn_desc_set_sinks(desc, 2), "2");
    REFUSED(attn_desc_set_convention(desc, 0), "0");
    REFUSED(attn_desc_set_convention(desc, 7), "7");
    REFUSED(attn_desc_set_engine(desc, 4), "4");
    REFUSED(attn_desc_set_engine(desc, -1), "-1");
    REFUSED(attn_context_set_threads(context, -1), "-1|1024");
    REFUSED(attn_context_set_threads(context, 1025), "1025|1024");
    REFUSED(attn_context_set_isa(context, 7), "7");
    REFUSED(attn_context_set_isa(context, -1), "-1");
    REFUSED(attn_context_set_blas_policy(context, 3), "3");
    REFUSED(attn_context_set_blas_policy(context, -1), "-1");
}

static void bad_numbers_of_relative_positions(void **state) {
    (void)state;
    REFUSED(attn_desc_set_relative_bias(desc, 1, 128, 0), "buckets|1|65536");
    REFUSED(attn_desc_set_relative_bias(desc, -32, 128, 0), "buckets|-32|65536");
    REFUSED(attn_desc_set_relative_bias(desc, 65537, 70000, 0), "buckets|65537|65536");
    REFUSED(attn_desc_set_relative_bias(desc, 2, 128, 1), "buckets|2|4");
    REFUSED(attn_desc_set_relative_bias(desc, 33, 128, 1), "buckets|33|even");
    REFUSED(attn_desc_set_relative_bias(desc, 65538, 70000, 1), "buckets|65538");
    REFUSED(attn_desc_set_relative_bias(desc, 32, 16, 0), "max_distance|16");
    REFUSED(attn_desc_set_relative_bias(desc, 32, 8, 1), "max_distance|8");
    REFUSED(attn_desc_set_relative_bias(desc, 5, 2, 0), "max_distance|2");
    REFUSED(attn_desc_set_relative_bias(desc, 32, -5, 0), "max_distance|-5");
    REFUSED(attn_desc_set_relative_bias(desc, 32, (int64_t)1 << 31, 0),
            "max_distance|2147483648|2147483647");
    REFUSED(attn_desc_set_relative_bias(desc, 32, INT64_MAX, 1),
            "max_distance|9223372036854775807");
    REFUSED(attn_desc_set_relative_bias(desc, 32, 128, 2), "bidirectional|2");
    REFUSED(attn_desc_set_relative_bias(desc, 32, 128, -1), "bidirectional|-1");
    REFUSED(attn_desc_set_relative_keys(desc, 2), "relative_keys|2");
    REFUSED(attn_desc_set_query_biases(desc, 3, 0), "content|3");
    REFUSED(attn_desc_set_query_biases(desc, 0, -1), "position|-1");
    REFUSED(attn_desc_set_segments(desc, -3), "segments|-3");
    REFUSED(attn_desc_set_ranks(desc, 3), "ranks|3");
    REFUSED(attn_desc_set_ranks(desc, -1), "ranks|-1");
}

static void *no_memory(void *user, size_t bytes, size_t alignment) {
    (void)user, (void)bytes, (void)alignment;
    return NULL;
}

static void no_release(void *user, void *memory) {
    (void)user, (void)memory;
}

static void half_an_allocator(void **state) {
    (void)state;
    REFUSED(attn_context_set_allocator(context, no_memory, NULL, NULL), "release");
    REFUSED(attn_context_set_allocator(context, NULL, no_release, NULL), "allocate");
}

/* The limits themselves are fine, and success leaves the last message alone. */
static void limits_are_accepted(void **state) {
    (void)state;
    expect_mark();
    assert_int_equal(attn_desc_set_heads(desc, 6, 1), ATTN_OK);
    assert_int_equal(attn_desc_set_dims(desc, 65536, 1), ATTN_OK);
    assert_int_equal(attn_desc_set_dims(desc, 1, 65536), ATTN_OK);
    assert_int_equal(attn_desc_set_window(desc, INT64_MAX, INT64_MAX), ATTN_OK);
    assert_int_equal(attn_desc_set_window(desc, -1, -1), ATTN_OK);
    assert_int_equal(attn_desc_set_block_mask(desc, INT64_MAX, 1), ATTN_OK);
    assert_int_equal(attn_desc_set_block_mask(desc, 0, 0), ATTN_OK);
    assert_int_equal(attn_desc_set_softcap(desc, 0), ATTN_OK);
    assert_int_equal(attn_desc_set_scale(desc, -0.5f), ATTN_OK);
    assert_int_equal(attn_desc_set_mask(desc, 0), ATTN_OK);
    assert_int_equal(attn_desc_set_bias(desc, 0), ATTN_OK);
    assert_int_equal(attn_desc_set_relative_bias(desc, 65536, INT32_MAX, 1), ATTN_OK);
    assert_int_equal(attn_desc_set_relative_bias(desc, 65536, 32769, 0), ATTN_OK);
    assert_int_equal(attn_desc_set_relative_bias(desc, 4, 2, 1), ATTN_OK);
    assert_int_equal(attn_desc_set_relative_bias(desc, 3, 2, 0), ATTN_OK);
    assert_int_equal(attn_desc_set_relative_bias(desc, 2, 2, 0), ATTN_OK);
    assert_int_equal(attn_desc_set_relative_bias(desc, 0, 0, 0), ATTN_OK);
    assert_int_equal(attn_desc_set_query_biases(desc, 1, 1), ATTN_OK);
    assert_int_equal(attn_desc_set_ranks(desc, ATTN_RANKS_OFF), ATTN_OK);
    assert_int_equal(attn_context_set_threads(context, 1024), ATTN_OK);
    assert_int_equal(attn_context_set_threads(context, 0), ATTN_OK);
    assert_int_equal(attn_context_set_isa(context, ATTN_ISA_AUTO), ATTN_OK);
    assert_int_equal(attn_context_set_blas_policy(context, ATTN_BLAS_SAFE), ATTN_OK);
    assert_int_equal(attn_context_set_allocator(context, NULL, NULL, NULL), ATTN_OK);
    expect_marked();
}

/* Calls setter number i with what it refuses, or with what the problem below has. */
static attn_status set_one(attn_desc *own, int i, int good) {
    switch (i) {
    case 0:
        return attn_desc_set_heads(own, 4, good ? 2 : 3);
    case 1:
        return attn_desc_set_dims(own, good ? 8 : 7, good ? 5 : 0);
    case 2:
        return attn_desc_set_scale(own, good ? 0.5F : NAN);
    case 3:
        return attn_desc_set_softcap(own, good ? 3.0F : -1.0F);
    case 4:
        return attn_desc_set_causal(own, good ? 1 : 7);
    case 5:
        return attn_desc_set_alignment(own, good ? ATTN_ALIGN_BOTTOM_RIGHT : 9);
    case 6:
        return attn_desc_set_window(own, good ? 9 : 3, good ? 4 : -2);
    case 7:
        return attn_desc_set_lengths(own, good ? 0 : 1, good ? 0 : 2);
    case 8:
        return attn_desc_set_block_mask(own, good ? 0 : 4, 0);
    case 9:
        return attn_desc_set_mask(own, good ? 0 : ATTN_F32);
    case 10:
        return attn_desc_set_engine(own, good ? ATTN_ENGINE_AUTO : 9);
    case 11:
        return attn_desc_set_relative_bias(own, good ? 6 : 1, 20, 0);
    case 12:
        return attn_desc_set_relative_keys(own, good ? 0 : 2);
    case 13:
        return attn_desc_set_query_biases(own, 1, good ? 0 : 2);
    case 14:
        return attn_desc_set_segments(own, good ? 0 : 2);
    case 15:
        return attn_desc_set_ranks(own, good ? ATTN_RANKS_OFF : 7);
    default:
        return attn_desc_set_bias(own, good ? 0 : ATTN_BF16);
    }
}

/* A refused setter spoils the descriptor until the same setter succeeds. */
static void refusals_are_remembered(void **state) {
    (void)state;
    struct test_problem problem =
        run_parse("h4/2 q20 k30 d8/5 scale=0.5 softcap=3 causal align=br window=9,4 "
                  "relbias=6,20 ubias");
    const attn_bounds bounds = {sizeof bounds, 1, 20, 30};
    struct test_call untouched, tried;
    call_open_on(&untouched, NULL, &problem, DATA_RANDOM, ALL_OUTPUTS);
    for (int i = 0; i < 17; i++) {
        call_open_on(&tried, NULL, &problem, DATA_RANDOM, ALL_OUTPUTS);
        attn_plan_destroy(tried.plan);
        attn_desc *own = run_desc(&problem);
        const attn_status refused = set_one(own, i, 0);
        assert_int_not_equal(refused, ATTN_OK);
        assert_int_equal(attn_plan_create(&tried.plan, tried.context, own, &bounds),
                         refused);
        assert_null(tried.plan);
        assert_non_null(strstr(attn_last_error(), "setter"));
        assert_int_equal(set_one(own, i, 1), ATTN_OK);
        run_need(attn_plan_create(&tried.plan, tried.context, own, &bounds), &problem,
                 "attn_plan_create");
        attn_desc_destroy(own);
        call_need_same(&untouched, &tried);
        call_close(&tried);
    }
    call_close(&untouched);
}

static void context_is_fixed_by_a_plan(void **state) {
    (void)state;
    struct test_problem problem = run_parse("q3 d4");
    attn_plan *plan = run_plan(context, &problem);
    REFUSED(attn_context_set_threads(context, 1), "plan");
    REFUSED(attn_context_set_parallel_for(context, NULL, NULL), "plan");
    REFUSED(attn_context_set_allocator(context, NULL, NULL, NULL), "plan");
    REFUSED(attn_context_set_isa(context, ATTN_ISA_AUTO), "plan");
    REFUSED(attn_context_set_blas_policy(context, ATTN_BLAS_SAFE), "plan");
    attn_plan_destroy(plan);
    REFUSED(attn_context_set_threads(context, 1), "plan");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(null_handles, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_numbers_of_relative_positions, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(half_an_allocator, setup, teardown),
        cmocka_unit_test_setup_teardown(limits_are_accepted, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals_are_remembered, setup, teardown),
        cmocka_unit_test_setup_teardown(context_is_fixed_by_a_plan, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
