/*
 * Where a stack's call keeps things.
 *
 * The state holds a block's memory for each block, or with recomputation only what came
 * into it; whatever the backward call does not need lies in the workspace, once for all
 * blocks.
 */
#include "layer/stack.h"

struct stack_call attn_stack_measured(const struct attn_layer *layer, int64_t batch,
                                      int64_t q_length, int64_t kv_length, bool kept) {
    struct stack_call stack = {.layer = layer, .size = {batch, q_length}, .kept = kept};
    stack.self = (struct multihead_call){
        .multihead = &layer->self,
        .batch = batch,
        .q_length = q_length,
        .kv_length = q_length,
        .rows = q_length,
        .one_input = true,
        .one_key = true,
    };
    stack.cross = stack.self;
    stack.cross.multihead = &layer->cross;
    stack.cross.kv_length = kv_length;
    stack.cross.one_input = false;
    return stack;
}

static float *rows_of(const struct stack_call *stack, struct ledger *ledger,
                      int64_t features) {
    return ledger_floats(ledger, stack->size.batch, stack->size.rows, features);
}

/* What a block has: with `whole`, all that its backward call needs. */
static void place_block(const struct stack_call *stack, struct stack_block *block,
                        bool whole, struct ledger *ledger) {
    const struct attn_layer *layer = stack->layer;
    const attn_stack_options *o = &layer->stack;
    const int64_t embed = layer->self.facts.embed_dim;
    *block = (struct stack_block){
        .whole = whole, .self = stack->self, .cross = stack->cross};
    for (int step = 0; step < STEPS; step++) {
        if (!attn_stack_has(layer, (enum step)step)) {
            continue;
        }
        if (whole) {
            block->input[step] = rows_of(stack, ledger, embed);
        }
        if (whole && o->norm_first == 0) {
            block->sum[step] = rows_of(stack, ledger, embed);
        }
        block->mean[step] = rows_of(stack, ledger, 1);
        block->inverse[step] = rows_of(stack, ledger, 1);
    }
    block->hidden = rows_of(stack, ledger, o->feed_forward_dim);
    if (o->gated == 1) {
        block->gate = rows_of(stack, ledger, o->feed_forward_dim);
    }
    block->self.training = block->cross.training = whole;
    attn_multihead_keep(&block->self, ledger);
    if (attn_stack_has(layer, STEP_CROSS)) {
        attn_multihead_keep(&block->cross, ledger);
    }
}

static void place_final(struct stack_call *stack, struct ledger *ledger) {
    if (stack->layer->stack.final_norm == 1) {
        stack->final_input = rows_of(stack, ledger, stack->layer->self.facts.embed_dim);
        stack->final_mean = rows_of(stack, ledger, 1);
        stack->final_inverse = rows_of(stack, ledger, 1);
    }
}

void attn_stack_place_state(struct stack_call *stack, struct ledger *state) {
    struct ledger block = {0};
    struct stack_block unused;
    place_final(stack, state);
    if (stack->layer->stack.recompute == 1) {
        rows_of(stack, &block, stack->layer->self.facts.embed_dim);
    } else {
        place_block(stack, &unused, true, &block);
    }
    stack->state_of_block = block.bytes;
    state->overflowed |= block.overflowed;
    stack->state = *state;
}

void attn_stack_place(struct stack_call *stack, bool backward,
                      struct ledger *workspace) {
    const struct attn_layer *layer = stack->layer;
    const int64_t embed = layer->self.facts.embed_dim;
    stack->stream = rows_of(stack, workspace, embed);
    if (layer->stack.norm_first == 1) {
        stack->normed = rows_of(stack, workspace, embed);
    }
    if (stack->kept) {
        stack->activated = rows_of(stack, workspace, layer->stack.feed_forward_dim);
    } else {
        place_final(stack, workspace);
    }
    attn_multihead_scratch(&stack->self, workspace);
    if (attn_stack_has(layer, STEP_CROSS)) {
        attn_multihead_scratch(&stack->cross, workspace);
    }
    if (!stack->kept || layer->stack.recompute == 1) {
        place_block(stack, &stack->shared, backward, workspace);
    }
}

void attn_stack_block(const struct stack_call *stack, int64_t l,
                      struct stack_block *block) {
    struct ledger ledger = stack->state;
    ledger.bytes += l * stack->state_of_block;
    if (stack->kept && stack->layer->stack.recompute == 0) {
        place_block(stack, block, true, &ledger);
    } else {
        *block = stack->shared;
    }
    if (stack->kept && stack->layer->stack.recompute == 1) {
        block->input[STEP_SELF] =
            rows_of(stack, &ledger, stack->layer->self.facts.embed_dim);
    }
    block->l = l;
}
