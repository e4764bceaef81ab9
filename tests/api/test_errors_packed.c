/*
 * What plans and calls with packed sequences refuse: one thing wrong at a time, the
 * status, the words and numbers of the message, and that nothing was written.
 */
#include <stdio.h>
#include <string.h>

#include "tests/support/call.h"
#include "tests/support/element.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

static struct test_call call;
static attn_tensor changed; /* stands in for one tensor of the call */

/* Three sequences of each side: of 4, 0, 6 queries in 12 rows, and of 7, 1, 9 keys. */
static int64_t q_starts[4], k_starts[4];

static int setup(void **state) {
    (void)state;
    static const int64_t queries[4] = {1, 5, 5, 11}, keys[4] = {0, 7, 8, 17};
    struct test_problem problem = run_parse("b3 h4/2 q6 k9 d8/5");
    const int64_t shape = 4, rows[2] = {12, 17};
    struct test_problem tensors = run_parse("b1 h4/2 q12 k17 d8/5");
    memcpy(q_starts, queries, sizeof queries);
    memcpy(k_starts, keys, sizeof keys);
    call_open_on(&call, NULL, &tensors, DATA_RANDOM, ROW_OUTPUTS);
    /* tensors of one batch element, and a plan for three packed sequences in them */
    problem.q_packed = problem.k_packed = 1;
    attn_plan_destroy(call.plan);
    call.plan = run_plan(call.context, &problem);
    assert_int_equal(call.inputs.query.shape[2], rows[0]);
    assert_int_equal(call.inputs.key.shape[2], rows[1]);
    assert_int_equal(
        attn_tensor_init(&call.inputs.q_starts, ATTN_I64, 1, &shape, q_starts),
        ATTN_OK);
    assert_int_equal(
        attn_tensor_init(&call.inputs.k_starts, ATTN_I64, 1, &shape, k_starts),
        ATTN_OK);
    run_args(&call.args, &call.inputs, &call.outputs);
    call.outputs.packed = 1;
    call.outputs.first = queries[0];
    call.outputs.end = queries[3];
    return 0;
}

static int teardown(void **state) {
    (void)state;
    call_close(&call);
    return 0;
}

static void refused(attn_status status, const char *says) {
    expect_refusal(attn_plan_forward(call.plan, &call.args), status, says);
    assert_true(outputs_untouched(&call.outputs));
}

/* Puts a copy of a member's tensor in its place, for the test to change. */
static attn_tensor *change(const attn_tensor **member) {
    changed = **member;
    *member = &changed;
    return &changed;
}

/* The call is fine as it stands. */
static void the_call_is_good(void **state) {
    (void)state;
    call_run(&call);
    assert_true(outputs_whole(&call.outputs));
}

/* ------------------------------------------------------------------------- starts */

static void starts_missing_or_malformed(void **state) {
    (void)state;
    const struct {
        const char *name;
        const attn_tensor **member;
    } starts[] = {{"q_starts", &call.args.q_starts}, {"k_starts", &call.args.k_starts}};
    for (size_t s = 0; s < COUNT_OF(starts); s++) {
        const attn_tensor *before = *starts[s].member;
        char says[64];
        *starts[s].member = NULL;
        snprintf(says, sizeof says, "%s is missing", starts[s].name);
        refused(ATTN_ERR_INVALID, says);
        *starts[s].member = before;
        attn_tensor *t = change(starts[s].member);
        t->rank = 2;
        snprintf(says, sizeof says, "%s|rank 2|1", starts[s].name);
        refused(ATTN_ERR_INVALID, says);
        *t = *before;
        t->shape[0] = 0;
        snprintf(says, sizeof says, "%s is empty|one number more", starts[s].name);
        refused(ATTN_ERR_INVALID, says);
        *t = *before;
        t->dtype = ATTN_F32;
        snprintf(says, sizeof says, "%s|f32|i32 or i64", starts[s].name);
        refused(ATTN_ERR_INVALID, says);
        *t = *before;
        t->stride[0] = 2;
        snprintf(says, sizeof says, "%s|stride 2", starts[s].name);
        refused(ATTN_ERR_INVALID, says);
        *t = *before;
        t->data = NULL;
        refused(ATTN_ERR_INVALID, starts[s].name);
        *starts[s].member = before;
    }
    /* queries say how many sequences there are */
    change(&call.args.k_starts)->shape[0] = 3;
    refused(ATTN_ERR_INVALID, "k_starts|(3)|(4)|batch + 1");
}

