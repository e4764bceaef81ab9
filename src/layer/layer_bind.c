/*
 * Arguments of a layer's calls: sequences, memory, what goes on to the attention.
 */
#include <limits.h>
#include <string.h>

#include "base/status.h"
#include "desc/binding.h"
#include "layer/layer.h"

/* A tensor (batch, rows, features) of an argument struct. */
struct sequence_row {
    const char *name;
    const attn_tensor *tensor;
    int64_t batch, rows, features; /* -1: any */
    bool output;
};

static struct sequences sequences_of(const attn_tensor *tensor) {
    struct sequences sequences = {tensor->data, tensor->stride[0], tensor->stride[1]};
    if (tensor->shape[1] <= 1) {
        /* then rows of the batch elements may be those of one sequence */
        sequences.row_stride =
            tensor->shape[0] > 1 ? tensor->stride[0] : max_i64(1, tensor->shape[2]);
    }
    if (tensor->shape[0] <= 1) {
        sequences.batch_stride = 0;
    }
    return sequences;
}

static attn_status check_shape(const struct sequence_row *row) {
    const attn_tensor *t = row->tensor;
    REQUIRE(t->rank == 3, ATTN_ERR_INVALID,
            "%s has rank %d, should be 3: (batch, length, features)", row->name,
            (int)t->rank);
    const int64_t want[] = {row->batch, row->rows, row->features};
    static const char *const what[] = {"a batch", "a length", "features"};
    for (int i = 0; i < 3; i++) {
        REQUIRE(want[i] < 0 || t->shape[i] == want[i], ATTN_ERR_INVALID,
                "%s has %s of %lld, should be %lld", row->name, what[i],
                (long long)t->shape[i], (long long)want[i]);
    }
    return ATTN_OK;
}

/* The last bytes that were noted are written: they must not meet any others, nor a
 * parameter. */
static attn_status check_apart(const struct layer_call *call) {
    const struct extent *last = &call->extent[call->others.count - 1];
    for (int i = 0; i < call->others.count - 1; i++) {
        REQUIRE(last->begin >= call->extent[i].end ||
                    call->extent[i].begin >= last->end,
                ATTN_ERR_INVALID, "%s overlaps %s: their byte ranges meet", last->name,
                call->extent[i].name);
    }
    return attn_parameters_apart(&call->layer->parameters, last);
}

/* Checks a tensor, notes its bytes, and makes it rows. */
static attn_status bind(struct layer_call *call, const struct sequence_row *row,
                        struct sequences *sequences) {
    if (row->tensor == NULL) {
        *sequences = (struct sequences){0};
        return ATTN_OK;
    }
    TRY(check_shape(row));
    struct extent *extent = &call->extent[call->others.count++];
    struct expected expected = {
        .name = row->name, .axes = "bij", .rank = 3, .dtype = ATTN_F32};
    memcpy(expected.shape, row->tensor->shape, 3 * sizeof *expected.shape);
    int64_t strides[4];
    TRY(attn_tensor_check(row->tensor, &expected, strides, extent));
    for (int i = 0; i < 2; i++) {
        REQUIRE(strides[i] <= INT_MAX, ATTN_ERR_UNSUPPORTED,
                "%s has stride %lld in dimension %d, more than BLAS takes: %d",
                row->name, (long long)strides[i], i, INT_MAX);
    }
    if (row->output) {
        TRY(attn_tensor_check_distinct(row->tensor, row->name));
        TRY(check_apart(call));
    }
    *sequences = sequences_of(row->tensor);
    return ATTN_OK;
}

/* The inner arguments must leave alone what the layer fills in. */
static attn_status take_attention(attn_forward_args *mine,
                                  const attn_forward_args *args, const char *name) {
    if (args == NULL) {
        return attn_struct_init(mine, sizeof *mine, name);
    }
    TRY(attn_struct_take(mine, sizeof *mine, args, name));
    REQUIRE(mine->query == NULL && mine->key == NULL && mine->value == NULL &&
                mine->out == NULL,
            ATTN_ERR_INVALID, "%s: query, key, value and out must be NULL", name);
    REQUIRE(
        mine->workspace == NULL && mine->workspace_size == 0 &&
            mine->should_stop == NULL,
        ATTN_ERR_INVALID,
        "%s: workspace and should_stop must be NULL: they belong to the layer's own "
        "arguments",
        name);
    return ATTN_OK;
}

