/*
 * The gradient of a bias of every shape that broadcasts: each rank, and each dimension
 * of its own size or 1. Gradients are summed over what the bias repeats in.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/backward.h"
#include "tests/support/element.h"
#include "tests/support/random.h"
#include "tests/support/run.h"

/* A call with a bias of this rank, whose dimension d is 1 if bit d of `ones` is set,
 * counted from the last. */
struct shaped {
    struct test_backward call;
    float *numbers;
};

static struct shaped shaped;

static float *make_bias(attn_tensor *bias, const struct test_problem *p, int32_t rank,
                        unsigned ones) {
    const int64_t full[4] = {p->batch, p->q_heads, p->q_length, p->kv_length};
    int64_t shape[4], count = 1;
    for (int32_t d = 0; d < rank; d++) {
        shape[d] = (ones >> (rank - 1 - d) & 1) != 0 ? 1 : full[4 - rank + d];
        count *= shape[d];
    }
    float *numbers =
        aligned_alloc(64, ((size_t)count * sizeof *numbers + 63) / 64 * 64);
    assert_non_null(numbers);
    struct random random = random_stream(ones, (uint64_t)rank);
    for (int64_t n = 0; n < count; n++) {
        int masks = count > 1 && random_percent(&random, 10);
        numbers[n] = masks ? -INFINITY : random_float(&random);
    }
    assert_int_equal(attn_tensor_init(bias, ATTN_F32, rank, shape, numbers), ATTN_OK);
    return numbers;
}

static void open_shaped(struct shaped *one, const struct test_problem *problem,
                        unsigned given, int32_t rank, unsigned ones, unsigned wanted) {
    struct test_backward *call = &one->call;
    backward_open_on(call, NULL, problem, DATA_RANDOM, given, ALL_GRADIENTS);
    one->numbers = make_bias(&call->forward.inputs.bias, problem, rank, ones);
    outputs_close(&call->gradients);
    outputs_open_gradients(&call->gradients, &call->forward.inputs, wanted);
    outputs_give_gradients(&call->gradients, &call->args);
    backward_forward(call);
}

static void close_shaped(struct shaped *one) {
    backward_close(&one->call);
    free(one->numbers);
}

static void every_shape(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b2 h4/2 q70 k133 d8 bias seed=1",
        "b2 h3 q9 k20 d5 bias causal align=br softcap=2 alibi sinks dropout=0.2 seed=2",
        "b3 h2 q40 k131 d4 bias qlens kvlens threads=3 seed=3"};
    int wrong = 0;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_problem problem = run_parse(texts[t]);
        for (int32_t rank = 1; rank <= 4; rank++) {
            for (unsigned ones = 0; ones < 1u << rank; ones++) {
                open_shaped(&shaped, &problem, ALL_INCOMING, rank, ones, ALL_GRADIENTS);
                backward_run(&shaped.call);
                wrong += backward_check(&shaped.call);
                close_shaped(&shaped);
            }
        }
    }
    assert_int_equal(wrong, 0);
}

/* A sum over heads, rows and keys has one order, however the work is cut up: for one
 * thread or many, and with or without the gradients of queries and keys. */
static void threads_change_no_bit(void **state) {
    (void)state;
    static const char *const texts[] = {"b2 h8/1 q200 k300 d8 bias seed=1",
                                        "h4/2 q500 k400 d4 bias seed=2"};
    static struct shaped few, many;
    for (size_t n = 0; n < COUNT_OF(texts) * 16; n++) {
        struct test_problem problem = run_parse(texts[n / 16]);
        problem.threads = 1;
        open_shaped(&few, &problem, ONLY_OF_OUT, 4, n % 16, ALL_GRADIENTS);
        for (problem.threads = 2; problem.threads <= 4; problem.threads++) {
            open_shaped(&many, &problem, ONLY_OF_OUT, 4, n % 16, ALL_GRADIENTS);
            backward_need_same(&few.call, &many.call);
            close_shaped(&many);
            open_shaped(&many, &problem, ONLY_OF_OUT, 4, n % 16, 1 << GRAD_BIAS);
            backward_need_same(&few.call, &many.call);
            close_shaped(&many);
        }
        close_shaped(&few);
    }
}

/*
 * A number added to all scores of a row changes LSE by as much and nothing else, so the
 * gradient of a bias of one number a row is grad_lse.
 */
static void one_number_a_row(void **state) {
    (void)state;
    static float zeros[2 * 3 * 80], gradient[COUNT_OF(zeros)];
    const int64_t shape[4] = {2, 3, 80, 1};
    attn_tensor bias, grad_bias;
    struct test_backward call;
    backward_open(&call, "b2 h3 q80 k300 d16 bias seed=5", ALL_INCOMING, ALL_GRADIENTS);
    assert_int_equal(attn_tensor_init(&bias, ATTN_F32, 4, shape, zeros), ATTN_OK);
    assert_int_equal(attn_tensor_init(&grad_bias, ATTN_F32, 4, shape, gradient),
                     ATTN_OK);
    call.forward.inputs.bias = bias;
    backward_forward(&call);
    call.args.grad_bias = &grad_bias;
    assert_int_equal(attn_plan_backward(call.forward.plan, &call.args), ATTN_OK);
    for (int64_t n = 0; n < (int64_t)COUNT_OF(zeros); n++) {
        double lse =
            incoming_at(&call.incoming, OF_LSE, 0, n / 240, n / 80 % 3, n % 80);
        assert_true(fabs(gradient[n] - lse) < 1e-4);
    }
    backward_close(&call);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(one_number_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
