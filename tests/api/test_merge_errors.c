/*
 * What attn_merge() refuses: one thing wrong at a time, the status, the words and
 * numbers of the message, and that nothing was written.
 */
#include <stdio.h>
#include <string.h>

#include "tests/support/element.h"
#include "tests/support/expect.h"
#include "tests/support/merge.h"

static struct merge_call call;
static const attn_tensor *out, *lse; /* what is passed */
static attn_tensor changed;

static int setup(void **state) {
    static const struct merge_problem problem = {3, 2, 3, 5, 12, 5, 20, 0, 1};
    (void)state;
    merge_open(&call, &problem);
    out = &call.out;
    lse = &call.lse;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    merge_close(&call);
    return 0;
}

static attn_status merge(void) {
    return attn_merge(NULL, 3, call.out_list, call.lse_list, out, lse);
}

static void untouched(const attn_tensor *tensor) {
    for (int64_t n = 0; n < element_count(tensor); n++) {
        static const uint32_t canary = UINT32_MAX;
        assert_memory_equal(element_nth(tensor, n), &canary, sizeof canary);
    }
}

static void refused(attn_status status, const char *says) {
    expect_refusal(merge(), status, says);
    untouched(&call.out);
    untouched(&call.lse);
}

struct member {
    const char *name;
    const attn_tensor **tensor;
};

enum { MEMBERS = 8 };

static struct member member(int m) {
    static const char *const names[] = {"outs[0]", "outs[1]", "outs[2]", "lses[0]",
                                        "lses[1]", "lses[2]", "out",     "lse"};
    return (struct member){names[m], m < 3    ? &call.out_list[m]
                                     : m < 6  ? &call.lse_list[m - 3]
                                     : m == 6 ? &out
                                              : &lse};
}

static void the_call_is_good(void **state) {
    (void)state;
    expect_mark();
    merge_expect(&call);
    merge_run(&call, NULL);
    expect_marked();
    merge_check(&call);
}

static void counts(void **state) {
    (void)state;
    static const int32_t bad[] = {0, -1, INT32_MIN};
    for (size_t n = 0; n < COUNT_OF(bad); n++) {
        char says[64];
        snprintf(says, sizeof says, "count is %d", (int)bad[n]);
        expect_refusal(attn_merge(NULL, bad[n], call.out_list, call.lse_list, out, lse),
                       ATTN_ERR_INVALID, says);
    }
    untouched(&call.out);
}

static void pointers(void **state) {
    (void)state;
    expect_refusal(attn_merge(NULL, 3, NULL, call.lse_list, out, lse), ATTN_ERR_INVALID,
                   "outs is NULL");
    expect_refusal(attn_merge(NULL, 3, call.out_list, NULL, out, lse), ATTN_ERR_INVALID,
                   "lses is NULL");
    expect_refusal(attn_merge(NULL, 3, call.out_list, call.lse_list, NULL, lse),
                   ATTN_ERR_INVALID, "out is NULL");
    for (int m = 0; m < 6; m++) {
        const struct member one = member(m);
        const attn_tensor *before = *one.tensor;
        char says[64];
        *one.tensor = NULL;
        snprintf(says, sizeof says, "%s is NULL", one.name);
        refused(ATTN_ERR_INVALID, says);
        *one.tensor = before;
    }
}

