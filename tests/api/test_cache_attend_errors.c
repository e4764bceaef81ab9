/*
 * What attention from a cache refuses: one thing wrong at a time, the status, the words
 * and numbers of the message, and that nothing was written.
 */
#include <stdio.h>

#include "cache/cache.h"
#include "tests/support/cache_attend.h"
#include "tests/support/cache_keys.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

/* 3 queries of 2 sequences of 9 keys, in a cache of 2 layers and 4 sequences. */
static const char text[] = "b2 h4/2 q3 k9 d8/5 causal align=br seed=1";

static struct counting counting;
static struct test_call plain, call;
static attn_cache *cache;
static int64_t of_sequences[2];
static attn_tensor sequences;

static int setup(void **state) {
    (void)state;
    counting = (struct counting){0};
    call_open(&plain, text, ALL_OUTPUTS);
    const attn_cache_options options =
        attend_options(&plain.inputs.problem, ATTN_F32, 4);
    cache = cache_make(&options, &counting);
    of_sequences[0] = 3;
    of_sequences[1] = 1;
    attend_fill(cache, 0, of_sequences, &plain.inputs, NULL);
    attend_fill(cache, 1, of_sequences, &plain.inputs, NULL);
    sequences = attend_integers(of_sequences, 2);
    attend_open(&call, &plain, cache, 1, &sequences);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    attend_close(&call);
    attn_cache_destroy(cache);
    call_close(&plain);
    assert_int_equal(counting.live, 0);
    return 0;
}

static void refused(attn_status status, const char *says) {
    outputs_reset(&call.outputs);
    expect_refusal(attn_plan_forward(call.plan, &call.args), status, says);
    assert_true(outputs_untouched(&call.outputs));
}

/* With another descriptor and bounds, in place of the call's own. */
static void plan_again(const char *words, const attn_bounds *bounds, int packed_keys) {
    const struct test_problem problem = run_parse(words);
    attn_desc *desc = run_desc(&problem);
    attn_plan_destroy(call.plan);
    run_need(attn_desc_set_packed(desc, 0, packed_keys), &problem, "set_packed");
    run_need(attn_plan_create(&call.plan, call.context, desc, bounds), &problem,
             "attn_plan_create");
    attn_desc_destroy(desc);
}

static void the_call_is_good(void **state) {
    (void)state;
    expect_mark();
    attend_need_like(&plain, &call);
    expect_marked();
}

static void keys_from_two_places(void **state) {
    (void)state;
    call.args.key = &plain.inputs.key;
    refused(ATTN_ERR_INVALID, "key and a cache are given");
    call.args.value = &plain.inputs.value;
    refused(ATTN_ERR_INVALID, "key and a cache are given");
    call.args.key = NULL;
    refused(ATTN_ERR_INVALID, "value and a cache are given");
}

/* The cache knows the lengths, and bytes bring their scales along. */
static void what_the_cache_knows(void **state) {
    (void)state;
    static const attn_bounds bounds = {sizeof bounds, 2, 3, 9};
    int64_t of_lengths[2] = {9, 9};
    const attn_tensor lengths = attend_integers(of_lengths, 2);
    float numbers[36] = {0};
    attn_tensor scales;
    attn_tensor_init(&scales, ATTN_F32, 3, (int64_t[]){2, 2, 9}, numbers);

    call.args.kv_lengths = &lengths;
    refused(ATTN_ERR_INVALID, "kv_lengths is given|does not announce");
    call.args.kv_lengths = NULL;
    call.args.k_starts = &lengths;
    refused(ATTN_ERR_INVALID, "k_starts is given|does not announce packed");
    call.args.k_starts = NULL;
    call.args.key_scales = &scales;
    refused(ATTN_ERR_INVALID, "key_scales is given|no key of i8");
    call.args.key_scales = NULL;
    call.args.value_scales = &scales;
    refused(ATTN_ERR_INVALID, "value_scales is given|no value of i8");
    call.args.value_scales = NULL;

    plan_again("b2 h4/2 q3 k9 d8/5 causal align=br kvlens", &bounds, 0);
    call.args.kv_lengths = &lengths;
    refused(ATTN_ERR_UNSUPPORTED, "announces kv_lengths|cache knows");
    call.args.kv_lengths = NULL;
    refused(ATTN_ERR_UNSUPPORTED, "announces kv_lengths|cache knows");
}

