/*
 * The same seed drops the same weights, whatever else changes: threads, engine,
 * kernels, position in a batch, lengths, and from the forward to the backward call.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/backward.h"
#include "tests/support/element.h"
#include "tests/support/run.h"

static struct test_call left, right;

enum { MASK_AND_OUT = 1 << OUT | 1 << DROPOUT_MASK };

/* The corner that both masks have, of batch element b of left and 0 of right. */
static void need_same_mask(int64_t b) {
    const attn_tensor *small = &right.outputs.tensor[DROPOUT_MASK];
    const attn_tensor *large = &left.outputs.tensor[DROPOUT_MASK];
    assert_true(element_count(small) > 0);
    for (int64_t n = 0; n < element_count(small); n++) {
        int64_t i[4];
        element_index(small, n, i);
        assert_int_equal(*(uint8_t *)element_nth(small, n),
                         *(uint8_t *)element_at(large, b + i[0], i[1], i[2], i[3]));
    }
}

static void open_both(const char *one, const char *other) {
    call_open(&left, one, MASK_AND_OUT);
    call_open(&right, other, MASK_AND_OUT);
    right.args.dropout_seed = left.args.dropout_seed;
    left.args.rng_indices = right.args.rng_indices = NULL;
}

static void run_and_close(void) {
    call_run(&left);
    call_run(&right);
    need_same_mask(0);
    call_close(&left);
    call_close(&right);
}

static void mask_depends_on_numbers_alone(void **state) {
    (void)state;
    static const char *const others[] = {
        "b2 h4/2 q150 k300 d8 dropout=0.3 threads=1",
        "b2 h4/2 q150 k300 d8 dropout=0.3 threads=4",
        "b2 h4/2 q150 k300 d8 dropout=0.3 engine=dense",
        "b2 h4/2 q150 k300 d8 dropout=0.3 engine=flash",
        "b2 h4/2 q150 k300 d8 dropout=0.3 isa=scalar",
        "b2 h4/2 q150 k300 d8 dropout=0.3 causal qlens kvlens mask bias layout=bshd",
        "b2 h4/1 q150 k300 d64 dropout=0.3 sinks alibi softcap=2",
        "b1 h2 q70 k129 d8 dropout=0.3 seed=9",
        "b2 h3 q1 k3 d8 dropout=0.3 seed=10"};
    for (size_t n = 0; n < COUNT_OF(others); n++) {
        open_both("b2 h4/2 q150 k300 d8 dropout=0.3 seed=1", others[n]);
        run_and_close();
    }
}

/* rng_indices make a batch element its own, wherever it stands. */
static void position_in_the_batch(void **state) {
    (void)state;
    for (int64_t b = 0; b < 3; b++) {
        const int64_t one[1] = {1};
        int32_t index[1] = {(int32_t)b};
        attn_tensor indices;
        open_both("b3 h2 q40 k90 d8 dropout=0.6 seed=1", "h2 q40 k90 d8 dropout=0.6");
        assert_int_equal(attn_tensor_init(&indices, ATTN_I32, 1, one, index), ATTN_OK);
        right.args.rng_indices = &indices;
        right.inputs.query.data = element_at(&left.inputs.query, b, 0, 0, 0);
        right.inputs.key.data = element_at(&left.inputs.key, b, 0, 0, 0);
        right.inputs.value.data = element_at(&left.inputs.value, b, 0, 0, 0);
        for (int n = 0; n < 3; n++) {
            attn_tensor *to[] = {&right.inputs.query, &right.inputs.key,
                                 &right.inputs.value};
            const attn_tensor *from[] = {&left.inputs.query, &left.inputs.key,
                                         &left.inputs.value};
            memcpy(to[n]->stride, from[n]->stride, sizeof to[n]->stride);
        }
        call_run(&left);
        call_run(&right);
        need_same_mask(b);
        const attn_tensor *out = &right.outputs.tensor[OUT];
        for (int64_t n = 0; n < element_count(out); n++) {
            int64_t i[4];
            element_index(out, n, i);
            assert_memory_equal(
                element_nth(out, n),
                element_at(&left.outputs.tensor[OUT], b, i[1], i[2], i[3]),
                sizeof(float));
        }
        call_close(&left);
        call_close(&right);
    }
}

/* Each kernel set drops the same weights: out of all sets is right with one mask. */
static void every_isa(void **state) {
    (void)state;
    static const char *const names[] = {"scalar", "avx2", "avx512",
                                        "neon",   "amx",  "pieces"};
    int ran = 0;
    for (size_t n = 0; n < COUNT_OF(names); n++) {
        char text[128];
        snprintf(text, sizeof text, "b2 h2 q70 k261 d24 bias dropout=0.4 isa=%s seed=3",
                 names[n]);
        struct test_problem problem = run_parse(text);
        attn_context *context = NULL;
        assert_int_equal(attn_context_create(&context), ATTN_OK);
        attn_status status = attn_context_set_isa(context, problem.isa);
        attn_context_destroy(context);
        if (status != ATTN_OK) {
            continue;
        }
        assert_int_equal(run_and_check(&problem, DATA_RANDOM, ALL_OUTPUTS), 0);
        assert_int_equal(backward_run_text(text, DATA_RANDOM), 0);
        ran++;
    }
    assert_true(ran >= 1);
}

/* Where the forward call dropped a weight no gradient passes: with one key for each
 * query the gradient of the value is 0 or grad_out / (1 - p). */
static void backward_drops_what_forward_did(void **state) {
    (void)state;
    struct test_backward call;
    int64_t kept = 0, dropped = 0;
    backward_open(&call, "b2 h3 q200 d4 window=0,0 dropout=0.5 seed=4", ONLY_OF_OUT,
                  ALL_GRADIENTS);
    backward_run(&call);
    const attn_tensor *out = &call.forward.outputs.tensor[OUT];
    for (int64_t n = 0; n < element_count(out); n++) {
        int64_t i[4];
        element_index(out, n, i);
        float grad =
            element_float(&call.gradients.tensor[GRAD_VALUE], i[0], i[1], i[2], i[3]);
        double of_out = incoming_at(&call.incoming, OF_OUT, i[0], i[1], i[2], i[3]);
        if (*(float *)element_nth(out, n) == 0) {
            assert_true(grad == 0);
            dropped++;
        } else {
            assert_true(fabs(grad - 2 * of_out) < 1e-5);
            kept++;
        }
    }
    assert_true(kept > 1500 && dropped > 1500);
    backward_close(&call);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mask_depends_on_numbers_alone),
        cmocka_unit_test(position_in_the_batch),
        cmocka_unit_test(every_isa),
        cmocka_unit_test(backward_drops_what_forward_did),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
