/*
 * Backward calls as objects, and their gradients against the oracle.
 */
#include "tests/support/backward.h"

#include <inttypes.h>

#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/oracle_backward.h"
#include "tests/support/random.h"
#include "tests/support/run.h"

/* Takes away what the call can do without, as the seed says. */
static void leave_out(struct test_backward *call) {
    struct random random = random_stream(call->forward.inputs.problem.seed, 300);
    switch (random_between(&random, 0, 4)) {
    case 0:
        call->forward.args.row_max = NULL;
        break;
    case 1:
        call->forward.args.row_sum = NULL;
        break;
    case 2:
        call->forward.args.lse = NULL;
        break;
    default:
        break;
    }
    if (call->args.grad_out == NULL && random_percent(&random, 50)) {
        call->forward.args.out = NULL;
    }
}

void backward_open_on(struct test_backward *call, attn_context *context,
                      const struct test_problem *problem, int data, unsigned given,
                      unsigned wanted) {
    *call = (struct test_backward){0};
    call_open_on(&call->forward, context, problem, data, STATISTICS);
    incoming_open(&call->incoming, problem, given);
    outputs_open_gradients(&call->gradients, &call->forward.inputs, wanted);
    assert_int_equal(attn_backward_args_init(&call->args, sizeof call->args), ATTN_OK);
    call->args.forward = &call->forward.args;
    incoming_give(&call->incoming, &call->args);
    outputs_give_gradients(&call->gradients, &call->args);
    backward_forward(call);
    leave_out(call);
}

void backward_open(struct test_backward *call, const char *text, unsigned given,
                   unsigned wanted) {
    struct test_problem problem = run_parse(text);
    backward_open_on(call, NULL, &problem, DATA_RANDOM, given, wanted);
}

void backward_close(struct test_backward *call) {
    outputs_close(&call->gradients);
    incoming_close(&call->incoming);
    call_close(&call->forward);
}

void backward_forward(struct test_backward *call) {
    struct test_call *forward = &call->forward;
    attn_forward_args args;
    run_args(&args, &forward->inputs, &forward->outputs);
    outputs_reset(&forward->outputs);
    run_need(attn_plan_forward(forward->plan, &args), &forward->inputs.problem,
             "attn_plan_forward");
}

void backward_run(struct test_backward *call) {
    outputs_reset(&call->gradients);
    run_need(attn_plan_backward(call->forward.plan, &call->args),
             &call->forward.inputs.problem, "attn_plan_backward");
}

void backward_need_same(struct test_backward *a, struct test_backward *b) {
    backward_run(a);
    backward_run(b);
    if (!outputs_all_same(&a->gradients, &b->gradients)) {
        check_print_problem("one", &a->forward.inputs);
        check_print_problem("other", &b->forward.inputs);
        fail_msg("gradients differ");
    }
}

/* -------------------------------------------------------------------- check */

/* What came in and how the weights were given, for who looks for an error. */
static void print_call(const struct test_backward *call) {
    check_print_problem("wrong", &call->forward.inputs);
    print_error("    given:");
    for (int w = 0; w < INCOMING; w++) {
        if (call->incoming.tensor[w].rank > 0) {
            print_error(" %s", incoming_name(w));
        }
    }
    const attn_forward_args *args = &call->forward.args;
    print_error("; of the forward call:%s%s%s%s\n", args->out ? " out" : "",
                args->lse ? " lse" : "", args->row_max ? " row_max" : "",
                args->row_sum ? " row_sum" : "");
}

/* Whether a gradient is right in every element. */
static int check_gradient(const struct test_backward *call,
                          const struct oracle_gradients *oracle, int output) {
    const attn_tensor *tensor = &call->gradients.tensor[output];
    for (int64_t n = 0; n < element_count(tensor); n++) {
        const struct oracle_sum *sum = &oracle->sum[output][n];
        double got = *(const float *)element_nth(tensor, n);
        double bound = oracle_gradient_bound(sum);
        if (!check_number(got, sum->value, bound)) {
            int64_t i[4];
            element_index(tensor, n, i);
            print_call(call);
            print_error("    %s[%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64
                        "] is %.9g, expected %.9g within %.3g\n",
                        outputs_name(output), i[0], i[1], i[2], i[3], got, sum->value,
                        bound);
            return 0;
        }
    }
    return 1;
}

int backward_check(const struct test_backward *call) {
    const attn_forward_args *args = &call->forward.args;
    struct oracle_gradients oracle;
    int wrong = 0;
    oracle_gradients_open(&oracle, &call->forward.inputs, &call->incoming,
                          args->row_max == NULL || args->row_sum == NULL);
    for (int o = GRAD_QUERY; o < SLOTS; o++) {
        if (call->gradients.tensor[o].rank > 0) {
            wrong += !check_gradient(call, &oracle, o);
        }
    }
    oracle_gradients_close(&oracle);
    if (!outputs_whole(&call->gradients)) {
        check_print_problem("memory of the gradients", &call->forward.inputs);
        wrong++;
    }
    return wrong;
}

int backward_run_and_check(const struct test_problem *problem, int data, unsigned given,
                           unsigned wanted) {
    struct test_backward call;
    backward_open_on(&call, NULL, problem, data, given, wanted);
    backward_run(&call);
    int wrong = backward_check(&call);
    backward_close(&call);
    return wrong;
}

int backward_run_text(const char *text, int data) {
    struct test_problem problem = run_parse(text);
    return backward_run_and_check(&problem, data, ALL_INCOMING, ALL_GRADIENTS);
}
