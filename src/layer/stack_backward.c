/*
 * The backward call of a stack: blocks and their steps in reverse. Where blocks were
 * not kept, each is computed again from what came into it.
 */
#include "base/status.h"
#include "layer/stack.h"

void attn_stack_place_gradients(const struct stack_call *stack,
                                struct stack_gradients *gradients,
                                struct ledger *workspace) {
    const struct attn_layer *layer = stack->layer;
    const struct size size = stack->size;
    const int64_t embed = layer->self.facts.embed_dim;
    const int64_t feed = layer->stack.feed_forward_dim;
    gradients->grad = ledger_floats(workspace, size.batch, size.rows, embed);
    gradients->step = ledger_floats(workspace, size.batch, size.rows, embed);
    gradients->norm_parts =
        ledger_floats(workspace, attn_stack_norm_parts(embed), 1, 1);
    gradients->feed.hidden = ledger_floats(workspace, size.batch, size.rows, feed);
    if (layer->stack.gated == 1) {
        gradients->feed.gate = ledger_floats(workspace, size.batch, size.rows, feed);
    }
    attn_multihead_backward_scratch(&stack->self, &gradients->self, workspace);
    if (attn_stack_has(layer, STEP_CROSS)) {
        attn_multihead_backward_scratch(&stack->cross, &gradients->cross, workspace);
    }
}

/* A backward call under way. */
struct backward {
    struct stack_call stack;
    struct stack_gradients gradients;
    const struct layer_backward_call *call;
};

/* Checks the calls of attention of a block, forwards and backwards. */
static attn_status bind(struct backward *backward, struct stack_block *block) {
    struct stack_call *stack = &backward->stack;
    struct stack_gradients *gradients = &backward->gradients;
    TRY(attn_block_bind(stack, block));
    TRY(attn_multihead_bind_backward(&gradients->self_bound, &block->self,
                                     &stack->self_bound, &gradients->self));
    if (!attn_stack_has(stack->layer, STEP_CROSS)) {
        return ATTN_OK;
    }
    /* the last block comes first: it writes, the others add */
    gradients->cross.add_key = block->l < stack->layer->stack.layers - 1;
    return attn_multihead_bind_backward(&gradients->cross_bound, &block->cross,
                                        &stack->cross_bound, &gradients->cross);
}

/* From grad, the gradient of the stream after a step, to that of x, which it reads. */
static attn_status step_back(struct backward *backward, struct stack_block *block,
                             enum step step, const struct sequences *x,
                             const struct sequences *grad_x, bool add) {
    struct stack_call *stack = &backward->stack;
    struct stack_gradients *gradients = &backward->gradients;
    const struct sequences grad =
        sequences_at(gradients->grad, stack->size, stack->layer->self.facts.embed_dim);
    if (step == STEP_FEED) {
        TRY(attn_layer_poll(stack->call->args.should_stop,
                            stack->call->args.should_stop_user));
        attn_feed_backward(stack, block, &gradients->feed, &grad, x, grad_x, add);
        return ATTN_OK;
    }
    struct multihead_call *call = step == STEP_SELF ? &block->self : &block->cross;
    struct multihead_gradients *inner =
        step == STEP_SELF ? &gradients->self : &gradients->cross;
    call->input = *x;
    if (step == STEP_SELF) {
        call->key = call->value = *x;
    }
    inner->grad_output = grad;
    inner->grad_input = *grad_x;
    inner->add_input = add;
    return attn_multihead_backward(
        call, step == STEP_SELF ? &gradients->self_bound : &gradients->cross_bound,
        inner);
}

static attn_status block_back(struct backward *backward, struct stack_block *block) {
    struct stack_call *stack = &backward->stack;
    struct stack_gradients *gradients = &backward->gradients;
    const struct attn_layer *layer = stack->layer;
    const int64_t embed = layer->self.facts.embed_dim;
    const bool norm_first = layer->stack.norm_first == 1;
    const struct sequences grad = sequences_at(gradients->grad, stack->size, embed);
    const struct sequences grad_step =
        sequences_at(gradients->step, stack->size, embed);
    for (int step = STEPS - 1; step >= 0; step--) {
        if (!attn_stack_has(layer, (enum step)step)) {
            continue;
        }
        const struct parameter *gain =
            attn_block_parameter(layer, block->l, NORM_WEIGHT + step);
        const struct parameter *shift =
            attn_block_parameter(layer, block->l, NORM_BIAS + step);
        float *mean = block->mean[step], *inverse = block->inverse[step];
        const struct sequences x = attn_block_input(stack, block->input[step]);
        if (norm_first) {
            attn_stack_norm(stack, &x, block->input[step], gain, shift, mean, inverse);
            TRY(step_back(backward, block, (enum step)step, &x, &grad_step, false));
            attn_stack_norm_gradient(stack, gradients->grad, gradients->step,
                                     block->input[step], gain, shift, mean, inverse,
                                     true, gradients->norm_parts);
        } else {
            attn_stack_norm_gradient(stack, gradients->grad, gradients->grad,
                                     block->sum[step], gain, shift, mean, inverse,
                                     false, gradients->norm_parts);
            TRY(step_back(backward, block, (enum step)step, &x, &grad, true));
        }
    }
    return ATTN_OK;
}

