/*
 * What calls on layers refuse of their structs and tensors: one thing wrong at a time,
 * the status, the words and numbers of the message, and that nothing was written.
 */
#include <stdio.h>
#include <string.h>

#include "tests/support/layer_refuse.h"

static void the_calls_are_good(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        refuse_reopen(n);
        expect_mark();
        layer_forward(&refuse_call);
        layer_backward(&refuse_call);
        expect_marked();
    }
}

/* ------------------------------------------------------------------- structs */

static void pointers(void **state) {
    (void)state;
    expect_refusal(attn_layer_forward(NULL, &refuse_call.args), ATTN_ERR_INVALID,
                   "layer");
    expect_refusal(attn_layer_backward(NULL, &refuse_call.backward), ATTN_ERR_INVALID,
                   "layer");
    expect_refusal(attn_layer_forward(refuse_call.layer, NULL), ATTN_ERR_INVALID,
                   "args is NULL");
    expect_refusal(attn_layer_backward(refuse_call.layer, NULL), ATTN_ERR_INVALID,
                   "args is NULL");
    refuse_call.backward.forward = NULL;
    refuse_backward(ATTN_ERR_INVALID, "forward is NULL");
    expect_refusal(attn_layer_args_init(NULL, sizeof refuse_call.args),
                   ATTN_ERR_INVALID, "NULL");
    expect_refusal(attn_layer_args_init(&refuse_call.args, 7), ATTN_ERR_INVALID, "7");
    expect_refusal(attn_layer_backward_args_init(NULL, sizeof refuse_call.backward),
                   ATTN_ERR_INVALID, "NULL");
    expect_refusal(attn_layer_backward_args_init(&refuse_call.backward, 9),
                   ATTN_ERR_INVALID, "9");
}

static void sizes_of_structs(void **state) {
    (void)state;
    static const int64_t sizes[] = {0, -8, 12, 4, INT64_C(1) << 40};
    const attn_layer_args args = refuse_call.args;
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        refuse_call.args.size = sizes[s];
        refuse_forward(ATTN_ERR_INVALID, "args|size");
        refuse_backward(ATTN_ERR_INVALID, "forward|size");
        refuse_call.args = args;
        refuse_call.backward.size = sizes[s];
        refuse_backward(ATTN_ERR_INVALID, "args|size");
        refuse_call.backward.size = sizeof refuse_call.backward;
        refuse_call.attention[0].size = sizes[s];
        refuse_both(ATTN_ERR_INVALID, "attention|size");
        refuse_call.attention[0].size = sizeof refuse_call.attention[0];
        refuse_call.gradients[0].size = sizes[s];
        refuse_backward(ATTN_ERR_INVALID, "attention|size");
        refuse_call.gradients[0].size = sizeof refuse_call.gradients[0];
    }
}

/* Programs of a later release may pass more, as long as it is 0. */
static void newer_structs(void **state) {
    (void)state;
    struct {
        attn_layer_args args;
        int64_t more;
    } forward = {refuse_call.args, 0};
    struct {
        attn_layer_backward_args args;
        int64_t more;
    } backward = {refuse_call.backward, 0};
    attn_layer_args *args = (void *)&forward;
    attn_layer_backward_args *back = (void *)&backward;
    args->size = sizeof forward;
    back->size = sizeof backward;
    back->forward = args;
    layer_need(&refuse_call, attn_layer_forward(refuse_call.layer, args), "newer args");
    layer_need(&refuse_call, attn_layer_backward(refuse_call.layer, back),
               "newer args");
    layer_reset(&refuse_call);
    forward.more = 1;
    expect_refusal(attn_layer_forward(refuse_call.layer, args), ATTN_ERR_UNSUPPORTED,
                   "args|nonzero byte");
    expect_refusal(attn_layer_backward(refuse_call.layer, back), ATTN_ERR_UNSUPPORTED,
                   "forward|nonzero byte");
    forward.more = 0;
    backward.more = INT64_C(1) << 48;
    expect_refusal(attn_layer_backward(refuse_call.layer, back), ATTN_ERR_UNSUPPORTED,
                   "args|nonzero byte");
    layer_need_untouched(&refuse_call);
}