/* Each tensor in turn, broken in each of these ways. */
static void bad_tensors(void **state) {
    (void)state;
    for (int m = 0; m < MEMBERS; m++) {
        const struct member one = member(m);
        const attn_tensor *before = *one.tensor;
        char says[64];
        attn_tensor *t = &changed;
        const int32_t last = before->rank - 1;
        static const int32_t ranks[] = {0, -3, 5, 7};
        *t = *before;
        *one.tensor = t;
        for (size_t r = 0; r < COUNT_OF(ranks); r++) {
            t->rank = ranks[r];
            t->shape[4] = t->stride[4] = 1;
            snprintf(says, sizeof says, "%s has %s", one.name,
                     ranks[r] == 5 && m != 6 ? "shape (2, 3, 5, " : "rank");
            refused(ATTN_ERR_INVALID, says);
        }
        *t = *before;
        t->dtype = 77;
        snprintf(says, sizeof says, "%s|77", one.name);
        refused(ATTN_ERR_INVALID, says);
        t->dtype = ATTN_I32;
        snprintf(says, sizeof says, "%s|i32, should be f32", one.name);
        refused(ATTN_ERR_INVALID, says);
        t->dtype = ATTN_BF16;
        snprintf(says, sizeof says, "%s|bf16", one.name);
        refused(ATTN_ERR_UNSUPPORTED, says);
        *t = *before;
        t->reserved[1] = 1;
        refused(ATTN_ERR_UNSUPPORTED, one.name);
        *t = *before;
        t->data = NULL;
        refused(ATTN_ERR_INVALID, one.name);
        t->data = (char *)before->data + 2;
        snprintf(says, sizeof says, "%s|aligned", one.name);
        refused(ATTN_ERR_INVALID, says);
        *t = *before;
        t->stride[last] = 2;
        snprintf(says, sizeof says, "%s has last stride 2", one.name);
        refused(ATTN_ERR_INVALID, says);
        t->stride[last] = -1;
        snprintf(says, sizeof says, "%s|-1", one.name);
        refused(ATTN_ERR_INVALID, says);
        *t = *before;
        t->stride[0] = INT64_MAX;
        snprintf(says, sizeof says, "%s|too large", one.name);
        refused(ATTN_ERR_INVALID, says);
        *one.tensor = before;
    }
}

/* A size that does not fit, in each dimension: both shapes are said. Those of out are
 * what the others are compared with, so there lse is found wrong first. */
static void bad_shapes(void **state) {
    (void)state;
    static const int64_t shape[4] = {2, 3, 5, 12};
    for (int m = 0; m < MEMBERS; m++) {
        const struct member one = member(m);
        const attn_tensor *before = *one.tensor;
        for (int d = 0; d < before->rank; d++) {
            for (int64_t size = 1; size >= -1; size--) {
                char says[128], text[32] = "";
                changed = *before;
                changed.shape[d] = size;
                *one.tensor = &changed;
                for (int i = 0; i < before->rank; i++) {
                    snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d",
                             i > 0 ? ", " : "(", (int)(i == d ? size : shape[i]));
                }
                snprintf(says, sizeof says, "%s has shape %s)|should be (", one.name,
                         text);
                if (size < 0) {
                    snprintf(says, sizeof says, "%s has size -1 in dimension %d",
                             one.name, d);
                } else if (m == 6 && d == 3) {
                    snprintf(says, sizeof says, "outs[0]|should be %s)", text);
                } else if (m == 6) {
                    snprintf(says, sizeof says, "lse has shape (2, 3, 5)|should be");
                }
                refused(ATTN_ERR_INVALID, says);
                *one.tensor = before;
            }
        }
    }
}

/* An output that overlaps itself. */
static void outputs_that_repeat(void **state) {
    (void)state;
    for (int m = 6; m < MEMBERS; m++) {
        const struct member one = member(m);
        const attn_tensor *before = *one.tensor;
        char says[64];
        changed = *before;
        *one.tensor = &changed;
        changed.stride[0] = 0;
        snprintf(says, sizeof says, "%s overlaps itself", one.name);
        refused(ATTN_ERR_INVALID, says);
        changed.stride[0] = before->stride[1];
        refused(ATTN_ERR_INVALID, says);
        *one.tensor = before;
    }
}

/* Outputs whose bytes meet those of an input, other than as one and the same tensor, or
 * of each other. */
static void overlaps(void **state) {
    (void)state;
    for (int m = 6; m < MEMBERS; m++) {
        const struct member one = member(m);
        const attn_tensor *before = *one.tensor;
        for (int o = 0; o < MEMBERS; o++) {
            const struct member other = member(o);
            const attn_tensor *theirs = *other.tensor;
            char says[64];
            if (o == m) {
                continue;
            }
            attn_tensor moved = *theirs;
            *other.tensor = &moved;
            moved.data = (float *)before->data + 1; /* within, not at the start */
            snprintf(says, sizeof says, "%s overlaps %s",
                     m == 6 && o == 7 ? "lse" : one.name,
                     m == 6 && o == 7 ? "out" : other.name);
            refused(ATTN_ERR_INVALID, says);
            moved.data = before->data; /* the start of another kind of tensor */
            if (before->rank != theirs->rank) {
                refused(ATTN_ERR_INVALID, says);
            }
            *other.tensor = theirs;
        }
    }
}