static void starts_out_of_order(void **state) {
    (void)state;
    const struct {
        int64_t *starts;
        int64_t b, number;
        const char *says;
    } cases[] = {
        {q_starts, 0, -1, "q_starts[0] is -1|0 to 12"},
        {q_starts, 0, 6, "q_starts[1] is 5|6 to 12"},
        {q_starts, 2, 4, "q_starts[2] is 4|5 to 12"},
        {q_starts, 3, 13, "q_starts[3] is 13|5 to 12"},
        {q_starts, 1, INT64_MIN, "q_starts[1] is -9223372036854775808|1 to 12"},
        {k_starts, 0, -3, "k_starts[0] is -3|0 to 17"},
        {k_starts, 2, 6, "k_starts[2] is 6|7 to 17"},
        {k_starts, 3, 18, "k_starts[3] is 18|8 to 17"},
        {k_starts, 3, INT64_MAX, "k_starts[3] is 9223372036854775807|8 to 17"},
    };
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        const int64_t before = cases[c].starts[cases[c].b];
        cases[c].starts[cases[c].b] = cases[c].number;
        refused(ATTN_ERR_INVALID, cases[c].says);
        cases[c].starts[cases[c].b] = before;
    }
}

/* A plan's bounds are those of the longest sequence, whatever the tensors hold. */
static void beyond_the_bounds(void **state) {
    (void)state;
    q_starts[2] = 4;
    q_starts[1] = 4;
    refused(ATTN_ERR_INVALID, "q_length of sequence 2 is 7|bound of 6");
    q_starts[1] = q_starts[2] = 5;
    k_starts[1] = k_starts[2] = 7;
    refused(ATTN_ERR_INVALID, "kv_length of sequence 2 is 10|bound of 9");
    k_starts[2] = 8;
    int64_t more[5] = {1, 5, 5, 11, 11};
    const int64_t shape = 5;
    attn_tensor five;
    assert_int_equal(attn_tensor_init(&five, ATTN_I64, 1, &shape, more), ATTN_OK);
    call.args.q_starts = call.args.k_starts = &five;
    refused(ATTN_ERR_INVALID, "batch is 4|bound of 3");
}

static void unannounced_starts(void **state) {
    (void)state;
    const char *const texts[] = {"b1 h4/2 q12 k17 d8/5", "b3 h4/2 q12 k17 d8/5 kpacked",
                                 "b3 h4/2 q12 k17 d8/5 qpacked"};
    const char *const says[] = {"q_starts|does not announce packed",
                                "q_starts|does not announce packed",
                                "k_starts|does not announce packed"};
    attn_plan *own = call.plan;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_problem problem = run_parse(texts[t]);
        call.plan = run_plan(call.context, &problem);
        refused(ATTN_ERR_INVALID, says[t]);
        attn_plan_destroy(call.plan);
    }
    call.plan = own;
}

/* ------------------------------------------------------------------------ tensors */

/* Packed tensors have batch 1, and outputs as many rows as the query. */
static void shapes(void **state) {
    (void)state;
    const struct {
        const attn_tensor **member;
        int axis;
        const char *says;
    } cases[] = {
        {&call.args.query, 0, "query|(2, 4, 12, 8)|(1, 4, 12, 8)"},
        {&call.args.key, 0, "key|(2, 2, 17, 8)|(1, 2, 17, 8)"},
        {&call.args.value, 0, "value|(2, 2, 17, 5)|(1, 2, 17, 5)"},
        {&call.args.value, 2, "value|(1, 2, 18, 5)|(1, 2, 17, 5)"},
        {&call.args.out, 0, "out|(2, 4, 12, 5)|(1, 4, 12, 5)"},
        {&call.args.out, 2, "out|(1, 4, 13, 5)|(1, 4, 12, 5)"},
        {&call.args.lse, 2, "lse|(1, 4, 13)|(1, 4, 12)"},
        {&call.args.row_max, 0, "row_max|(2, 4, 12)|(1, 4, 12)"},
        {&call.args.row_sum, 2, "row_sum|(1, 4, 13)|(1, 4, 12)"},
    };
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        const attn_tensor *before = *cases[c].member;
        change(cases[c].member)->shape[cases[c].axis]++;
        refused(ATTN_ERR_INVALID, cases[c].says);
        *cases[c].member = before;
    }
    const attn_tensor **const needed[] = {&call.args.query, &call.args.key,
                                          &call.args.value, &call.args.out};
    const char *const names[] = {"query", "key", "value", "out"};
    for (size_t n = 0; n < COUNT_OF(needed); n++) {
        const attn_tensor *before = *needed[n];
        char says[64];
        *needed[n] = NULL;
        snprintf(says, sizeof says, "%s is missing", names[n]);
        refused(ATTN_ERR_INVALID, says);
        *needed[n] = before;
        change(needed[n])->rank = 3;
        snprintf(says, sizeof says, "%s|(1, 4, 12)|(1, 4, 12, 5)", names[n]);
        refused(ATTN_ERR_INVALID, n == 0   ? "query has rank 3, should be 4"
                                  : n == 1 ? "key has rank 3, should be 4"
                                  : n == 2 ? "value|(1, 2, 17)|(1, 2, 17, 5)"
                                           : says);
        *needed[n] = before;
    }
}