/* What the layer itself fills in. */
static void inner_arguments(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n += LAYER_SAMPLES - 2) {
        refuse_reopen(n); /* a multi-head layer, and a stack with cross attention */
        for (int which = 0; which <= refuse_problem.cross; which++) {
            const char *name = which == 0 ? "attention" : "cross_attention";
            char memory[64], says[128];
            attn_forward_args *args = &refuse_call.attention[which];
            const struct {
                const char *name;
                const attn_tensor **member;
            } own[] = {{"query", &args->query},
                       {"key", &args->key},
                       {"value", &args->value},
                       {"out", &args->out}};
            for (size_t t = 0; t < COUNT_OF(own); t++) {
                *own[t].member = &refuse_call.output;
                snprintf(says, sizeof says, "%s: %s is given", name, own[t].name);
                refuse_both(ATTN_ERR_INVALID, says);
                *own[t].member = NULL;
            }
            snprintf(says, sizeof says, "%s: workspace and should_stop", name);
            args->workspace = memory;
            refuse_both(ATTN_ERR_INVALID, says);
            args->workspace = NULL;
            args->workspace_size = 64;
            refuse_both(ATTN_ERR_INVALID, says);
            args->workspace_size = 0;
            args->should_stop = (attn_should_stop *)1;
            refuse_both(ATTN_ERR_INVALID, says);
            args->should_stop = NULL;
            attn_backward_args *back = &refuse_call.gradients[which];
            const attn_tensor **gradients[] = {&back->grad_out, &back->grad_query,
                                               &back->grad_key, &back->grad_value};
            snprintf(says, sizeof says, "%s: forward, grad_out", name);
            for (size_t t = 0; t < COUNT_OF(gradients); t++) {
                *gradients[t] = &refuse_call.output;
                refuse_backward(ATTN_ERR_INVALID, says);
                *gradients[t] = NULL;
            }
            back->forward = args;
            refuse_backward(ATTN_ERR_INVALID, says);
            back->forward = NULL;
            back->workspace = memory;
            refuse_backward(ATTN_ERR_INVALID, says);
            back->workspace = NULL;
            back->workspace_size = 1;
            refuse_backward(ATTN_ERR_INVALID, says);
            back->workspace_size = 0;
            back->should_stop = (attn_should_stop *)1;
            refuse_backward(ATTN_ERR_INVALID, says);
            back->should_stop = NULL;
            snprintf(says, sizeof says, "%s: accumulate is 2", name);
            back->accumulate = 2;
            refuse_backward(ATTN_ERR_INVALID, says);
            back->accumulate = 0;
        }
    }
}

/* ------------------------------------------------------------------- tensors */

static void break_tensor(const struct refuse_member *member) {
    const attn_tensor *before = *member->tensor;
    const int32_t last = before->rank - 1;
    char says[96];
    attn_tensor t = *before;
    *member->tensor = &t;
    static const int32_t ranks[] = {0, -3, 4, 7};
    for (size_t r = 0; r < COUNT_OF(ranks); r++) {
        t.rank = ranks[r];
        snprintf(says, sizeof says, "%s|rank", member->name);
        refuse_member(member, ATTN_ERR_INVALID, says);
    }
    t = *before;
    t.dtype = ATTN_I32;
    snprintf(says, sizeof says, "%s|i32", member->name);
    refuse_member(member, ATTN_ERR_INVALID, says);
    t.dtype = ATTN_F16;
    snprintf(says, sizeof says, "%s|f16", member->name);
    refuse_member(member, ATTN_ERR_UNSUPPORTED, says);
    t = *before;
    t.reserved[0] = 1;
    refuse_member(member, ATTN_ERR_UNSUPPORTED, member->name);
    t = *before;
    t.data = NULL;
    refuse_member(member, ATTN_ERR_INVALID, member->name);
    t.data = (char *)before->data + 1;
    snprintf(says, sizeof says, "%s|aligned", member->name);
    refuse_member(member, ATTN_ERR_INVALID, says);
    t = *before;
    t.stride[last] = 2;
    refuse_member(member, ATTN_ERR_INVALID, member->name);
    t = *before;
    t.stride[0] = -t.stride[0];
    refuse_member(member, ATTN_ERR_INVALID, member->name);
    t = *before;
    t.stride[last - 1] = INT64_C(1) << 31;
    snprintf(says, sizeof says, "%s|2147483648|BLAS", member->name);
    refuse_member(member, ATTN_ERR_UNSUPPORTED, says);
    t.stride[last - 1] = INT64_MAX / 2;
    refuse_member(member, ATTN_ERR_INVALID, member->name);
    *member->tensor = before;
}

