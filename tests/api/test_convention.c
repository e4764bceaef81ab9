/*
 * Each convention stands for a setter: the two give the same bits on a problem where
 * the four alignments give four different results.
 */
#include "tests/support/call.h"
#include "tests/support/run.h"

static const struct {
    int32_t convention, alignment;
} cases[] = {
    {ATTN_CONVENTION_TORCH_2, ATTN_ALIGN_TOP_LEFT},
    {ATTN_CONVENTION_ONNX_23, ATTN_ALIGN_TOP_LEFT},
    {ATTN_CONVENTION_ONNX_24, ATTN_ALIGN_KV_LENGTHS},
    {ATTN_CONVENTION_ONNX_25, ATTN_ALIGN_KV_LENGTHS},
    {ATTN_CONVENTION_FLASH_2, ATTN_ALIGN_BOTTOM_RIGHT},
};

/* With lengths KV_LENGTHS is BOTTOM_RIGHT, without it is TOP_LEFT: both are looked at.
 */
static const char *const texts[] = {"b3 h2 q20 k50 d8 causal kvlens seed=3",
                                    "b3 h2 q20 k50 d8 causal seed=3"};

static void conventions_are_setters(void **state) {
    (void)state;
    for (size_t n = 0; n < COUNT_OF(cases) * COUNT_OF(texts); n++) {
        struct test_problem problem = run_parse(texts[n % 2]);
        struct test_call setter, convention;
        problem.alignment = cases[n / 2].alignment;
        call_open_on(&setter, NULL, &problem, DATA_RANDOM, ALL_OUTPUTS);
        call_open_on(&convention, NULL, &problem, DATA_RANDOM, ALL_OUTPUTS);
        /* From another alignment, so that a convention that does nothing shows. */
        problem.alignment = problem.alignment == ATTN_ALIGN_BOTTOM_RIGHT
                                ? ATTN_ALIGN_TOP_LEFT
                                : ATTN_ALIGN_BOTTOM_RIGHT;
        attn_desc *desc = run_desc(&problem);
        attn_bounds bounds = {sizeof bounds, 3, 20, 50};
        assert_int_equal(attn_desc_set_convention(desc, cases[n / 2].convention),
                         ATTN_OK);
        attn_plan_destroy(convention.plan);
        run_need(attn_plan_create(&convention.plan, convention.context, desc, &bounds),
                 &problem, "attn_plan_create");
        attn_desc_destroy(desc);
        call_need_same(&setter, &convention);
        call_close(&setter);
        call_close(&convention);
    }
}

/* GroupQueryAttention stands for three setters, whatever was set before. */
static void group_query_attention(void **state) {
    (void)state;
    struct test_problem problem =
        run_parse("b3 h4/2 q5 k50 d8 causal align=br kvlens seed=4");
    struct test_call setters, convention;
    call_open_on(&setters, NULL, &problem, DATA_RANDOM, ALL_OUTPUTS);
    call_open_on(&convention, NULL, &problem, DATA_RANDOM, ALL_OUTPUTS);
    problem.causal = problem.kv_lengths = 0;
    problem.q_lengths = 1;
    problem.alignment = ATTN_ALIGN_OFFSETS;
    attn_desc *desc = run_desc(&problem);
    attn_bounds bounds = {sizeof bounds, 3, 5, 50};
    assert_int_equal(attn_desc_set_convention(desc, ATTN_CONVENTION_ORT_GQA), ATTN_OK);
    attn_plan_destroy(convention.plan);
    run_need(attn_plan_create(&convention.plan, convention.context, desc, &bounds),
             &problem, "attn_plan_create");
    attn_desc_destroy(desc);
    call_need_same(&setters, &convention);
    call_close(&setters);
    call_close(&convention);
}

/* ONNX-23 with past keys: the convention, then offsets. */
static void a_later_setter_wins(void **state) {
    (void)state;
    struct test_problem problem = run_parse("b2 h2 q20 k50 d8 causal align=offsets");
    struct test_call setter, convention;
    call_open_on(&setter, NULL, &problem, DATA_RANDOM, ALL_OUTPUTS);
    call_open_on(&convention, NULL, &problem, DATA_RANDOM, ALL_OUTPUTS);
    attn_desc *desc = run_desc(&problem);
    attn_bounds bounds = {sizeof bounds, 2, 20, 50};
    assert_int_equal(attn_desc_set_convention(desc, ATTN_CONVENTION_ONNX_23), ATTN_OK);
    assert_int_equal(attn_desc_set_alignment(desc, ATTN_ALIGN_OFFSETS), ATTN_OK);
    attn_plan_destroy(convention.plan);
    run_need(attn_plan_create(&convention.plan, convention.context, desc, &bounds),
             &problem, "attn_plan_create");
    attn_desc_destroy(desc);
    call_need_same(&setter, &convention);
    call_close(&setter);
    call_close(&convention);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conventions_are_setters),
        cmocka_unit_test(group_query_attention),
        cmocka_unit_test(a_later_setter_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
