/*
 * What attn_plan_forward() refuses: one thing wrong at a time in a call that has every
 * input and output, the status, the words and numbers of the message, and that nothing
 * was written.
 */
#include <stdio.h>

#include "tests/support/call.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

static struct test_call call;
static attn_tensor changed; /* stands in for one tensor of the call */

static const char everything[] =
    "b2 h4/2 q20 k30 d8/5 causal align=offsets qlens kvlens "
    "docs prefix block=8x16 mask bias alibi sinks "
    "relbias=8,20 relkeys ubias vbias segments ranks=upto seed=2";

static int setup(void **state) {
    (void)state;
    call_open(&call, everything, ALL_OUTPUTS);
    return call.args.segment_bias == NULL; /* which a seed may leave out */
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

struct member {
    const char *name;
    const attn_tensor **tensor;
};

#define MEMBER(name)                                                                   \
    { #name, &call.args.name }

static const struct member inputs[] = {
    MEMBER(query),         MEMBER(key),           MEMBER(value),
    MEMBER(q_lengths),     MEMBER(kv_lengths),    MEMBER(q_documents),
    MEMBER(k_documents),   MEMBER(query_offsets), MEMBER(prefix_lengths),
    MEMBER(block_mask),    MEMBER(mask),          MEMBER(bias),
    MEMBER(alibi_slopes),  MEMBER(sinks),         MEMBER(relative_bias),
    MEMBER(relative_keys), MEMBER(content_bias),  MEMBER(position_bias),
    MEMBER(q_segments),    MEMBER(k_segments),    MEMBER(segment_keys),
    MEMBER(segment_bias),  MEMBER(q_ranks),       MEMBER(k_ranks)};

static const struct member outputs[] = {MEMBER(out),           MEMBER(lse),
                                        MEMBER(row_max),       MEMBER(row_sum),
                                        MEMBER(weights),       MEMBER(key_sums),
                                        MEMBER(mean_weights),  MEMBER(raw_scores),
                                        MEMBER(capped_scores), MEMBER(biased_scores)};

enum { INPUTS = COUNT_OF(inputs), MEMBERS = INPUTS + COUNT_OF(outputs) };

static const struct member *member(size_t m) {
    return m < INPUTS ? &inputs[m] : &outputs[m - INPUTS];
}

/* The call is fine as it stands. */
static void the_call_is_good(void **state) {
    (void)state;
    call_run(&call);
    assert_true(outputs_whole(&call.outputs));
}

static void null_arguments(void **state) {
    (void)state;
    expect_refusal(attn_plan_forward(NULL, &call.args), ATTN_ERR_INVALID, "plan|NULL");
    expect_refusal(attn_plan_forward(call.plan, NULL), ATTN_ERR_INVALID, "args|NULL");
}

static void missing_tensors(void **state) {
    (void)state;
    for (size_t m = 0; m <= INPUTS; m++) {
        const attn_tensor *before = *member(m)->tensor;
        if (member(m)->tensor == &call.args.segment_bias) {
            continue; /* may be left out */
        }
        *member(m)->tensor = NULL;
        refused(ATTN_ERR_INVALID, member(m)->name);
        *member(m)->tensor = before;
    }
}

static void unannounced_tensors(void **state) {
    (void)state;
    struct test_call plain;
    call_open(&plain, "b2 h4/2 q20 k30 d8/5", ALL_OUTPUTS);
    attn_plan *own = call.plan;
    call.plan = plain.plan;
    call.args.relative_zero = 0;
    for (size_t m = 3; m < INPUTS; m++) {
        /* Of the inputs beyond query, key and value, only this one. */
        const attn_tensor *kept = *member(m)->tensor;
        const attn_forward_args all = call.args;
        for (size_t other = 3; other < INPUTS; other++) {
            *member(other)->tensor = NULL;
        }
        *member(m)->tensor = kept;
        refused(ATTN_ERR_INVALID, member(m)->name);
        call.args = all;
    }
    call.plan = own;
    call_close(&plain);
}

/* Each tensor in turn, broken in each of these ways. */
static void bad_tensors(void **state) {
    (void)state;
    for (size_t m = 0; m < MEMBERS; m++) {
        const struct member *one = member(m);
        const attn_tensor *before = *one->tensor;
        char says[64];
        attn_tensor *t = change(one->tensor);
        snprintf(says, sizeof says, "%s|7", one->name);
        t->rank = 7;
        refused(ATTN_ERR_INVALID, says);
        *t = *before;
        snprintf(says, sizeof says, "%s|0", one->name);
        t->rank = 0;
        refused(ATTN_ERR_INVALID, says);
        *t = *before;
        t->dtype = 77;
        snprintf(says, sizeof says, "%s|77", one->name);
        refused(ATTN_ERR_INVALID, says);
        t->dtype = before->dtype == ATTN_BOOL ? ATTN_I32 : ATTN_BOOL;
        snprintf(says, sizeof says, "%s|%s", one->name,
                 before->dtype == ATTN_BOOL ? "i32" : "bool");
        refused(ATTN_ERR_INVALID, says);
        t->dtype = ATTN_I8;
        snprintf(says, sizeof says, "%s|i8", one->name);
        refused(ATTN_ERR_INVALID, says);
        *t = *before;
        t->shape[0] = -2;
        snprintf(says, sizeof says, "%s|-2", one->name);
        refused(ATTN_ERR_INVALID, says);
        *t = *before;
        t->shape[t->rank - 1] += 1000;
        snprintf(says, sizeof says, "%s|%d", one->name, (int)t->shape[t->rank - 1]);
        /* Query and key decide the sizes, so theirs may be found wrong elsewhere. */
        refused(ATTN_ERR_INVALID, says);
        *t = *before;
        t->reserved[1] = 1;
        refused(ATTN_ERR_UNSUPPORTED, one->name);
        *t = *before;
        t->data = NULL;
        refused(ATTN_ERR_INVALID, one->name);
        *one->tensor = before;
    }
}

static void bad_strides(void **state) {
    (void)state;
    for (size_t m = 0; m < MEMBERS; m++) {
        const struct member *one = member(m);
        const attn_tensor *before = *one->tensor;
        int32_t last = before->rank - 1;
        char says[64];
        attn_tensor *t = change(one->tensor);
        t->stride[last] = 2;
        snprintf(says, sizeof says, "%s|2", one->name);
        if (t->shape[last] > 1) {
            refused(ATTN_ERR_INVALID, says);
        }
        t->stride[last] = -1;
        snprintf(says, sizeof says, "%s|-1", one->name);
        if (t->shape[last] > 1) {
            refused(ATTN_ERR_INVALID, says);
        }
        *t = *before;
        t->stride[0] = INT64_MAX / 2;
        if (t->shape[0] > 1 && t->rank > 1) {
            refused(ATTN_ERR_INVALID, one->name);
        }
        *one->tensor = before;
    }
}

static void misaligned_data(void **state) {
    (void)state;
    for (size_t m = 0; m < MEMBERS; m++) {
        const attn_tensor *before = *member(m)->tensor;
        attn_tensor *t = change(member(m)->tensor);
        if (t->dtype != ATTN_BOOL) {
            t->data = (char *)t->data + 2;
            refused(ATTN_ERR_INVALID, member(m)->name);
        }
        *member(m)->tensor = before;
    }
}

/* Query, key, value and out may be stored in 16 bits, nothing else. */
static void sixteen_bits(void **state) {
    (void)state;
    for (size_t m = 0; m < MEMBERS; m++) {
        const attn_tensor *before = *member(m)->tensor;
        const int stored = member(m)->tensor == &call.args.query ||
                           member(m)->tensor == &call.args.key ||
                           member(m)->tensor == &call.args.value ||
                           member(m)->tensor == &call.args.out;
        for (int32_t dtype = ATTN_F16; dtype <= ATTN_BF16 && !stored; dtype++) {
            char says[64];
            snprintf(says, sizeof says, "%s|%s", member(m)->name,
                     dtype == ATTN_F16 ? "f16" : "bf16");
            change(member(m)->tensor)->dtype = dtype;
            refused(before->dtype == ATTN_F32 ? ATTN_ERR_UNSUPPORTED : ATTN_ERR_INVALID,
                    says);
        }
        *member(m)->tensor = before;
    }
}

/* Outputs that overlap themselves, each other, or an input. */
static void overlaps(void **state) {
    (void)state;
    for (size_t m = INPUTS; m < MEMBERS; m++) {
        const attn_tensor *before = *member(m)->tensor;
        char says[64];
        attn_tensor *t = change(member(m)->tensor);
        t->stride[0] = 0;
        snprintf(says, sizeof says, "%s|overlap", member(m)->name);
        refused(ATTN_ERR_INVALID, says);
        *t = *before;
        t->stride[1] = t->stride[0] - 1;
        refused(ATTN_ERR_INVALID, says);
        for (size_t other = 0; other < MEMBERS; other++) {
            *t = *before;
            if (other != m && (*member(other)->tensor)->dtype == ATTN_F32) {
                t->data = (*member(other)->tensor)->data;
                /* It may meet a neighbour in memory first. */
                refused(ATTN_ERR_INVALID, "overlaps|meet");
            }
        }
        *member(m)->tensor = before;
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_call_is_good),    TEST(null_arguments), TEST(missing_tensors),
        TEST(unannounced_tensors), TEST(bad_tensors),    TEST(bad_strides),
        TEST(misaligned_data),     TEST(sixteen_bits),   TEST(overlaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