static void bad_tensors(void **state) {
    (void)state;
    static const int samples[] = {0, 1, 2, 6};
    for (size_t s = 0; s < COUNT_OF(samples); s++) {
        refuse_reopen(samples[s]);
        for (size_t m = 0; m < REFUSE_MEMBERS; m++) {
            if (*refuse_members[m].tensor != NULL) {
                break_tensor(&refuse_members[m]);
            }
        }
    }
}

/* A size that does not fit, in each dimension. */
static void bad_shapes(void **state) {
    (void)state;
    static const int samples[] = {1, 2, 3, 6};
    static const char *const what[] = {"batch", "length", "features"};
    for (size_t s = 0; s < COUNT_OF(samples); s++) {
        refuse_reopen(samples[s]);
        for (size_t m = 0; m < REFUSE_MEMBERS; m++) {
            const attn_tensor *before = *refuse_members[m].tensor;
            const int rank = before != NULL ? before->rank : 0;
            const int encoding = strstr(refuse_members[m].name, "positions") != NULL;
            for (int d = 0; d < rank && d < 3; d++) {
                char says[96];
                attn_tensor t = *before;
                t.shape[d]--;
                snprintf(says, sizeof says, "%s has", refuse_members[m].name);
                if (!encoding && strcmp(refuse_members[m].name, "input") != 0 &&
                    !(d == 1 && strcmp(refuse_members[m].name, "key") == 0)) {
                    snprintf(says, sizeof says, "%s has|%s of %lld, should be %lld",
                             refuse_members[m].name, what[d], (long long)t.shape[d],
                             (long long)t.shape[d] + 1);
                }
                *refuse_members[m].tensor = &t;
                /* fewer rows of what decides the others' sizes are found there */
                const int free_size =
                    (d < rank - 1 && strcmp(refuse_members[m].name, "input") == 0) ||
                    (d == 1 && strcmp(refuse_members[m].name, "key") == 0) ||
                    (d == 0 && strcmp(refuse_members[m].name, "positions") == 0);
                if (!free_size) {
                    refuse_member(&refuse_members[m], ATTN_ERR_INVALID,
                                  encoding ? "positions should have rank 2 and shape"
                                           : says);
                }
                *refuse_members[m].tensor = before;
            }
        }
    }
}

static void beyond_the_bounds(void **state) {
    (void)state;
    attn_layer *small = NULL;
    struct layer_problem fewer = refuse_problem;
    static const char *const says[] = {"batch is 2|bound of 1",
                                       "length of input is 8|bound of 7",
                                       "length of key is 8|bound of 7"};
    attn_layer *whole = refuse_call.layer;
    for (int m = 0; m < 2; m++) {
        fewer = refuse_problem;
        fewer.batch -= m == 0;
        fewer.q_length -= m == 1;
        layer_need(&refuse_call, layer_create(&small, refuse_call.context, &fewer),
                   "create");
        layer_give(small, &refuse_call);
        refuse_call.layer = small;
        refuse_both(ATTN_ERR_INVALID, says[m]);
        attn_layer_destroy(small);
        refuse_call.layer = whole;
    }
    refuse_reopen(2);
    fewer = refuse_problem;
    fewer.kv_length--;
    whole = refuse_call.layer;
    layer_need(&refuse_call, layer_create(&small, refuse_call.context, &fewer),
               "create");
    layer_give(small, &refuse_call);
    refuse_call.layer = small;
    refuse_both(ATTN_ERR_INVALID, says[2]);
    attn_layer_destroy(small);
    refuse_call.layer = whole;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, refuse_setup, refuse_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_calls_are_good), TEST(pointers),          TEST(sizes_of_structs),
        TEST(newer_structs),      TEST(inner_arguments),   TEST(bad_tensors),
        TEST(bad_shapes),         TEST(beyond_the_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
