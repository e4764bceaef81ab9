/*
 * Tensors that attn_plan_backward() refuses: each that it reads and each that it
 * writes in turn, broken in one way at a time, and gradients that overlap something.
 */
#include <stdio.h>

#include "tests/support/backward.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

static struct test_backward call;
static attn_tensor changed; /* stands in for one tensor of the call */

static int setup(void **state) {
    (void)state;
    backward_open(&call,
                  "b2 h4/2 q20 k30 d8/5 causal align=offsets qlens kvlens docs prefix "
                  "block=8x16 mask bias alibi sinks dropout=0.25 "
                  "relbias=8,20 relkeys ubias vbias segments ranks=upto seed=2",
                  ALL_INCOMING, ALL_GRADIENTS);
    run_args(&call.forward.args, &call.forward.inputs, &call.forward.outputs);
    return call.forward.args.segment_bias == NULL; /* which a seed may leave out */
}

static int teardown(void **state) {
    (void)state;
    backward_close(&call);
    return 0;
}

static void refused(attn_status status, const char *says) {
    expect_refusal(attn_plan_backward(call.forward.plan, &call.args), status, says);
    assert_true(outputs_untouched(&call.gradients));
}

struct member {
    const char *name;
    const attn_tensor **tensor;
};

#define FORWARD(name)                                                                  \
    { #name, &call.forward.args.name }
#define BACKWARD(name)                                                                 \
    { #name, &call.args.name }

static const struct member members[] = {FORWARD(query),
                                        FORWARD(key),
                                        FORWARD(value),
                                        FORWARD(q_lengths),
                                        FORWARD(kv_lengths),
                                        FORWARD(q_documents),
                                        FORWARD(k_documents),
                                        FORWARD(query_offsets),
                                        FORWARD(prefix_lengths),
                                        FORWARD(block_mask),
                                        FORWARD(mask),
                                        FORWARD(bias),
                                        FORWARD(alibi_slopes),
                                        FORWARD(sinks),
                                        FORWARD(relative_bias),
                                        FORWARD(relative_keys),
                                        FORWARD(content_bias),
                                        FORWARD(position_bias),
                                        FORWARD(q_segments),
                                        FORWARD(k_segments),
                                        FORWARD(segment_keys),
                                        FORWARD(segment_bias),
                                        FORWARD(q_ranks),
                                        FORWARD(k_ranks),
                                        FORWARD(out),
                                        FORWARD(lse),
                                        FORWARD(row_max),
                                        FORWARD(row_sum),
                                        BACKWARD(grad_out),
                                        BACKWARD(grad_lse),
                                        BACKWARD(grad_weights),
                                        BACKWARD(grad_key_sums),
                                        BACKWARD(grad_query),
                                        BACKWARD(grad_key),
                                        BACKWARD(grad_value),
                                        BACKWARD(grad_bias),
                                        BACKWARD(grad_alibi_slopes),
                                        BACKWARD(grad_sinks),
                                        BACKWARD(grad_relative_bias),
                                        BACKWARD(grad_relative_keys),
                                        BACKWARD(grad_content_bias),
                                        BACKWARD(grad_position_bias),
                                        BACKWARD(grad_segment_keys),
                                        BACKWARD(grad_segment_bias)};

enum { MEMBERS = COUNT_OF(members), WRITTEN = MEMBERS - 12 };

/* Puts a copy of a member's tensor in its place, for the test to change. */
static attn_tensor *change(const struct member *member) {
    changed = **member->tensor;
    *member->tensor = &changed;
    return &changed;
}

static void bad_tensors(void **state) {
    (void)state;
    for (size_t m = 0; m < MEMBERS; m++) {
        const struct member *one = &members[m];
        const attn_tensor *before = *one->tensor;
        char says[64];
        attn_tensor *t = change(one);
        snprintf(says, sizeof says, "%s|7", one->name);
        t->rank = 7;
        refused(ATTN_ERR_INVALID, says);
        *t = *before;
        t->dtype = before->dtype == ATTN_BOOL ? ATTN_I32 : ATTN_BOOL;
        snprintf(says, sizeof says, "%s|%s", one->name,
                 before->dtype == ATTN_BOOL ? "i32" : "bool");
        refused(ATTN_ERR_INVALID, says);
        *t = *before;
        t->shape[t->rank - 1] += 1000;
        snprintf(says, sizeof says, "%s|%d", one->name, (int)t->shape[t->rank - 1]);
        refused(ATTN_ERR_INVALID, says);
        *t = *before;
        t->reserved[1] = 1;
        refused(ATTN_ERR_UNSUPPORTED, one->name);
        *t = *before;
        t->data = NULL;
        refused(ATTN_ERR_INVALID, one->name);
        *t = *before;
        if (t->dtype != ATTN_BOOL) {
            t->data = (char *)t->data + 2;
            refused(ATTN_ERR_INVALID, one->name);
        }
        *one->tensor = before;
    }
}

static void bad_strides(void **state) {
    (void)state;
    for (size_t m = 0; m < MEMBERS; m++) {
        const struct member *one = &members[m];
        const attn_tensor *before = *one->tensor;
        int32_t last = before->rank - 1;
        char says[64];
        attn_tensor *t = change(one);
        if (t->shape[last] > 1) {
            t->stride[last] = 2;
            snprintf(says, sizeof says, "%s|2", one->name);
            refused(ATTN_ERR_INVALID, says);
            t->stride[last] = -1;
            snprintf(says, sizeof says, "%s|-1", one->name);
            refused(ATTN_ERR_INVALID, says);
        }
        *one->tensor = before;
    }
}

static void sixteen_bits_are_not_there_yet(void **state) {
    (void)state;
    for (size_t m = WRITTEN - 4; m < MEMBERS; m++) {
        const attn_tensor *before = *members[m].tensor;
        char says[64];
        change(&members[m])->dtype = ATTN_BF16;
        snprintf(says, sizeof says, "%s|bf16", members[m].name);
        refused(ATTN_ERR_UNSUPPORTED, says);
        *members[m].tensor = before;
    }
}

/* Gradients that overlap themselves, each other, or anything that is read. */
static void overlaps(void **state) {
    (void)state;
    int met = 0;
    for (size_t m = WRITTEN; m < MEMBERS; m++) {
        const attn_tensor *before = *members[m].tensor;
        char says[64];
        attn_tensor *t = change(&members[m]);
        if (t->rank > 1 && t->shape[0] > 1) {
            t->stride[0] = 0;
            snprintf(says, sizeof says, "%s|overlap", members[m].name);
            refused(ATTN_ERR_INVALID, says);
        }
        for (size_t other = 0; other < MEMBERS; other++) {
            *t = *before;
            if (other != m && (*members[other].tensor)->dtype == ATTN_F32) {
                t->data = (*members[other].tensor)->data;
                /* It may meet a neighbour in memory first. */
                refused(ATTN_ERR_INVALID, "overlaps|meet");
                met++;
            }
        }
        *members[m].tensor = before;
    }
    assert_true(met > 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(bad_tensors),
        TEST(bad_strides),
        TEST(sixteen_bits_are_not_there_yet),
        TEST(overlaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