/* What has a number for each pair of tokens has no packed form. */
static void outputs_of_pairs(void **state) {
    (void)state;
    static float numbers[4096];
    static const int64_t shape[4] = {3, 4, 6, 9};
    attn_tensor four, three, kept;
    assert_int_equal(attn_tensor_init(&four, ATTN_F32, 4, shape, numbers), ATTN_OK);
    assert_int_equal(attn_tensor_init(&three, ATTN_F32, 3, shape, numbers), ATTN_OK);
    kept = four;
    kept.dtype = ATTN_BOOL;
    const struct {
        const char *name;
        const attn_tensor **member, *tensor;
    } pairs[] = {{"weights", &call.args.weights, &four},
                 {"mean_weights", &call.args.mean_weights, &three},
                 {"key_sums", &call.args.key_sums, &three},
                 {"raw_scores", &call.args.raw_scores, &four},
                 {"capped_scores", &call.args.capped_scores, &four},
                 {"biased_scores", &call.args.biased_scores, &four},
                 {"dropout_mask", &call.args.dropout_mask, &kept}};
    struct test_problem keys = run_parse("b1 h4/2 q12 k9 d8/5 kpacked");
    attn_plan *own = call.plan, *plan = run_plan(call.context, &keys);
    int64_t one[2] = {0, 9}, two = 2;
    attn_tensor starts;
    assert_int_equal(attn_tensor_init(&starts, ATTN_I64, 1, &two, one), ATTN_OK);
    for (size_t p = 0; p < COUNT_OF(pairs); p++) {
        const attn_forward_args before = call.args;
        char says[64];
        *pairs[p].member = pairs[p].tensor;
        snprintf(says, sizeof says, "%s|none of packed queries", pairs[p].name);
        refused(ATTN_ERR_UNSUPPORTED, says);
        call.plan = plan;
        call.args.q_starts = NULL;
        call.args.k_starts = &starts;
        snprintf(says, sizeof says, "%s|none of packed keys", pairs[p].name);
        refused(ATTN_ERR_UNSUPPORTED, says);
        call.plan = own;
        call.args = before;
    }
    attn_plan_destroy(plan);
    assert_true(numbers[0] == 0 &&
                memcmp(numbers, numbers + 1, sizeof numbers - 4) == 0);
}

/* Sequences of a cache without one. */
static void cache_members(void **state) {
    (void)state;
    call.args.sequences = call.args.q_starts;
    refused(ATTN_ERR_INVALID, "sequences|no cache");
    call.args.sequences = NULL;
    call.args.cache_layer = 3;
    refused(ATTN_ERR_INVALID, "cache_layer is 3|no cache");
    call.args.cache_layer = 0;
    call.args.reserved = 5;
    refused(ATTN_ERR_UNSUPPORTED, "reserved|5");
}

/* ------------------------------------------------------------------- descriptors */

static void plans(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
        attn_status status;
    } cases[] = {
        {"qpacked qlens", "q_lengths with packed queries", ATTN_ERR_INVALID},
        {"qpacked kpacked qlens", "q_lengths with packed queries", ATTN_ERR_INVALID},
        {"kpacked kvlens", "kv_lengths with packed keys", ATTN_ERR_INVALID},
        {"qpacked mask", "a mask with packed queries", ATTN_ERR_UNSUPPORTED},
        {"kpacked mask", "a mask with packed keys", ATTN_ERR_UNSUPPORTED},
        {"qpacked bias", "a bias with packed queries", ATTN_ERR_UNSUPPORTED},
        {"kpacked block=8x8", "a block mask with packed keys", ATTN_ERR_UNSUPPORTED},
        {"qpacked kpacked docs", "documents with packed queries", ATTN_ERR_UNSUPPORTED},
        {"kpacked segments", "segments with packed keys", ATTN_ERR_UNSUPPORTED},
        {"qpacked ranks=upto", "ranks with packed queries", ATTN_ERR_UNSUPPORTED},
        {"kpacked ranks=below", "ranks with packed keys", ATTN_ERR_UNSUPPORTED},
    };
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        struct test_problem problem = run_parse(cases[c].text);
        attn_desc *desc = run_desc(&problem);
        const attn_bounds bounds = {sizeof bounds, 3, 6, 9};
        attn_plan *plan = call.plan;
        expect_refusal(attn_plan_create(&plan, call.context, desc, &bounds),
                       cases[c].status, cases[c].says);
        assert_null(plan);
        attn_desc_destroy(desc);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_call_is_good),
        TEST(starts_missing_or_malformed),
        TEST(starts_out_of_order),
        TEST(beyond_the_bounds),
        TEST(unannounced_starts),
        TEST(shapes),
        TEST(outputs_of_pairs),
        TEST(cache_members),
        TEST(plans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
