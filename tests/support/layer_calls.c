/*
 * From the tensors of a call to argument structs.
 */
#include "tests/support/layer_calls.h"

#include "tests/support/element.h"

static const attn_tensor *given(const struct layer_call *call, const char *prefix,
                                const char *name) {
    const struct layer_tensor *t = layer_find(call, prefix, name);
    return t != NULL ? &t->tensor : NULL;
}

static const attn_tensor *gradient(const struct layer_call *call, const char *prefix,
                                   const char *name) {
    const struct layer_tensor *t = layer_find(call, prefix, name);
    return t != NULL && t->gradient.rank > 0 ? &t->gradient : NULL;
}

static const attn_tensor *there(const attn_tensor *tensor) {
    return tensor->rank > 0 ? tensor : NULL;
}

static void point_attention(struct layer_call *call, int which, const char *prefix) {
    attn_forward_args *args = &call->attention[which];
    attn_backward_args *grad = &call->gradients[which];
    assert_int_equal(attn_forward_args_init(args, sizeof *args), ATTN_OK);
    const int64_t accumulate = grad->accumulate;
    assert_int_equal(attn_backward_args_init(grad, sizeof *grad), ATTN_OK);
    grad->accumulate = accumulate;
    args->q_lengths = given(call, prefix, "q_lengths");
    args->kv_lengths = given(call, prefix, "kv_lengths");
    args->query_offsets = given(call, prefix, "query_offsets");
    args->mask = given(call, prefix, "mask");
    args->bias = given(call, prefix, "bias");
    args->alibi_slopes = given(call, prefix, "alibi_slopes");
    args->sinks = given(call, prefix, "sinks");
    args->relative_bias = given(call, prefix, "relative_bias");
    args->relative_keys = given(call, prefix, "relative_keys");
    args->content_bias = given(call, prefix, "content_bias");
    args->position_bias = given(call, prefix, "position_bias");
    args->q_segments = given(call, prefix, "q_segments");
    args->k_segments = given(call, prefix, "k_segments");
    args->segment_keys = given(call, prefix, "segment_keys");
    args->segment_bias = given(call, prefix, "segment_bias");
    args->dropout_seed = call->dropout_seed;
    const struct layer_attention *attention =
        which == 0 ? &call->problem.self : &call->problem.memory;
    args->relative_zero = attention->relative_keys ? attention->zero_row : 0;
    grad->grad_bias = gradient(call, prefix, "bias");
    grad->grad_alibi_slopes = gradient(call, prefix, "alibi_slopes");
    grad->grad_sinks = gradient(call, prefix, "sinks");
    grad->grad_relative_bias = gradient(call, prefix, "relative_bias");
    grad->grad_relative_keys = gradient(call, prefix, "relative_keys");
    grad->grad_content_bias = gradient(call, prefix, "content_bias");
    grad->grad_position_bias = gradient(call, prefix, "position_bias");
    grad->grad_segment_keys = gradient(call, prefix, "segment_keys");
    grad->grad_segment_bias = gradient(call, prefix, "segment_bias");
}

static void point_outputs(struct layer_call *call) {
    const attn_tensor *extra[LAYER_OUTPUTS], *grad[LAYER_OUTPUTS];
    for (int o = 0; o < LAYER_OUTPUTS; o++) {
        extra[o] = there(&call->extra[o]);
        grad[o] = there(&call->grad_extra[o]);
    }
    if (call->problem.layers > 0) {
        call->args.weights = extra[LAYER_WEIGHTS];
        call->args.mean_weights = extra[LAYER_MEAN_WEIGHTS];
        call->args.cross_weights = extra[LAYER_CROSS_WEIGHTS];
        call->args.cross_mean_weights = extra[LAYER_CROSS_MEAN_WEIGHTS];
        return;
    }
    call->attention[0].weights = extra[LAYER_WEIGHTS];
    call->attention[0].mean_weights = extra[LAYER_MEAN_WEIGHTS];
    call->attention[0].lse = extra[LAYER_LSE];
    call->attention[0].key_sums = extra[LAYER_KEY_SUMS];
    call->gradients[0].grad_weights = grad[LAYER_WEIGHTS];
    call->gradients[0].grad_lse = grad[LAYER_LSE];
    call->gradients[0].grad_key_sums = grad[LAYER_KEY_SUMS];
}

void layer_point(struct layer_call *call) {
    attn_layer_args *args = &call->args;
    attn_layer_backward_args *back = &call->backward;
    assert_int_equal(attn_layer_args_init(args, sizeof *args), ATTN_OK);
    assert_int_equal(attn_layer_backward_args_init(back, sizeof *back), ATTN_OK);
    point_attention(call, 0, "self.");
    args->attention = &call->attention[0];
    back->attention = &call->gradients[0];
    if (call->problem.cross) {
        point_attention(call, 1, "cross.");
        args->cross_attention = &call->attention[1];
        back->cross_attention = &call->gradients[1];
    }
    args->input = given(call, "", "input");
    args->key = given(call, "", "key");
    args->value = given(call, "", "value");
    args->output = &call->output;
    args->position_ids = given(call, "", "position_ids");
    args->offsets = given(call, "", "offsets");
    args->cosines = given(call, "", "cosines");
    args->sines = given(call, "", "sines");
    args->key_position_ids = given(call, "", "key_position_ids");
    args->key_offsets = given(call, "", "key_offsets");
    args->positions = given(call, "", "positions");
    args->targets = given(call, "", "targets");
    args->query_length = args->targets != NULL ? call->problem.q_length : 0;
    args->relative_zero = args->positions != NULL ? call->problem.self.zero_row : 0;
    point_outputs(call);
    back->forward = args;
    back->grad_output = &call->grad_output;
    back->grad_input = gradient(call, "", "input");
    back->grad_key = gradient(call, "", "key");
    back->grad_value = gradient(call, "", "value");
    back->grad_positions = gradient(call, "", "positions");
}
