/*
 * Arguments of a layer's calls: what goes on to the attention, memory, gradients.
 */
#include "layer/layer_bind.h"
#include "base/status.h"

/* The inner arguments must leave alone what the layer fills in. */
static attn_status take_attention(attn_forward_args *mine,
                                  const attn_forward_args *args, const char *name) {
    if (args == NULL) {
        return attn_struct_init(mine, sizeof *mine, name);
    }
    TRY(attn_struct_take(mine, sizeof *mine, args, name));
    const struct named_tensor own[] = {
        {"query", mine->query},           {"key", mine->key},
        {"value", mine->value},           {"out", mine->out},
        {"key_scales", mine->key_scales}, {"value_scales", mine->value_scales},
        {"q_starts", mine->q_starts},     {"k_starts", mine->k_starts},
        {"sequences", mine->sequences},
    };
    for (size_t i = 0; i < COUNT_OF(own); i++) {
        REQUIRE(own[i].tensor == NULL, ATTN_ERR_INVALID,
                "%s: %s is given, but the layer makes it or has none", name,
                own[i].name);
    }
    REQUIRE(mine->cache == NULL && mine->cache_layer == 0, ATTN_ERR_UNSUPPORTED,
            "%s: cache is given, but layers keep no keys", name);
    REQUIRE(mine->profile == NULL, ATTN_ERR_UNSUPPORTED,
            "%s: profile is given, but layers have none", name);
    REQUIRE(
        mine->workspace == NULL && mine->workspace_size == 0 &&
            mine->should_stop == NULL,
        ATTN_ERR_INVALID,
        "%s: workspace and should_stop must be NULL: they belong to the layer's own "
        "arguments",
        name);
    return ATTN_OK;
}

/* The memory that the caller lends. */
static attn_status bind_memory(struct layer_call *call, const char *name, void *memory,
                               int64_t size, size_t needed) {
    REQUIRE((uintptr_t)memory % MEM_ALIGNMENT == 0, ATTN_ERR_INVALID,
            "%s is %d bytes past a multiple of %d", name,
            (int)((uintptr_t)memory % MEM_ALIGNMENT), (int)MEM_ALIGNMENT);
    REQUIRE(memory == NULL || (size >= 0 && (uint64_t)size >= needed), ATTN_ERR_INVALID,
            "%s has %lld bytes, the call needs %zu", name, (long long)size, needed);
    REQUIRE(memory != NULL || size == 0, ATTN_ERR_INVALID,
            "%s_size is %lld, but %s is NULL", name, (long long)size, name);
    if (memory == NULL) {
        return ATTN_OK;
    }
    const uintptr_t begin = (uintptr_t)memory;
    call->extent[call->others.count++] = (struct extent){name, begin, begin + needed};
    return attn_layer_apart(call);
}

/* What only stacks have. */
static attn_status check_kind(const struct layer_call *call) {
    const struct named_tensor outputs[] = {
        {"weights", call->args.weights},
        {"mean_weights", call->args.mean_weights},
        {"cross_weights", call->args.cross_weights},
        {"cross_mean_weights", call->args.cross_mean_weights},
    };
    for (size_t i = 0; i < COUNT_OF(outputs); i++) {
        REQUIRE(outputs[i].tensor == NULL || call->layer->kind == LAYER_STACK,
                ATTN_ERR_INVALID,
                "%s is given, but the layer is no stack: weights of a multi-head layer "
                "are outputs of its attention",
                outputs[i].name);
    }
    REQUIRE(call->args.cross_attention == NULL || attn_layer_has_cross(call->layer),
            ATTN_ERR_INVALID, "cross_attention is given, but the layer has none");
    return ATTN_OK;
}

attn_status attn_layer_bind(struct layer_call *call, const struct attn_layer *layer,
                            const attn_layer_args *args, size_t workspace) {
    *call = (struct layer_call){.layer = layer};
    call->others.extent = call->extent;
    call->linear = (struct linear){layer->context, attn_kernels(layer->context->isa),
                                   layer->reproducible, NULL};
    TRY(attn_struct_take(&call->args, sizeof call->args, args, "args"));
    TRY(attn_parameters_check(&layer->parameters));
    TRY(take_attention(&call->attention, call->args.attention, "attention"));
    TRY(take_attention(&call->cross_attention, call->args.cross_attention,
                       "cross_attention"));
    TRY(check_kind(call));
    TRY(attn_layer_bind_sequences(call));
    size_t state = 0;
    REQUIRE(call->args.state == NULL ||
                attn_layer_measure_state(layer, call->batch, call->q_length,
                                         call->kv_length, &state),
            ATTN_ERR_INVALID, "the state of the call does not fit memory");
    TRY(bind_memory(call, "workspace", call->args.workspace, call->args.workspace_size,
                    workspace));
    TRY(bind_memory(call, "state", call->args.state, call->args.state_size, state));
    return ATTN_OK;
}

attn_status attn_layer_bind_output(struct layer_call *call) {
    REQUIRE(call->args.output != NULL, ATTN_ERR_INVALID, "output is missing");
    const struct sequence_row output = {"output",
                                        call->args.output,
                                        call->batch,
                                        call->rows,
                                        call->layer->self.facts.embed_dim,
                                        true};
    return attn_layer_bind_row(call, &output, &call->output);
}

