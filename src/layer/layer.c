/*
 * A multi-head layer as a layer of its own: memory and calls.
 */
#include "layer/layer.h"

#include "base/status.h"

attn_status attn_layer_allocate_parameters(struct attn_layer *layer, int64_t room) {
    struct parameters *parameters = &layer->parameters;
    int64_t bytes;
    if (checked_mul(room, (int64_t)sizeof *parameters->list, &bytes)) {
        parameters->list = attn_mem_allocate(&layer->context->allocator, (size_t)bytes);
    }
    REQUIRE(parameters->list != NULL, ATTN_ERR_NO_MEMORY,
            "no memory for %lld parameters", (long long)room);
    parameters->room = room;
    return ATTN_OK;
}

void attn_layer_clear(struct attn_layer *layer) {
    attn_plan_clear(&layer->self.plan);
    attn_plan_clear(&layer->cross.plan);
    attn_mem_release(&layer->context->allocator, layer->parameters.list);
}

/* The memory of a call: what is kept in the state or, without, in the workspace. */
static void place(struct multihead_call *call, struct ledger *state,
                  struct ledger *workspace) {
    attn_multihead_keep(call, state != NULL ? state : workspace);
    attn_multihead_scratch(call, workspace);
}

/* A call of these sizes, to be measured: with inputs of their own, which takes the most
 * memory, since parts that lie together are rounded up together. */
static struct multihead_call measured(const struct attn_layer *layer, int64_t batch,
                                      int64_t q_length, int64_t kv_length) {
    return (struct multihead_call){
        .multihead = &layer->self,
        .batch = batch,
        .q_length = q_length,
        .kv_length = kv_length,
        .rows = q_length,
        .training = true,
    };
}

static attn_status measure_workspace(struct attn_layer *layer) {
    const attn_bounds *bounds = &layer->bounds;
    struct multihead_call call =
        measured(layer, bounds->batch, bounds->q_length, bounds->kv_length);
    struct multihead_gradients gradients = {.args = {0}};
    struct ledger ledger = {0}, backward = {0};
    place(&call, NULL, &ledger);
    /* what is kept lies in the state then */
    attn_multihead_scratch(&call, &backward);
    attn_multihead_backward_scratch(&call, &gradients, &backward);
    REQUIRE(!ledger.overflowed && !backward.overflowed, ATTN_ERR_INVALID,
            "the workspace overflows: batch %lld, %lld queries, %lld keys",
            (long long)bounds->batch, (long long)bounds->q_length,
            (long long)bounds->kv_length);
    layer->workspace = (size_t)ledger.bytes;
    layer->backward_workspace = (size_t)backward.bytes;
    return ATTN_OK;
}

attn_status attn_layer_setup_multihead(struct attn_layer *layer,
                                       const attn_multihead_options *options,
                                       const attn_desc *desc,
                                       const attn_bounds *bounds) {
    layer->kind = LAYER_MULTIHEAD;
    layer->bounds = *bounds;
    TRY(attn_multihead_setup(&layer->self, layer->context, options, desc, bounds,
                             "options"));
    TRY(attn_layer_allocate_parameters(layer, MULTIHEAD_PARAMETERS));
    attn_multihead_list(&layer->self, &layer->parameters, 0, "");
    return measure_workspace(layer);
}

bool attn_layer_measure_state(const struct attn_layer *layer, int64_t batch,
                              int64_t q_length, int64_t kv_length, size_t *bytes) {
    if (layer->kind == LAYER_STACK) {
        return attn_stack_measure_state(layer, batch, q_length, kv_length, bytes);
    }
    struct multihead_call call = measured(layer, batch, q_length, kv_length);
    struct ledger ledger = {0};
    attn_multihead_keep(&call, &ledger);
    *bytes = (size_t)ledger.bytes;
    return !ledger.overflowed;
}

static struct multihead_call multihead_call_of(const struct layer_call *call) {
    const bool one_input = call->args.key == NULL;
    const bool one_key = call->args.value == NULL;
    const struct sequences *key = one_input ? &call->input : &call->key;
    return (struct multihead_call){
        .multihead = &call->layer->self,
        .parameters = &call->layer->parameters,
        .linear = call->linear,
        .batch = call->batch,
        .q_length = call->q_length,
        .kv_length = call->kv_length,
        .rows = call->rows,
        .targets = call->targets,
        .input = call->input,
        .key = *key,
        .value = one_key ? *key : call->value,
        .one_input = one_input,
        .one_key = one_key,
        .name = "attention",
        .attention = &call->attention,
        .args = &call->args,
        .training = call->args.state != NULL,
        .others = &call->others,
        .should_stop = call->args.should_stop,
        .should_stop_user = call->args.should_stop_user,
    };
}

attn_status attn_layer_run_multihead(struct layer_call *call, void *workspace) {
    struct multihead_call multihead = multihead_call_of(call);
    struct multihead_bound bound;
    struct ledger scratch = {.memory = workspace};
    struct ledger state = {.memory = call->args.state};
    place(&multihead, call->args.state != NULL ? &state : NULL, &scratch);
    TRY(attn_multihead_bind(&bound, &multihead));
    TRY(attn_layer_check_inputs(call));
    return attn_multihead_forward(&multihead, &bound, &call->output, false);
}

attn_status attn_layer_run_multihead_backward(struct layer_backward_call *call,
                                              void *workspace) {
    struct multihead_call multihead = multihead_call_of(&call->forward);
    struct multihead_bound bound;
    struct multihead_backward_bound backward;
    struct multihead_gradients gradients = {
        .grad_output = call->grad_output,
        .grad_input = call->grad_input,
        .grad_key = call->grad_key,
        .grad_value = call->grad_value,
        .args = call->attention,
        .grad_positions = call->args.grad_positions,
    };
    struct ledger scratch = {.memory = workspace};
    struct ledger state = {.memory = call->forward.args.state};
    place(&multihead, &state, &scratch);
    attn_multihead_backward_scratch(&multihead, &gradients, &scratch);
    TRY(attn_multihead_bind(&bound, &multihead));
    TRY(attn_multihead_bind_backward(&backward, &multihead, &bound, &gradients));
    TRY(attn_layer_check_inputs(&call->forward));
    attn_layer_clear_gradients(&call->attention);
    return attn_multihead_backward(&multihead, &backward, &gradients);
}