/* The same data is not the same tensor if a stride differs. */
static void other_strides(void **state) {
    (void)state;
    for (int m = 6; m < MEMBERS; m++) {
        const struct member one = member(m), input = member(m == 6 ? 1 : 4);
        for (int d = 0; d < (*one.tensor)->rank - 1; d++) {
            const attn_tensor *before = *input.tensor;
            char says[64];
            changed = **one.tensor;
            *input.tensor = &changed;
            changed.stride[d] = 0;
            snprintf(says, sizeof says, "%s overlaps %s", one.name, input.name);
            refused(ATTN_ERR_INVALID, says);
            *input.tensor = before;
        }
    }
    /* that of a dimension of size 1 does not matter */
    float x[2] = {1, 2}, l = 3;
    attn_tensor outs, lses, to, sum;
    const attn_tensor *out_list = &outs, *lse_list = &lses;
    attn_tensor_init(&outs, ATTN_F32, 4, (int64_t[]){1, 1, 1, 2}, x);
    attn_tensor_init(&lses, ATTN_F32, 3, (int64_t[]){1, 1, 1}, &l);
    to = outs;
    sum = lses;
    to.stride[1] = 77;
    sum.stride[2] = -5;
    assert_int_equal(attn_merge(NULL, 1, &out_list, &lse_list, &to, &sum), ATTN_OK);
    assert_true(x[0] == 1 && x[1] == 2 && l == 3);
}

/* The same bytes and sizes, but heads and rows the other way round; or, where a row of
 * out is one number, those of a tensor of the other kind. */
static void the_same_bytes(void **state) {
    (void)state;
    float x[3 * 3], l[3 * 3], to[3 * 3], sum[3 * 3];
    attn_tensor outs, lses, own_out, own_lse;
    const attn_tensor *out_list = &outs, *lse_list = &lses;
    memset(x, 0, sizeof x);
    memset(l, 0, sizeof l);
    for (int which = 0; which < 5; which++) {
        static const int64_t shape[4] = {1, 3, 3, 1};
        attn_tensor_init(&outs, ATTN_F32, 4, shape, x);
        attn_tensor_init(&lses, ATTN_F32, 3, shape, l);
        attn_tensor_init(&own_out, ATTN_F32, 4, shape, to);
        attn_tensor_init(&own_lse, ATTN_F32, 3, shape, sum);
        const char *says = "out overlaps outs[0]";
        if (which == 0) {
            own_out.data = x;
            own_out.stride[1] = outs.stride[2];
            own_out.stride[2] = outs.stride[1];
        } else if (which == 1) {
            own_out.data = l;
            says = "out overlaps lses[0]";
        } else if (which == 2) {
            own_lse.data = x;
            says = "lse overlaps outs[0]";
        } else if (which == 3) {
            own_lse.data = to;
            says = "lse overlaps out";
        } else {
            own_out.data = x;
            own_lse.data = l;
            says = NULL;
        }
        const attn_status status =
            attn_merge(NULL, 1, &out_list, &lse_list, &own_out, &own_lse);
        if (says != NULL) {
            expect_refusal(status, ATTN_ERR_INVALID, says);
        } else {
            assert_int_equal(status, ATTN_OK);
        }
    }
}

/* The last of many states is checked before the first is merged. */
static void the_last_state(void **state) {
    (void)state;
    changed = call.lses[2];
    changed.shape[1] = 4;
    call.lse_list[2] = &changed;
    refused(ATTN_ERR_INVALID, "lses[2] has shape (2, 4, 5)|should be (2, 3, 5)");
}

/* The context takes no other settings once a merge has used it. */
static void contexts_are_settled(void **state) {
    (void)state;
    attn_context *context = merge_context(2);
    expect_refusal(attn_merge(context, 0, call.out_list, call.lse_list, out, lse),
                   ATTN_ERR_INVALID, "count");
    assert_int_equal(attn_context_set_threads(context, 1), ATTN_OK);
    merge_run(&call, context);
    expect_refusal(attn_context_set_threads(context, 2), ATTN_ERR_INVALID, "context");
    attn_context_destroy(context);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_call_is_good),
        TEST(counts),
        TEST(pointers),
        TEST(bad_tensors),
        TEST(bad_shapes),
        TEST(outputs_that_repeat),
        TEST(overlaps),
        TEST(other_strides),
        TEST(the_same_bytes),
        TEST(the_last_state),
        TEST(contexts_are_settled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
