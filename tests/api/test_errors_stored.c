/*
 * What calls refuse of numbers stored in 16 bits and in bytes: one thing wrong at a
 * time, the status, the words and numbers of the message, and that nothing was written.
 * The backward pass refuses all of them.
 */
#include <stdio.h>

#include "tests/support/backward.h"
#include "tests/support/call.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

static struct test_call call;
static attn_tensor changed; /* stands in for one tensor of the call */

static int setup(void **state) {
    (void)state;
    call_open(&call, "h4/2 q12 k17 d8/5 key=i8 value=i8 query=f16 out=bf16",
              ROW_OUTPUTS);
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

static void scales(void **state) {
    (void)state;
    const struct {
        const char *name;
        const attn_tensor **tensor, **scales;
    } of[] = {{"key", &call.args.key, &call.args.key_scales},
              {"value", &call.args.value, &call.args.value_scales}};
    static const int64_t shape[3] = {1, 2, 17};
    static float numbers[2 * 17];
    for (size_t i = 0; i < COUNT_OF(of); i++) {
        const attn_tensor *rows = *of[i].tensor, *before = *of[i].scales;
        char says[96];
        attn_tensor t;
        *of[i].scales = NULL;
        snprintf(says, sizeof says, "%s_scales is missing: %s is i8", of[i].name,
                 of[i].name);
        refused(ATTN_ERR_INVALID, says);
        *of[i].scales = &t;
        assert_int_equal(attn_tensor_init(&t, ATTN_F32, 3, shape, numbers), ATTN_OK);
        t.shape[2] = 16;
        snprintf(says, sizeof says, "%s_scales|(1, 2, 16)|(1, 2, 17)|broadcast",
                 of[i].name);
        refused(ATTN_ERR_INVALID, says);
        assert_int_equal(attn_tensor_init(&t, ATTN_F32, 3, shape, numbers), ATTN_OK);
        t.stride[2] = 0;
        snprintf(says, sizeof says, "%s_scales|last stride 0|1", of[i].name);
        refused(ATTN_ERR_INVALID, says);
        t.stride[2] = 1;
        t.dtype = ATTN_F16;
        snprintf(says, sizeof says, "%s_scales|f16|f32", of[i].name);
        refused(ATTN_ERR_UNSUPPORTED, says);
        t.dtype = ATTN_I32;
        snprintf(says, sizeof says, "%s_scales|i32|f32", of[i].name);
        refused(ATTN_ERR_INVALID, says);
        /* too short for its type, which nothing reads before it is refused */
        *of[i].scales = before;
        attn_tensor *other = change(of[i].tensor);
        other->dtype = ATTN_F16;
        other->data = numbers;
        snprintf(says, sizeof says, "%s_scales|no %s of i8", of[i].name, of[i].name);
        refused(ATTN_ERR_INVALID, says);
        *of[i].tensor = rows;
    }
}

/* Which types each tensor may have, with all of them in the message. */
static void types(void **state) {
    (void)state;
    const struct {
        const attn_tensor **member;
        int32_t dtype;
        const char *says;
    } cases[] = {
        {&call.args.query, ATTN_I8, "query|i8|f32, f16 or bf16"},
        {&call.args.query, ATTN_I32, "query|i32|f32, f16 or bf16"},
        {&call.args.key, ATTN_BOOL, "key|bool|f32, f16 or bf16, or i8 with scales"},
        {&call.args.value, ATTN_I64, "value|i64|f32, f16 or bf16, or i8 with scales"},
        {&call.args.out, ATTN_I8, "out|i8|f32, f16 or bf16"},
        {&call.args.lse, ATTN_I8, "lse|i8|f32"},
    };
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        const attn_tensor *before = *cases[c].member;
        change(cases[c].member)->dtype = cases[c].dtype;
        refused(ATTN_ERR_INVALID, cases[c].says);
        *cases[c].member = before;
    }
    change(&call.args.lse)->dtype = ATTN_BF16;
    refused(ATTN_ERR_UNSUPPORTED, "lse|bf16|f32");
    call.args.lse = &call.outputs.tensor[LSE];
    /* an odd address, which no 16-bit number has */
    attn_tensor *out = change(&call.args.out);
    out->data = (char *)out->data + 1;
    refused(ATTN_ERR_INVALID, "out|aligned|2 bytes");
}

/* Room for an input and for out, apart from all other tensors. */
static char room[1 << 14];

/* Refused: out so many bytes behind the start of an input. */
static void out_in(const attn_tensor **member, int bytes, const char *says) {
    const attn_tensor *before = *member;
    attn_tensor moved = *before;
    moved.data = room;
    *member = &moved;
    changed.data = room + bytes;
    refused(ATTN_ERR_INVALID, says);
    *member = before;
}

/* Ranges are told in bytes, of whatever the elements are. */
static void overlaps(void **state) {
    (void)state;
    change(&call.args.out);
    out_in(&call.args.key_scales, 2, "out overlaps key_scales");
    out_in(&call.args.key, 2 * 17 * 8 - 2, "out overlaps key");
    out_in(&call.args.query, 0, "out overlaps query");
}

static void backward_refused(struct test_backward *backward, const char *says) {
    outputs_reset(&backward->gradients);
    expect_refusal(attn_plan_backward(backward->forward.plan, &backward->args),
                   ATTN_ERR_UNSUPPORTED, says);
    assert_true(outputs_untouched(&backward->gradients));
}

static void backward_calls(void **state) {
    (void)state;
    struct test_backward backward;
    backward_open(&backward, "b1 h2 q6 k9 d8/5", ONLY_OF_OUT, ALL_GRADIENTS);
    backward_run(&backward);
    attn_forward_args *args = &backward.forward.args;
    const struct {
        const char *name;
        const attn_tensor **member;
        int bytes;
    } of[] = {{"query", &args->query, 0},
              {"key", &args->key, 1},
              {"value", &args->value, 1},
              {"out", &args->out, 0}};
    args->out = &backward.forward.outputs.tensor[OUT];
    for (size_t i = 0; i < COUNT_OF(of); i++) {
        static const int32_t dtypes[] = {ATTN_F16, ATTN_BF16, ATTN_I8};
        static const char *const names[] = {"f16", "bf16", "i8"};
        const attn_tensor *before = *of[i].member;
        for (size_t d = 0; d < COUNT_OF(dtypes); d++) {
            char says[64];
            change(of[i].member)->dtype = dtypes[d];
            snprintf(says, sizeof says, "takes f32, %s is %s", of[i].name, names[d]);
            backward_refused(&backward, says);
            *of[i].member = before;
        }
    }
    attn_plan *own = backward.forward.plan;
    static const char *const packed[][2] = {{"qpacked kpacked", "packed queries"},
                                            {"qpacked", "packed queries"},
                                            {"kpacked", "packed keys"}};
    for (size_t p = 0; p < COUNT_OF(packed); p++) {
        char text[64];
        snprintf(text, sizeof text, "b1 h2 q6 k9 d8/5 %s", packed[p][0]);
        struct test_problem problem = run_parse(text);
        backward.forward.plan = run_plan(backward.forward.context, &problem);
        backward_refused(&backward, packed[p][1]);
        attn_plan_destroy(backward.forward.plan);
    }
    backward.forward.plan = own;
    backward_close(&backward);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_call_is_good), TEST(scales),         TEST(types),
        TEST(overlaps),         TEST(backward_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
