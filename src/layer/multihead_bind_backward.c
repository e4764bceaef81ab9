/*
 * The memory of a multi-head layer's backward call, and its checks.
 */
#include "base/status.h"
#include "layer/multihead_parts.h"

void attn_multihead_backward_scratch(const struct multihead_call *call,
                                     struct multihead_gradients *gradients,
                                     struct ledger *ledger) {
    const struct multihead *multihead = call->multihead;
    const attn_multihead_options *facts = &multihead->facts;
    attn_multihead_place_parts(call, gradients->part, ledger);
    gradients->heads = ledger_floats(ledger, call->batch, call->q_length,
                                     facts->heads * facts->value_dim);
    if (facts->combine == ATTN_COMBINE_MEAN) {
        gradients->average =
            ledger_floats(ledger, call->batch, call->q_length, multihead->combined);
    }
    if (facts->relative == 1) {
        gradients->relative_keys =
            ledger_floats(ledger, attn_multihead_relative_rows(call),
                          multihead->width[PART_QUERY], 1);
    }
    if (multihead->extras > 0) {
        attn_multihead_extra_scratch(call, gradients, ledger);
    }
    size_t bytes = multihead->plan.backward_workspace;
    if (multihead->extras > 0 && multihead->extra_plan.backward_workspace > bytes) {
        bytes = multihead->extra_plan.backward_workspace;
    }
    gradients->plan_workspace = ledger_bytes(ledger, (int64_t)bytes);
}

/* What a relative layer has of its own has its gradient as a parameter. */
static attn_status check_relative(const struct multihead_call *call,
                                  const attn_backward_args *args) {
    const struct named_tensor own[] = {
        {"grad_relative_keys", args->grad_relative_keys},
        {"grad_content_bias", args->grad_content_bias},
        {"grad_position_bias", args->grad_position_bias},
        {"grad_segment_keys", args->grad_segment_keys},
        {"grad_segment_bias", args->grad_segment_bias},
    };
    for (size_t i = 0; i < COUNT_OF(own); i++) {
        REQUIRE(
            own[i].tensor == NULL, ATTN_ERR_INVALID,
            "%s: %s is given, but in a relative layer it is that of a parameter, or "
            "of positions",
            call->name, own[i].name);
    }
    return ATTN_OK;
}

/* Gradients that the caller has of what attention brings: no parameter may lie there.
 */
static attn_status check_outputs(const struct multihead_call *call,
                                 const attn_backward_args *args) {
    const struct named_tensor outputs[] = {
        {"grad_bias", args->grad_bias},
        {"grad_alibi_slopes", args->grad_alibi_slopes},
        {"grad_sinks", args->grad_sinks},
        {"grad_relative_bias", args->grad_relative_bias},
        {"grad_relative_keys", args->grad_relative_keys},
        {"grad_content_bias", args->grad_content_bias},
        {"grad_position_bias", args->grad_position_bias},
        {"grad_segment_keys", args->grad_segment_keys},
        {"grad_segment_bias", args->grad_segment_bias},
    };
    return attn_multihead_apart(call, outputs, COUNT_OF(outputs));
}

/* The gradients of what are parameters here and inputs of the attention there. */
static void bind_relative(struct multihead_backward_bound *bound,
                          const struct multihead_call *call,
                          const struct multihead_bound *forward,
                          const struct multihead_gradients *gradients) {
    const struct {
        enum multihead_parameter parameter;
        const attn_tensor **argument;
    } tables[] = {
        {CONTENT_BIAS, &bound->args.grad_content_bias},
        {POSITION_BIAS, &bound->args.grad_position_bias},
        {SEGMENT_KEYS, &bound->args.grad_segment_keys},
        {SEGMENT_BIAS, &bound->args.grad_segment_bias},
    };
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        const attn_tensor *gradient =
            attn_multihead_gradient(call, tables[i].parameter);
        if (gradient->rank > 0) {
            bound->grad_table[i] = *gradient;
            *tables[i].argument = &bound->grad_table[i];
        }
    }
    bound->grad_relative_keys = forward->relative_keys;
    bound->grad_relative_keys.data = gradients->relative_keys;
    bound->args.grad_relative_keys = &bound->grad_relative_keys;
}

attn_status attn_multihead_bind_backward(struct multihead_backward_bound *bound,
                                         const struct multihead_call *call,
                                         const struct multihead_bound *forward,
                                         const struct multihead_gradients *gradients) {
    const struct multihead *multihead = call->multihead;
    const attn_multihead_options *facts = &multihead->facts;
    const struct sequences heads =
        attn_multihead_rows(call, gradients->heads, facts->heads * facts->value_dim);
    bound->grad_query = attn_heads_of(&gradients->part[PART_QUERY], call->batch,
                                      facts->heads, call->q_length, facts->key_dim);
    bound->grad_key = attn_heads_of(&gradients->part[PART_KEY], call->batch,
                                    facts->kv_heads, call->kv_length, facts->key_dim);
    bound->grad_value =
        attn_heads_of(&gradients->part[PART_VALUE], call->batch, facts->kv_heads,
                      call->kv_length, facts->value_dim);
    bound->grad_out = attn_heads_of(&heads, call->batch, facts->heads, call->q_length,
                                    facts->value_dim);
    bound->args = gradients->args;
    bound->args.grad_out = &bound->grad_out;
    bound->args.grad_query = &bound->grad_query;
    bound->args.grad_key = &bound->grad_key;
    bound->args.grad_value = &bound->grad_value;
    bound->args.accumulate = 1;
    bound->args.should_stop = call->should_stop;
    bound->args.should_stop_user = call->should_stop_user;
    if (facts->relative == 1) {
        TRY(check_relative(call, &gradients->args));
        bind_relative(bound, call, forward, gradients);
    }
    struct others others = *call->others;
    others.own = bound;
    others.own_bytes = sizeof *bound;
    attn_forward_args args = forward->args;
    args.weights = args.mean_weights = args.key_sums = NULL;
    args.raw_scores = args.capped_scores = args.biased_scores = NULL;
    args.dropout_mask = NULL;
    if (facts->rotary_dim > 0) {
        TRY(attn_multihead_bind_rotary(call, &bound->grad_query, false, true,
                                       &bound->rotate_query));
        TRY(attn_multihead_bind_rotary(call, &bound->grad_key, true, true,
                                       &bound->rotate_key));
    }
    if (multihead->extras > 0) {
        TRY(attn_multihead_bind_extra_backward(call, forward, bound, gradients,
                                               &others));
    }
    const attn_status status =
        attn_call_bind_backward(&bound->call, &multihead->plan.problem,
                                &multihead->plan.bounds, &bound->args, &args, &others);
    return status == ATTN_OK ? check_outputs(call, &gradients->args)
                             : attn_fail_in(status, call->name);
}