static attn_status check_bound(const char *name, int64_t size, int64_t bound) {
    REQUIRE(size <= bound, ATTN_ERR_INVALID, "%s is %lld, beyond the bound of %lld",
            name, (long long)size, (long long)bound);
    return ATTN_OK;
}

static attn_status check_bounds(const struct layer_call *call) {
    const attn_bounds *bounds = &call->layer->bounds;
    TRY(check_bound("batch", call->batch, bounds->batch));
    TRY(check_bound("the length of input", call->q_length, bounds->q_length));
    return check_bound("the length of key", call->kv_length, bounds->kv_length);
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
    return check_apart(call);
}

/* Sequences of a multi-head layer. */
static attn_status bind_inputs(struct layer_call *call) {
    const attn_layer_args *args = &call->args;
    const struct attn_layer *layer = call->layer;
    const struct multihead *keys =
        layer->kind == LAYER_STACK ? &layer->cross : &layer->self;
    const bool stack = layer->kind == LAYER_STACK;
    REQUIRE(args->input != NULL, ATTN_ERR_INVALID, "input is missing");
    const struct sequence_row input = {
        "input", args->input, -1, -1, layer->self.facts.embed_dim, false};
    TRY(bind(call, &input, &call->input));
    call->batch = args->input->shape[0];
    call->q_length = args->input->shape[1];
    call->kv_length = stack ? 0 : call->q_length;
    const bool cross = stack && layer->stack.cross_attention != NULL;
    REQUIRE(!stack || (args->key != NULL) == cross, ATTN_ERR_INVALID,
            "key, the memory of cross attention, is %s, and the stack has %s",
            args->key != NULL ? "given" : "missing", cross ? "one" : "none");
    REQUIRE(args->value == NULL || (!stack && args->key != NULL), ATTN_ERR_INVALID,
            "value is given, but %s", stack ? "the layer is a stack" : "key is not");
    const struct sequence_row key = {
        "key", args->key, call->batch, -1, keys->facts.key_embed_dim, false};
    TRY(bind(call, &key, &call->key));
    if (args->key != NULL) {
        call->kv_length = args->key->shape[1];
    }
    const struct sequence_row value = {
        "value", args->value, call->batch, call->kv_length, keys->facts.value_embed_dim,
        false};
    return bind(call, &value, &call->value);
}

/* Positions or their gradient: (rows, embed_dim). */
static attn_status bind_encoding(struct layer_call *call, const char *name,
                                 const attn_tensor *tensor, int64_t rows) {
    const struct expected expected = {
        .name = name,
        .axes = "ij",
        .rank = 2,
        .shape = {rows, call->layer->self.facts.embed_dim},
        .dtype = ATTN_F32,
    };
    REQUIRE(tensor->rank == 2 && tensor->shape[0] == rows &&
                tensor->shape[1] == expected.shape[1],
            ATTN_ERR_INVALID, "%s should have rank 2 and shape (%lld, %lld)", name,
            (long long)rows, (long long)expected.shape[1]);
    int64_t strides[4];
    struct extent *extent = &call->extent[call->others.count++];
    TRY(attn_tensor_check(tensor, &expected, strides, extent));
    REQUIRE(strides[0] <= INT_MAX, ATTN_ERR_UNSUPPORTED,
            "%s has stride %lld in dimension 0, more than BLAS takes: %d", name,
            (long long)strides[0], INT_MAX);
    return ATTN_OK;
}

static attn_status bind_positions(struct layer_call *call) {
    const attn_layer_args *args = &call->args;
    const bool relative = call->layer->self.facts.relative == 1;
    REQUIRE((args->positions != NULL) == relative, ATTN_ERR_INVALID,
            "positions is %s, but the layer is %s", relative ? "missing" : "given",
            relative ? "relative" : "not relative");
    REQUIRE(relative || args->relative_zero == 0, ATTN_ERR_INVALID,
            "relative_zero is %lld, but the layer is not relative",
            (long long)args->relative_zero);
    if (!relative) {
        return ATTN_OK;
    }
    REQUIRE(args->positions->rank == 2, ATTN_ERR_INVALID,
            "positions has rank %d, should be 2", (int)args->positions->rank);
    const int64_t keys =
        call->layer->kind == LAYER_STACK ? call->q_length : call->kv_length;
    const int64_t rows = args->positions->shape[0];
    REQUIRE(rows >= 1 && rows <= call->q_length + keys, ATTN_ERR_INVALID,
            "positions has %lld rows, not within 1 to queries and keys together, %lld",
            (long long)rows, (long long)(call->q_length + keys));
    return bind_encoding(call, "positions", args->positions, rows);
}

