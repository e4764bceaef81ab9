/*
 * The forward call of a stack.
 */
#include "layer/stack.h"

#include "base/status.h"

bool attn_stack_has(const struct attn_layer *layer, enum step step) {
    return step != STEP_CROSS || layer->stack.cross_attention != NULL;
}

int64_t attn_stack_first(const struct attn_layer *layer, int64_t l) {
    return l * layer->stack.groups / layer->stack.layers * layer->group_parameters;
}

const struct parameter *attn_block_parameter(const struct attn_layer *layer, int64_t l,
                                             int parameter) {
    const int64_t at = layer->block[parameter];
    return at < 0 ? NULL : &layer->parameters.list[attn_stack_first(layer, l) + at];
}

const struct parameter *attn_stack_final(const struct attn_layer *layer, int which) {
    const int64_t at = layer->final_norm[which];
    return at < 0 ? NULL : &layer->parameters.list[at];
}

void attn_stack_start(struct stack_call *stack, const struct layer_call *call) {
    *stack = attn_stack_measured(call->layer, call->batch, call->q_length,
                                 call->kv_length, call->args.state != NULL);
    stack->call = call;
    struct multihead_call *calls[] = {&stack->self, &stack->cross};
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        calls[i]->parameters = &call->layer->parameters;
        calls[i]->linear = call->linear;
        calls[i]->others = &call->others;
        calls[i]->should_stop = call->args.should_stop;
        calls[i]->should_stop_user = call->args.should_stop_user;
    }
    stack->self.args = &call->args;
    stack->self.name = "attention";
    stack->self.attention = &stack->self_attention;
    stack->cross.args = &stack->cross_args;
    stack->cross.name = "cross_attention";
    stack->cross.attention = &stack->cross_attention;
    stack->cross.key = stack->cross.value = call->key;
}

struct sequences attn_block_input(const struct stack_call *stack, float *stream) {
    return sequences_at(stack->layer->stack.norm_first == 1 ? stack->normed : stream,
                        stack->size, stack->layer->self.facts.embed_dim);
}

/* Block l of an output of all blocks, or NULL where there is none. */
static const attn_tensor *slice(attn_tensor *mine, const attn_tensor *all, int64_t l) {
    if (all == NULL) {
        return NULL;
    }
    *mine = *all;
    mine->rank--;
    for (int i = 0; i < mine->rank; i++) {
        mine->shape[i] = all->shape[i + 1];
        mine->stride[i] = all->stride[i + 1];
    }
    mine->data = (float *)all->data + l * (all->shape[0] > 1 ? all->stride[0] : 0);
    return mine;
}

attn_status attn_block_bind(struct stack_call *stack, struct stack_block *block) {
    const attn_layer_args *args = &stack->call->args;
    const int64_t l = block->l;
    const uint64_t seed = (uint64_t)l;
    stack->self_attention = stack->call->attention;
    stack->self_attention.dropout_seed =
        (int64_t)((uint64_t)stack->self_attention.dropout_seed + seed);
    stack->self_attention.weights = slice(&stack->weights[0], args->weights, l);
    stack->self_attention.mean_weights =
        slice(&stack->weights[1], args->mean_weights, l);
    block->self.first = attn_stack_first(stack->layer, l);
    block->self.input = attn_block_input(stack, stack->stream);
    block->self.key = block->self.value = block->self.input;
    TRY(attn_multihead_bind(&stack->self_bound, &block->self));
    if (!attn_stack_has(stack->layer, STEP_CROSS)) {
        return ATTN_OK;
    }
    stack->cross_attention = stack->call->cross_attention;
    stack->cross_attention.dropout_seed =
        (int64_t)((uint64_t)stack->cross_attention.dropout_seed + seed);
    stack->cross_attention.weights = slice(&stack->weights[2], args->cross_weights, l);
    stack->cross_attention.mean_weights =
        slice(&stack->weights[3], args->cross_mean_weights, l);
    block->cross.first = block->self.first;
    block->cross.input = block->self.input;
    return attn_multihead_bind(&stack->cross_bound, &block->cross);
}

/* The stream as it is now, if there is a place for it. */
static void keep(const struct stack_call *stack, float *to) {
    const int64_t embed = stack->layer->self.facts.embed_dim;
    const struct sequences stream = sequences_at(stack->stream, stack->size, embed);
    const struct sequences kept = sequences_at(to, stack->size, embed);
    if (to != NULL) {
        attn_rows_copy(stack->layer->context, stack->size, &kept, &stream, embed);
    }
}

static attn_status run_step(struct stack_call *stack, struct stack_block *block,
                            enum step step, const struct sequences *x) {
    const struct sequences stream =
        sequences_at(stack->stream, stack->size, stack->layer->self.facts.embed_dim);
    switch (step) {
    case STEP_SELF:
        return attn_multihead_forward(&block->self, &stack->self_bound, &stream, true);
    case STEP_CROSS:
        return attn_multihead_forward(&block->cross, &stack->cross_bound, &stream,
                                      true);
    default:
        TRY(attn_layer_poll(stack->call->args.should_stop,
                            stack->call->args.should_stop_user));
        attn_feed_forward(stack, block, x);
        return ATTN_OK;
    }
}

