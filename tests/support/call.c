/*
 * Calls as objects.
 */
#include "tests/support/call.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/run.h"

void call_open_on(struct test_call *call, attn_context *context,
                  const struct test_problem *problem, int data, unsigned wanted) {
    *call = (struct test_call){0};
    gen_inputs(&call->inputs, problem, data);
    outputs_open(&call->outputs, problem, wanted);
    if (context == NULL) {
        call->context = context = run_context(problem);
    }
    call->plan = run_plan(context, problem);
    run_args(&call->args, &call->inputs, &call->outputs);
}

void call_open(struct test_call *call, const char *text, unsigned wanted) {
    struct test_problem problem = run_parse(text);
    call_open_on(call, NULL, &problem, DATA_RANDOM, wanted);
}

void call_close(struct test_call *call) {
    attn_plan_destroy(call->plan);
    attn_context_destroy(call->context);
    outputs_close(&call->outputs);
    gen_free(&call->inputs);
}

void call_run(struct test_call *call) {
    outputs_reset(&call->outputs);
    run_need(attn_plan_forward(call->plan, &call->args), &call->inputs.problem,
             "attn_plan_forward");
}

int call_same(const struct test_call *a, const struct test_call *b) {
    int same = outputs_all_same(&a->outputs, &b->outputs);
    if (!same) {
        check_print_problem("one", &a->inputs);
        check_print_problem("other", &b->inputs);
    }
    return same;
}

void call_need_same(struct test_call *a, struct test_call *b) {
    call_run(a);
    call_run(b);
    assert_true(call_same(a, b));
}

void call_tiles(const attn_plan *plan, int64_t *rows, int64_t *keys) {
    static const char queries[] = "tiles: ", by[] = " queries x ";
    char text[2000];
    attn_plan_explain(plan, text, sizeof text);
    const char *before_rows = strstr(text, queries), *before_keys = strstr(text, by);
    *rows = before_rows == NULL ? 0 : strtol(before_rows + strlen(queries), NULL, 10);
    *keys = before_keys == NULL ? 0 : strtol(before_keys + strlen(by), NULL, 10);
    assert_true(*rows >= 16 && *rows <= 256 && *keys >= 16 && *keys <= 512);
}