static void packed_keys(void **state) {
    (void)state;
    static const attn_bounds bounds = {sizeof bounds, 2, 3, 9};
    int64_t of_starts[3] = {0, 4, 9};
    const attn_tensor starts = attend_integers(of_starts, 3);
    plan_again(text, &bounds, 1);
    call.args.k_starts = &starts;
    refused(ATTN_ERR_UNSUPPORTED, "announces packed keys|cache knows");
}

static void other_shapes(void **state) {
    (void)state;
    static const attn_bounds bounds = {sizeof bounds, 2, 3, 9};
    static const struct {
        const char *words, *says;
    } cases[] = {
        {"h4 q3 k9 d8/5", "cache has kv_heads 2, the descriptor 4"},
        {"h4/1 q3 k9 d8/5", "cache has kv_heads 2, the descriptor 1"},
        {"h4/2 q3 k9 d9/5", "cache has key_dim 8, the descriptor 9"},
        {"h4/2 q3 k9 d8/6", "cache has value_dim 5, the descriptor 6"},
    };
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        plan_again(cases[c].words, &bounds, 0);
        refused(ATTN_ERR_INVALID, cases[c].says);
    }
}

static void layers(void **state) {
    (void)state;
    call.args.cache_layer = 2;
    refused(ATTN_ERR_INVALID, "cache_layer is 2|2 layers");
    call.args.cache_layer = -1;
    refused(ATTN_ERR_INVALID, "cache_layer is -1|2 layers");
    call.args.cache_layer = 1;
    call.args.reserved = 7;
    refused(ATTN_ERR_UNSUPPORTED, "reserved is 7, should be 0");
}

static void bad_sequences(void **state) {
    (void)state;
    static const struct {
        int64_t number;
        const char *says;
    } cases[] = {{4, "sequences[1] is 4|4 sequences"},
                 {-1, "sequences[1] is -1|4 sequences"},
                 {INT64_MIN, "sequences[1] is -9223372036854775808|4 sequences"}};
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        of_sequences[1] = cases[c].number;
        refused(ATTN_ERR_INVALID, cases[c].says);
    }
    of_sequences[1] = 1;
    const attn_tensor good = sequences;
    sequences.shape[0] = 3;
    refused(ATTN_ERR_INVALID, "sequences has shape (3), should be (2)");
    sequences.shape[0] = 1;
    refused(ATTN_ERR_INVALID, "sequences has shape (1), should be (2)");
    sequences = good;
    sequences.rank = 2;
    refused(ATTN_ERR_INVALID, "sequences has shape (2, 0), should be (2)");
    sequences = good;
    sequences.dtype = ATTN_F32;
    refused(ATTN_ERR_INVALID, "sequences has dtype f32");
    sequences = good;
    sequences.reserved[0] = 1;
    refused(ATTN_ERR_UNSUPPORTED, "sequences|reserved|1");
    sequences = good;
    sequences.data = NULL;
    refused(ATTN_ERR_INVALID, "sequences has elements but data is NULL");
    /* the same sequence twice is no mistake: nothing is written to it */
    sequences = good;
    of_sequences[1] = 3;
    call_run(&call);
}

/* More batch elements than sequences are fine only if one says which they are. */
static void batches(void **state) {
    (void)state;
    struct test_call large;
    int64_t twice[6] = {3, 1, 3, 1, 3, 3};
    const attn_tensor given = attend_integers(twice, 6);
    call_open(&large, "b6 h4/2 q3 k9 d8/5 causal align=br seed=1", ALL_OUTPUTS);
    attend_close(&call);
    attend_open(&call, &large, cache, 1, NULL);
    refused(ATTN_ERR_INVALID, "batch is 6|4 sequences");
    call.args.sequences = &given;
    call_run(&call);
    call_close(&large);
}