/* A block that kept its first input alone runs again. */
static attn_status compute_again(struct backward *backward, struct stack_block *block) {
    struct stack_call *stack = &backward->stack;
    if (stack->layer->stack.recompute == 0) {
        return ATTN_OK;
    }
    const int64_t embed = stack->layer->self.facts.embed_dim;
    const struct sequences stream = sequences_at(stack->stream, stack->size, embed);
    const struct sequences kept =
        sequences_at(block->input[STEP_SELF], stack->size, embed);
    attn_rows_copy(stack->layer->context, stack->size, &stream, &kept, embed);
    return attn_block_forward(stack, block);
}

/* The gradient of the stream after the last block. */
static void start(struct backward *backward) {
    struct stack_call *stack = &backward->stack;
    struct stack_gradients *gradients = &backward->gradients;
    const struct attn_layer *layer = stack->layer;
    const int64_t embed = layer->self.facts.embed_dim;
    const struct sequences grad = sequences_at(gradients->grad, stack->size, embed);
    attn_rows_copy(layer->context, stack->size, &grad, &backward->call->grad_output,
                   embed);
    if (layer->stack.final_norm == 1) {
        attn_stack_norm_gradient(stack, gradients->grad, gradients->grad,
                                 stack->final_input, attn_stack_final(layer, 0),
                                 attn_stack_final(layer, 1), stack->final_mean,
                                 stack->final_inverse, false, gradients->norm_parts);
    }
}

static attn_status check_incoming(const struct layer_backward_call *call) {
    const attn_backward_args *inner[] = {&call->attention, &call->cross_attention};
    for (size_t i = 0; i < COUNT_OF(inner); i++) {
        REQUIRE(inner[i]->grad_lse == NULL && inner[i]->grad_weights == NULL &&
                    inner[i]->grad_key_sums == NULL,
                ATTN_ERR_INVALID,
                "%s: grad_lse, grad_weights and grad_key_sums are for multi-head "
                "layers",
                i == 0 ? "attention" : "cross_attention");
    }
    return ATTN_OK;
}

attn_status attn_layer_run_stack_backward(struct layer_backward_call *call,
                                          void *workspace) {
    const struct attn_layer *layer = call->forward.layer;
    const int64_t embed = layer->self.facts.embed_dim;
    struct ledger scratch = {.memory = workspace};
    struct ledger state = {.memory = call->forward.args.state};
    struct backward backward = {.call = call};
    struct stack_block block;
    /* what the forward call wrote is not written again */
    call->forward.args.weights = call->forward.args.mean_weights = NULL;
    call->forward.args.cross_weights = call->forward.args.cross_mean_weights = NULL;
    attn_stack_start(&backward.stack, &call->forward);
    attn_stack_place_state(&backward.stack, &state);
    attn_stack_place(&backward.stack, true, &scratch);
    attn_stack_place_gradients(&backward.stack, &backward.gradients, &scratch);
    backward.gradients.self.args = call->attention;
    backward.gradients.self.grad_positions = call->args.grad_positions;
    backward.gradients.cross.args = call->cross_attention;
    backward.gradients.cross.grad_key = call->grad_key;
    TRY(check_incoming(call));
    for (int64_t l = 0; l < layer->stack.layers; l++) {
        attn_stack_block(&backward.stack, l, &block);
        TRY(bind(&backward, &block));
    }
    TRY(attn_layer_gradients_apart(&call->attention, &call->cross_attention));
    TRY(attn_layer_check_inputs(&call->forward));
    attn_layer_clear_gradients(&call->attention);
    attn_layer_clear_gradients(&call->cross_attention);
    start(&backward);
    for (int64_t l = layer->stack.layers - 1; l >= 0; l--) {
        attn_stack_block(&backward.stack, l, &block);
        TRY(bind(&backward, &block));
        TRY(compute_again(&backward, &block));
        TRY(block_back(&backward, &block));
    }
    if (call->grad_input.data != NULL) {
        const struct sequences grad =
            sequences_at(backward.gradients.grad, backward.stack.size, embed);
        attn_rows_copy(layer->context, backward.stack.size, &call->grad_input, &grad,
                       embed);
    }
    return ATTN_OK;
}