attn_status attn_block_forward(struct stack_call *stack, struct stack_block *block) {
    const struct attn_layer *layer = stack->layer;
    const bool norm_first = layer->stack.norm_first == 1;
    const struct sequences x = attn_block_input(stack, stack->stream);
    const struct sequences stream =
        sequences_at(stack->stream, stack->size, layer->self.facts.embed_dim);
    for (int step = 0; step < STEPS; step++) {
        if (!attn_stack_has(layer, (enum step)step)) {
            continue;
        }
        const struct parameter *gain =
            attn_block_parameter(layer, block->l, NORM_WEIGHT + step);
        const struct parameter *shift =
            attn_block_parameter(layer, block->l, NORM_BIAS + step);
        keep(stack, block->input[step]);
        if (norm_first) {
            attn_stack_norm(stack, &x, stack->stream, gain, shift, block->mean[step],
                            block->inverse[step]);
        }
        TRY(run_step(stack, block, (enum step)step, &x));
        keep(stack, block->sum[step]);
        if (!norm_first) {
            attn_stack_norm(stack, &stream, stack->stream, gain, shift,
                            block->mean[step], block->inverse[step]);
        }
    }
    return ATTN_OK;
}

/* What of the arguments only a stack looks at. */
static attn_status check_outputs(const struct stack_call *stack) {
    const struct layer_call *call = stack->call;
    const attn_forward_args *inner[] = {&call->attention, &call->cross_attention};
    for (size_t i = 0; i < COUNT_OF(inner); i++) {
        const attn_forward_args *a = inner[i];
        REQUIRE(a->lse == NULL && a->row_max == NULL && a->row_sum == NULL &&
                    a->weights == NULL && a->mean_weights == NULL &&
                    a->key_sums == NULL && a->raw_scores == NULL &&
                    a->capped_scores == NULL && a->biased_scores == NULL &&
                    a->dropout_mask == NULL,
                ATTN_ERR_INVALID,
                "%s has outputs: those of a stack are weights, mean_weights, "
                "cross_weights and cross_mean_weights of its own arguments",
                i == 0 ? "attention" : "cross_attention");
    }
    const struct {
        const char *name;
        const attn_tensor *tensor;
        int rank;
        bool cross;
    } all[] = {
        {"weights", call->args.weights, 5, false},
        {"mean_weights", call->args.mean_weights, 4, false},
        {"cross_weights", call->args.cross_weights, 5, true},
        {"cross_mean_weights", call->args.cross_mean_weights, 4, true},
    };
    struct extent extent[COUNT_OF(all)] = {{0}};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        const attn_tensor *t = all[i].tensor;
        if (t == NULL) {
            continue;
        }
        REQUIRE(!all[i].cross || attn_stack_has(stack->layer, STEP_CROSS),
                ATTN_ERR_INVALID, "%s is given, but the stack has no cross attention",
                all[i].name);
        REQUIRE(t->rank == all[i].rank && t->shape[0] == stack->layer->stack.layers,
                ATTN_ERR_INVALID,
                "%s should have rank %d and %lld blocks, has rank %d and %lld",
                all[i].name, all[i].rank, (long long)stack->layer->stack.layers,
                (int)t->rank, (long long)t->shape[0]);
        TRY(attn_tensor_extent(t, all[i].name, &extent[i]));
        TRY(attn_tensor_check_distinct(t, all[i].name));
        for (size_t j = 0; j < i; j++) {
            REQUIRE(extent[i].begin >= extent[j].end ||
                        extent[j].begin >= extent[i].end,
                    ATTN_ERR_INVALID, "%s overlaps %s: their byte ranges meet",
                    all[i].name, all[j].name);
        }
    }
    return ATTN_OK;
}

static void write_output(const struct stack_call *stack) {
    const struct attn_layer *layer = stack->layer;
    const int64_t embed = layer->self.facts.embed_dim;
    const struct sequences stream = sequences_at(stack->stream, stack->size, embed);
    if (layer->stack.final_norm == 0) {
        attn_rows_copy(layer->context, stack->size, &stack->call->output, &stream,
                       embed);
        return;
    }
    if (stack->kept) {
        keep(stack, stack->final_input);
    }
    attn_stack_norm(stack, &stack->call->output, stack->stream,
                    attn_stack_final(layer, 0), attn_stack_final(layer, 1),
                    stack->final_mean, stack->final_inverse);
}

attn_status attn_layer_run_stack(struct layer_call *call, void *workspace) {
    const struct attn_layer *layer = call->layer;
    const int64_t embed = layer->self.facts.embed_dim;
    struct ledger scratch = {.memory = workspace};
    struct ledger state = {.memory = call->args.state};
    struct stack_call stack;
    struct stack_block block;
    attn_stack_start(&stack, call);
    if (stack.kept) {
        attn_stack_place_state(&stack, &state);
    }
    attn_stack_place(&stack, false, &scratch);
    TRY(check_outputs(&stack));
    for (int64_t l = 0; l < layer->stack.layers; l++) {
        attn_stack_block(&stack, l, &block);
        TRY(attn_block_bind(&stack, &block));
    }
    TRY(attn_layer_check_inputs(call));
    const struct sequences stream = sequences_at(stack.stream, stack.size, embed);
    attn_rows_copy(layer->context, stack.size, &stream, &call->input, embed);
    for (int64_t l = 0; l < layer->stack.layers; l++) {
        attn_stack_block(&stack, l, &block);
        TRY(attn_block_bind(&stack, &block));
        TRY(attn_block_forward(&stack, &block));
    }
    write_output(&stack);
    return ATTN_OK;
}