static void without_a_cache(void **state) {
    (void)state;
    plain.args.sequences = &sequences;
    outputs_reset(&plain.outputs);
    expect_refusal(attn_plan_forward(plain.plan, &plain.args), ATTN_ERR_INVALID,
                   "sequences is given, but no cache");
    plain.args.sequences = NULL;
    plain.args.cache_layer = 1;
    expect_refusal(attn_plan_forward(plain.plan, &plain.args), ATTN_ERR_INVALID,
                   "cache_layer is 1, but there is no cache");
    plain.args.cache_layer = 0;
    plain.args.reserved = 7;
    expect_refusal(attn_plan_forward(plain.plan, &plain.args), ATTN_ERR_UNSUPPORTED,
                   "reserved is 7, should be 0");
    assert_true(outputs_untouched(&plain.outputs));
    call.args.cache = NULL;
    call.args.cache_layer = 0;
    call.args.sequences = NULL;
    refused(ATTN_ERR_INVALID, "key is missing");
}

/* What the longest sequence keeps counts, not the cache's capacity. */
static void beyond_the_bounds(void **state) {
    (void)state;
    attn_bounds bounds = {sizeof bounds, 2, 3, 8};
    plan_again(text, &bounds, 0);
    refused(ATTN_ERR_INVALID, "kv_length is 9, beyond the plan's bound of 8");
    bounds = (attn_bounds){sizeof bounds, 1, 3, 9};
    plan_again(text, &bounds, 0);
    refused(ATTN_ERR_INVALID, "batch is 2, beyond the plan's bound of 1");
    bounds = (attn_bounds){sizeof bounds, 2, 2, 9};
    plan_again(text, &bounds, 0);
    refused(ATTN_ERR_INVALID, "q_length is 3, beyond the plan's bound of 2");
    /* what is forgotten does not count */
    bounds = (attn_bounds){sizeof bounds, 2, 3, 8};
    plan_again(text, &bounds, 0);
    assert_int_equal(attn_cache_evict(cache, 3, 1), ATTN_OK);
    assert_int_equal(attn_cache_truncate(cache, 1, 8), ATTN_OK);
    const attn_tensor *wide[] = {call.args.out, call.args.lse};
    attn_forward_args_init(&call.args, sizeof call.args);
    call.args.query = &call.inputs.query;
    call.args.out = wide[0];
    call.args.lse = wide[1];
    call.args.cache = cache;
    call.args.cache_layer = 1;
    call.args.sequences = &sequences;
    run_need(attn_plan_forward(call.plan, &call.args), &call.inputs.problem,
             "attn_plan_forward");
}

/* Each batch element for itself; rows that do not count ask for nothing. */
static void windows_that_reach_too_far(void **state) {
    (void)state;
    static const attn_bounds bounds = {sizeof bounds, 2, 3, 9};
    int64_t of_rows[2] = {3, 3}, of_offsets[2] = {6, 7};
    const attn_tensor rows = attend_integers(of_rows, 2);
    const attn_tensor offsets = attend_integers(of_offsets, 2);
    assert_int_equal(attn_cache_evict(cache, of_sequences[1], 3), ATTN_OK);

    plan_again("b2 h4/2 q3 k9 d8/5 align=offsets window=4,0", &bounds, 0);
    call.args.query_offsets = &offsets;
    call_run(&call);
    of_offsets[1] = 6;
    refused(ATTN_ERR_INVALID,
            "batch element 1 has position 6|window from 2 on|no key before 3");
    of_offsets[1] = -3;
    refused(ATTN_ERR_INVALID,
            "batch element 1 has position -3|window from 0 on|no key before 3");
    call.args.query_offsets = NULL;

    plan_again("b2 h4/2 q3 k9 d8/5 qlens window=4,0", &bounds, 0);
    call.args.q_lengths = &rows;
    refused(ATTN_ERR_INVALID,
            "batch element 1 has position 6|window from 2 on|no key before 3");
    of_rows[1] = 2;
    call_run(&call);
    of_rows[1] = 0;
    assert_int_equal(attn_cache_evict(cache, of_sequences[1], 9), ATTN_OK);
    call_run(&call);
    of_rows[1] = 1;
    refused(ATTN_ERR_INVALID,
            "batch element 1 has position 8|window from 4 on|no key before 9");

    /* a window without a left end asks for what there is */
    plan_again("b2 h4/2 q3 k9 d8/5 qlens window=-1,0", &bounds, 0);
    call_run(&call);
}