attn_status attn_layer_bind(struct layer_call *call, const struct attn_layer *layer,
                            const attn_layer_args *args) {
    *call = (struct layer_call){.layer = layer};
    call->others.extent = call->extent;
    call->linear = (struct linear){layer->context, attn_kernels(layer->context->isa),
                                   layer->reproducible};
    TRY(attn_struct_take(&call->args, sizeof call->args, args, "args"));
    TRY(attn_parameters_check(&layer->parameters));
    TRY(take_attention(&call->attention, call->args.attention, "attention"));
    TRY(take_attention(&call->cross_attention, call->args.cross_attention,
                       "cross_attention"));
    REQUIRE(call->args.cross_attention == NULL ||
                (layer->kind == LAYER_STACK && layer->stack.cross_attention != NULL),
            ATTN_ERR_INVALID, "cross_attention is given, but the layer has none");
    TRY(bind_inputs(call));
    TRY(check_bounds(call));
    TRY(bind_positions(call));
    size_t state = 0;
    REQUIRE(call->args.state == NULL ||
                attn_layer_measure_state(layer, call->batch, call->q_length,
                                         call->kv_length, &state),
            ATTN_ERR_INVALID, "the state of the call does not fit memory");
    TRY(bind_memory(call, "workspace", call->args.workspace, call->args.workspace_size,
                    layer->workspace));
    TRY(bind_memory(call, "state", call->args.state, call->args.state_size, state));
    return ATTN_OK;
}

attn_status attn_layer_bind_output(struct layer_call *call) {
    REQUIRE(call->args.output != NULL, ATTN_ERR_INVALID, "output is missing");
    const struct sequence_row output = {"output",
                                        call->args.output,
                                        call->batch,
                                        call->q_length,
                                        call->layer->self.facts.embed_dim,
                                        true};
    return bind(call, &output, &call->output);
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

attn_status attn_layer_bind_backward(struct layer_backward_call *call,
                                     const struct attn_layer *layer,
                                     const attn_layer_backward_args *args) {
    TRY(attn_struct_take(&call->args, sizeof call->args, args, "args"));
    TRY(take_gradients(&call->attention, call->args.attention, "attention"));
    TRY(take_gradients(&call->cross_attention, call->args.cross_attention,
                       "cross_attention"));
    REQUIRE(call->args.forward != NULL, ATTN_ERR_INVALID, "forward is NULL");
    attn_layer_args forward;
    TRY(attn_struct_take(&forward, sizeof forward, call->args.forward, "forward"));
    /* the workspace and what stops are those of this call */
    forward.workspace = call->args.workspace;
    forward.workspace_size = call->args.workspace_size;
    forward.should_stop = call->args.should_stop;
    forward.should_stop_user = call->args.should_stop_user;
    struct layer_call *f = &call->forward;
    TRY(attn_layer_bind(f, layer, &forward));
    REQUIRE(f->args.state != NULL, ATTN_ERR_INVALID,
            "forward.state is NULL: the forward call kept nothing");
    REQUIRE(call->args.grad_output != NULL, ATTN_ERR_INVALID, "grad_output is missing");
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
        {"grad_output", call->args.grad_output, f->batch, f->q_length, embed_dim,
         false},
        {"grad_input", call->args.grad_input, f->batch, f->q_length, embed_dim, true},
        {"grad_key", call->args.grad_key, f->batch, f->kv_length,
         keys->facts.key_embed_dim, true},
        {"grad_value", call->args.grad_value, f->batch, f->kv_length,
         keys->facts.value_embed_dim, true},
    };
    struct sequences *to[] = {&call->grad_output, &call->grad_input, &call->grad_key,
                              &call->grad_value};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TRY(bind(f, &rows[i], to[i]));
    }
    if (call->args.grad_positions == NULL) {
        return ATTN_OK;
    }
    TRY(bind_encoding(f, "grad_positions", call->args.grad_positions,
                      f->args.positions->shape[0]));
    TRY(attn_tensor_check_distinct(call->args.grad_positions, "grad_positions"));
    return check_apart(f);
}