/* As take_attention(). */
static attn_status take_gradients(attn_backward_args *mine,
                                  const attn_backward_args *args, const char *name) {
    if (args == NULL) {
        return attn_struct_init(mine, sizeof *mine, name);
    }
    TRY(attn_struct_take(mine, sizeof *mine, args, name));
    REQUIRE(mine->forward == NULL && mine->grad_out == NULL &&
                mine->grad_query == NULL && mine->grad_key == NULL &&
                mine->grad_value == NULL && mine->workspace == NULL &&
                mine->workspace_size == 0 && mine->should_stop == NULL,
            ATTN_ERR_INVALID,
            "%s: forward, grad_out, grad_query, grad_key, grad_value, workspace and "
            "should_stop must be NULL",
            name);
    REQUIRE(mine->accumulate == 0 || mine->accumulate == 1, ATTN_ERR_INVALID,
            "%s: accumulate is %lld, should be 0 or 1", name,
            (long long)mine->accumulate);
    return ATTN_OK;
}

/* True if some gradient goes somewhere. */
static bool wants_gradients(const struct layer_backward_call *call) {
    const struct parameters *parameters = &call->forward.layer->parameters;
    const attn_layer_backward_args *args = &call->args;
    for (int64_t i = 0; i < parameters->count; i++) {
        if (parameters->list[i].gradient.rank > 0) {
            return true;
        }
    }
    return args->grad_input != NULL || args->grad_key != NULL ||
           args->grad_value != NULL || args->grad_positions != NULL ||
           attn_layer_wants_gradients(&call->attention) ||
           attn_layer_wants_gradients(&call->cross_attention);
}

attn_status attn_layer_bind_backward(struct layer_backward_call *call,
                                     const struct attn_layer *layer,
                                     const attn_layer_backward_args *args) {
    TRY(attn_struct_take(&call->args, sizeof call->args, args, "args"));
    TRY(take_gradients(&call->attention, call->args.attention, "attention"));
    TRY(take_gradients(&call->cross_attention, call->args.cross_attention,
                       "cross_attention"));
    REQUIRE(call->args.cross_attention == NULL || attn_layer_has_cross(layer),
            ATTN_ERR_INVALID, "cross_attention is given, but the layer has none");
    REQUIRE(call->args.forward != NULL, ATTN_ERR_INVALID, "forward is NULL");
    attn_layer_args forward;
    TRY(attn_struct_take(&forward, sizeof forward, call->args.forward, "forward"));
    forward.size = sizeof forward; /* not that of a newer program's */
    /* the workspace and what stops are those of this call */
    forward.workspace = call->args.workspace;
    forward.workspace_size = call->args.workspace_size;
    forward.should_stop = call->args.should_stop;
    forward.should_stop_user = call->args.should_stop_user;
    struct layer_call *f = &call->forward;
    TRY(attn_layer_bind(f, layer, &forward, layer->backward_workspace));
    f->backward = true;
    REQUIRE(f->args.state != NULL, ATTN_ERR_INVALID,
            "forward.state is NULL: the forward call kept nothing");
    REQUIRE(call->args.grad_output != NULL, ATTN_ERR_INVALID, "grad_output is missing");
    REQUIRE(wants_gradients(call), ATTN_ERR_INVALID,
            "no gradient is asked for, be it of a parameter: see "
            "attn_layer_set_gradient()");
    REQUIRE(call->args.grad_key == NULL || f->args.key != NULL, ATTN_ERR_INVALID,
            "grad_key is given, but key is not");
    REQUIRE(call->args.grad_value == NULL || f->args.value != NULL, ATTN_ERR_INVALID,
            "grad_value is given, but value is not");
    REQUIRE(call->args.grad_positions == NULL || f->args.positions != NULL,
            ATTN_ERR_INVALID, "grad_positions is given, but positions is not");
    const struct multihead *keys =
        layer->kind == LAYER_STACK ? &layer->cross : &layer->self;
    const int64_t embed_dim = layer->self.facts.embed_dim;
    const struct sequence_row rows[] = {
        {"grad_output", call->args.grad_output, f->batch, f->rows, embed_dim, false},
        {"grad_input", call->args.grad_input, f->batch, f->rows, embed_dim, true},
        {"grad_key", call->args.grad_key, f->batch, f->kv_length,
         keys->facts.key_embed_dim, true},
        {"grad_value", call->args.grad_value, f->batch, f->kv_length,
         keys->facts.value_embed_dim, true},
    };
    struct sequences *to[] = {&call->grad_output, &call->grad_input, &call->grad_key,
                              &call->grad_value};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TRY(attn_layer_bind_row(f, &rows[i], to[i]));
    }
    if (call->args.grad_positions == NULL) {
        return ATTN_OK;
    }
    TRY(attn_layer_bind_encoding(f, "grad_positions", call->args.grad_positions,
                                 f->args.positions->shape[0]));
    TRY(attn_tensor_check_distinct(call->args.grad_positions, "grad_positions"));
    return attn_layer_apart(f);
}
