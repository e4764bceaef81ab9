/*
 * The gradients of keys and values that are parameters.
 */
#include <string.h>

#include "base/status.h"
#include "layer/multihead_parts.h"

void attn_multihead_extra_scratch(const struct multihead_call *call,
                                  struct multihead_gradients *gradients,
                                  struct ledger *ledger) {
    const struct multihead *multihead = call->multihead;
    gradients->extra_keys = ledger_floats(ledger, call->batch, multihead->extras,
                                          multihead->width[PART_KEY]);
    gradients->extra_values = ledger_floats(ledger, call->batch, multihead->extras,
                                            multihead->width[PART_VALUE]);
}

/* Rows of the extra keys' gradients, of their own for each batch element. */
static attn_tensor rows_of(const struct multihead_call *call, float *data,
                           int64_t dim) {
    const int64_t heads = call->multihead->facts.kv_heads;
    const struct size size = {call->batch, call->multihead->extras};
    const struct sequences rows = sequences_at(data, size, heads * dim);
    return attn_heads_of(&rows, call->batch, heads, size.rows, dim);
}

attn_status attn_multihead_bind_extra_backward(
    const struct multihead_call *call, const struct multihead_bound *forward,
    struct multihead_backward_bound *bound, const struct multihead_gradients *gradients,
    const struct others *others) {
    const struct multihead *multihead = call->multihead;
    struct multihead_extra_backward_bound *extra = &bound->extra;
    REQUIRE(bound->args.grad_lse == NULL && bound->args.grad_weights == NULL &&
                bound->args.grad_key_sums == NULL,
            ATTN_ERR_UNSUPPORTED,
            "with key_value_bias or zero_attention there are no grad_lse, "
            "grad_weights and grad_key_sums");
    extra->grad_key = rows_of(call, gradients->extra_keys, multihead->facts.key_dim);
    extra->grad_value =
        rows_of(call, gradients->extra_values, multihead->facts.value_dim);
    attn_forward_args args = forward->extra.args;
    args.out = &forward->out;
    args.lse = &forward->extra.lse;
    args.weights = NULL;
    TRY(attn_backward_args_init(&extra->args, sizeof extra->args));
    extra->args.grad_out = &bound->grad_out;
    extra->args.grad_query = &bound->grad_query;
    extra->args.grad_key = &extra->grad_key;
    extra->args.grad_value = &extra->grad_value;
    extra->args.accumulate = 1;
    extra->args.should_stop = call->should_stop;
    extra->args.should_stop_user = call->should_stop_user;
    return attn_call_bind_backward(&extra->call, &multihead->extra_plan.problem,
                                   &multihead->extra_plan.bounds, &extra->args, &args,
                                   others);
}

/* Adds the first row of each batch element to a gradient, if it is there. */
static void add_first_rows(const struct multihead_call *call,
                           enum multihead_parameter parameter, const float *rows,
                           int64_t width) {
    float *to = parameter_vector(attn_multihead_gradient(call, parameter));
    for (int64_t b = 0; to != NULL && b < call->batch; b++) {
        const float *row = rows + b * call->multihead->extras * width;
        call->linear.kernels->add_columns(to, row, width, 1, (int)width);
    }
}

attn_status attn_multihead_extra_backward(const struct multihead_call *call,
                                          const struct multihead_backward_bound *bound,
                                          const struct multihead_gradients *gradients) {
    const struct multihead *multihead = call->multihead;
    const int64_t *width = multihead->width;
    const size_t rows = (size_t)call->batch * (size_t)multihead->extras * sizeof(float);
    memset(gradients->extra_keys, 0, rows * (size_t)width[PART_KEY]);
    memset(gradients->extra_values, 0, rows * (size_t)width[PART_VALUE]);
    TRY(attn_plan_run_backward(&multihead->extra_plan, &bound->extra.call,
                               gradients->plan_workspace));
    if (multihead->facts.key_value_bias == 1) {
        add_first_rows(call, BIAS_K, gradients->extra_keys, width[PART_KEY]);
        add_first_rows(call, BIAS_V, gradients->extra_values, width[PART_VALUE]);
    }
    return ATTN_OK;
}
