/*
 * What attn_plan_create() refuses, that *plan is NULL then, and that nothing leaks.
 */
#include "tests/support/counting.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

static attn_context *context;
static attn_desc *desc;
static attn_bounds bounds;
static attn_plan *plan;
static struct counting counting;

static int setup(void **state) {
    (void)state;
    struct test_problem problem = run_parse("h4/2 q20 k30 d8");
    counting = (struct counting){0};
    context = run_context(&problem);
    desc = run_desc(&problem);
    bounds = (attn_bounds){sizeof bounds, 1, 20, 30};
    plan = (attn_plan *)&counting;
    return attn_context_set_allocator(context, counting_allocate, counting_release,
                                      &counting) != ATTN_OK;
}

static int teardown(void **state) {
    (void)state;
    attn_desc_destroy(desc);
    attn_context_destroy(context);
    return counting.live != 0 || counting.violations != 0;
}

static void refused(attn_status status, const char *says) {
    expect_refusal(attn_plan_create(&plan, context, desc, &bounds), status, says);
    assert_null(plan);
    assert_int_equal(counting.live, 0);
    /* Refused plans leave the context open to its setters. */
    assert_int_equal(attn_context_set_threads(context, 2), ATTN_OK);
}

static void null_arguments(void **state) {
    (void)state;
    expect_refusal(attn_plan_create(NULL, context, desc, &bounds), ATTN_ERR_INVALID,
                   "plan|NULL");
    expect_refusal(attn_plan_create(&plan, NULL, desc, &bounds), ATTN_ERR_INVALID,
                   "context|NULL");
    assert_null(plan);
    plan = (attn_plan *)&counting;
    expect_refusal(attn_plan_create(&plan, context, NULL, &bounds), ATTN_ERR_INVALID,
                   "desc|NULL");
    assert_null(plan);
    expect_refusal(attn_plan_create(&plan, context, desc, NULL), ATTN_ERR_INVALID,
                   "bounds|NULL");
    assert_int_equal(attn_plan_workspace_size(NULL), 0);
}

static void unset_facts(void **state) {
    (void)state;
    attn_desc *empty = NULL;
    assert_int_equal(attn_desc_create(&empty), ATTN_OK);
    expect_refusal(attn_plan_create(&plan, context, empty, &bounds), ATTN_ERR_INVALID,
                   "heads");
    assert_int_equal(attn_desc_set_heads(empty, 2, 2), ATTN_OK);
    expect_refusal(attn_plan_create(&plan, context, empty, &bounds), ATTN_ERR_INVALID,
                   "dims");
    assert_int_equal(attn_desc_set_dims(empty, 2, 2), ATTN_OK);
    assert_int_equal(attn_plan_create(&plan, context, empty, &bounds), ATTN_OK);
    attn_plan_destroy(plan);
    attn_desc_destroy(empty);
}

static void prefix_without_causal(void **state) {
    (void)state;
    assert_int_equal(attn_desc_set_prefix(desc, 1), ATTN_OK);
    refused(ATTN_ERR_INVALID, "prefix|causal");
}

static void position_bias_without_relative_keys(void **state) {
    (void)state;
    assert_int_equal(attn_desc_set_query_biases(desc, 1, 1), ATTN_OK);
    refused(ATTN_ERR_INVALID, "position bias|relative keys");
    assert_int_equal(attn_desc_set_relative_keys(desc, 1), ATTN_OK);
    assert_int_equal(attn_plan_create(&plan, context, desc, &bounds), ATTN_OK);
    attn_plan_destroy(plan);
}

static void negative_bounds(void **state) {
    (void)state;
    bounds.batch = -3;
    refused(ATTN_ERR_INVALID, "batch|-3");
    bounds.batch = 1;
    bounds.q_length = -4;
    refused(ATTN_ERR_INVALID, "q_length|-4");
    bounds.q_length = 1;
    bounds.kv_length = INT64_MIN;
    refused(ATTN_ERR_INVALID, "kv_length|-9223372036854775808");
}

static void sizes_of_bounds(void **state) {
    (void)state;
    struct {
        attn_bounds bounds;
        int64_t more[2];
    } newer = {{sizeof newer, 1, 20, 30}, {0, 0}};
    bounds.size = 0;
    refused(ATTN_ERR_INVALID, "0|size");
    bounds.size = 7;
    refused(ATTN_ERR_INVALID, "7|size");
    bounds.size = -8;
    refused(ATTN_ERR_INVALID, "-8|size");
    newer.more[1] = 5;
    expect_refusal(attn_plan_create(&plan, context, desc, &newer.bounds),
                   ATTN_ERR_UNSUPPORTED, "40|32");
    newer.more[1] = 0;
    assert_int_equal(attn_plan_create(&plan, context, desc, &newer.bounds), ATTN_OK);
    attn_plan_destroy(plan);
}

/* Whatever the sizes are: a plan or a refusal with a number, never a crash. */
static void enormous_bounds(void **state) {
    (void)state;
    static const int64_t sizes[] = {0, 1, INT32_MAX, (int64_t)1 << 40, INT64_MAX};
    int refusals = 0;
    for (size_t n = 0; n < 375; n++) {
        assert_int_equal(attn_desc_set_engine(desc, (int32_t)(n / 125)), ATTN_OK);
        bounds.batch = sizes[n % 5];
        bounds.q_length = sizes[n / 5 % 5];
        bounds.kv_length = sizes[n / 25 % 5];
        attn_status status = attn_plan_create(&plan, context, desc, &bounds);
        if (status == ATTN_OK) {
            attn_plan_destroy(plan);
            continue;
        }
        assert_true(status == ATTN_ERR_INVALID || status == ATTN_ERR_UNSUPPORTED);
        assert_null(plan);
        expect_refusal(status, status,
                       sizes[n / 25 % 5] == INT64_MAX ? "9223372036854775807" : "");
        refusals++;
    }
    assert_true(refusals < 375);
}

/* The descriptor may go, and the context's handle too, while the plan lives. */
static void plan_outlives_its_makers(void **state) {
    (void)state;
    struct test_problem problem = run_parse("h4/2 q20 k30 d8 threads=2");
    struct test_inputs inputs;
    struct test_outputs outputs;
    attn_context *own = run_context(&problem);
    attn_plan *made = run_plan(own, &problem);
    attn_context_destroy(own);
    gen_inputs(&inputs, &problem, DATA_RANDOM);
    outputs_open(&outputs, &problem, ALL_OUTPUTS);
    attn_forward_args args;
    run_args(&args, &inputs, &outputs);
    run_need(attn_plan_forward(made, &args), &problem, "attn_plan_forward");
    attn_plan_destroy(made);
    outputs_close(&outputs);
    gen_free(&inputs);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(null_arguments),        TEST(unset_facts),
        TEST(prefix_without_causal), TEST(position_bias_without_relative_keys),
        TEST(negative_bounds),       TEST(sizes_of_bounds),
        TEST(enormous_bounds),       TEST(plan_outlives_its_makers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