/* Prefixes count from the first token. */
static void prefixes(void **state) {
    (void)state;
    static const attn_bounds bounds = {sizeof bounds, 2, 3, 9};
    int64_t of_prefixes[2] = {0, 9};
    const attn_tensor lengths = attend_integers(of_prefixes, 2);
    plan_again("b2 h4/2 q3 k9 d8/5 causal prefix", &bounds, 0);
    assert_int_equal(attn_cache_evict(cache, 3, 6), ATTN_OK);
    call.args.prefix_lengths = &lengths;
    call_run(&call);
    of_prefixes[1] = 10;
    refused(ATTN_ERR_INVALID, "prefix_lengths[1] is 10|0 to 9");
    of_prefixes[1] = -1;
    refused(ATTN_ERR_INVALID, "prefix_lengths[1] is -1|0 to 9");
}

/* Sizes of outputs follow from the longest sequence of the call. */
static void shapes_of_outputs(void **state) {
    (void)state;
    assert_int_equal(attn_cache_truncate(cache, 3, 7), ATTN_OK);
    assert_int_equal(attn_cache_truncate(cache, 1, 8), ATTN_OK);
    refused(ATTN_ERR_INVALID, "weights has shape (2, 4, 3, 9), should be (2, 4, 3, 8)");
    call.args.weights = NULL;
    refused(ATTN_ERR_INVALID, "mean_weights has shape (2, 3, 9), should be (2, 3, 8)");
}

/* Nothing may be written to the memory of the cache, from its first byte to its last.
 */
static void outputs_in_the_cache(void **state) {
    (void)state;
    struct cached view;
    assert_int_equal(attn_cache_view(cache, 1, &view), ATTN_OK);
    char *memory = (char *)(uintptr_t)view.memory;
    attn_tensor out = *call.args.out;
    const int64_t shape[] = {2, 4, 3, 5};
    const int64_t bytes = shape[0] * shape[1] * shape[2] * shape[3] * 4;
    const int64_t at[] = {0, 64, 4 - bytes, (int64_t)attn_cache_bytes(cache, NULL) - 4};
    attn_tensor_init(&out, ATTN_F32, 4, shape, NULL);
    call.args.out = &out;
    for (size_t i = 0; i < COUNT_OF(at); i++) {
        out.data = memory + at[i];
        refused(ATTN_ERR_INVALID, "out|cache|overlap");
    }
    attn_tensor lse;
    attn_tensor_init(&lse, ATTN_F32, 3, shape, memory + 128);
    call.args.out = plain.args.out;
    call.args.lse = &lse;
    refused(ATTN_ERR_INVALID, "lse|cache|overlap");
    call.args.lse = NULL;
    call.args.workspace = memory;
    call.args.workspace_size = attn_plan_workspace_size(call.plan);
    refused(ATTN_ERR_INVALID, "workspace|cache|overlap");
}

static void no_backward_pass(void **state) {
    (void)state;
    attn_backward_args backward;
    attn_backward_args_init(&backward, sizeof backward);
    backward.forward = &call.args;
    expect_refusal(attn_plan_backward(call.plan, &backward), ATTN_ERR_UNSUPPORTED,
                   "backward pass of a cache");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_call_is_good),
        TEST(keys_from_two_places),
        TEST(what_the_cache_knows),
        TEST(packed_keys),
        TEST(other_shapes),
        TEST(layers),
        TEST(bad_sequences),
        TEST(batches),
        TEST(without_a_cache),
        TEST(beyond_the_bounds),
        TEST(shapes_of_outputs),
        TEST(outputs_in_the_cache),
        TEST(no_backward_pass),
        TEST(windows_that_reach_too_far),
        TEST(prefixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
