/*
 * Layers.
 */
#include <string.h>

#include "api/api.h"
#include "attn/packed.h"
#include "attn/rollout.h"
#include "base/text.h"
#include "layer/layer.h"
#include "layer/rollout.h"

/* Memory for a layer, zeroed but for its context. */
static attn_status allocate(attn_layer **layer, attn_context *context) {
    REQUIRE_POINTER(layer);
    *layer = NULL;
    if (context == NULL) {
        attn_fail(ATTN_ERR_INVALID,
                  "context is NULL: a layer needs one of attn_context_create()");
        return ATTN_ERR_INVALID;
    }
    struct attn_layer *made = attn_mem_allocate(&context->allocator, sizeof *made);
    if (made == NULL) {
        attn_fail(ATTN_ERR_NO_MEMORY, "no memory for a layer");
        return ATTN_ERR_NO_MEMORY;
    }
    memset(made, 0, sizeof *made);
    made->context = context;
    *layer = made;
    return ATTN_OK;
}

/* Keeps a layer that was made, or frees what there is of one that could not be. */
static attn_status finish(attn_layer **layer, attn_status status) {
    struct attn_context *context = (*layer)->context;
    if (status != ATTN_OK) {
        attn_layer_clear(*layer);
        attn_mem_release(&context->allocator, *layer);
        *layer = NULL;
        return status;
    }
    attn_context_retain(context);
    atomic_store(&context->planned, true);
    return ATTN_OK;
}

attn_status attn_multihead_options_init(attn_multihead_options *options, size_t size) {
    return attn_struct_init(options, size, "attn_multihead_options");
}

attn_status attn_stack_options_init(attn_stack_options *options, size_t size) {
    return attn_struct_init(options, size, "attn_stack_options");
}

attn_status attn_layer_create_multihead(attn_layer **layer, attn_context *context,
                                        const attn_multihead_options *options,
                                        const attn_desc *desc,
                                        const attn_bounds *bounds) {
    TRY(allocate(layer, context));
    attn_bounds taken;
    attn_status status = attn_struct_take(&taken, sizeof taken, bounds, "bounds");
    if (status == ATTN_OK) {
        status = attn_layer_setup_multihead(*layer, options, desc, &taken);
    }
    return finish(layer, status);
}

attn_status attn_layer_create_stack(attn_layer **layer, attn_context *context,
                                    const attn_stack_options *options,
                                    const attn_desc *self_desc,
                                    const attn_desc *cross_desc,
                                    const attn_bounds *bounds) {
    TRY(allocate(layer, context));
    attn_bounds taken;
    attn_status status = attn_struct_take(&taken, sizeof taken, bounds, "bounds");
    if (status == ATTN_OK) {
        status = attn_layer_setup_stack(*layer, options, self_desc, cross_desc, &taken);
    }
    return finish(layer, status);
}

void attn_layer_destroy(attn_layer *layer) {
    if (layer != NULL) {
        struct attn_context *context = layer->context;
        attn_layer_clear(layer);
        attn_mem_release(&context->allocator, layer);
        attn_context_release(context);
    }
}

int64_t attn_layer_parameter_count(const attn_layer *layer) {
    return layer != NULL ? layer->parameters.count : 0;
}

attn_status attn_layer_parameter(const attn_layer *layer, int64_t index,
                                 const char **name, int32_t *rank, int64_t shape[3]) {
    REQUIRE_POINTER(layer);
    REQUIRE(index >= 0 && index < layer->parameters.count, ATTN_ERR_INVALID,
            "index is %lld, the layer has %lld parameters", (long long)index,
            (long long)layer->parameters.count);
    const struct parameter *parameter = &layer->parameters.list[index];
    if (name != NULL) {
        *name = parameter->name;
    }
    if (rank != NULL) {
        *rank = parameter->rank;
    }
    for (int i = 0; shape != NULL && i < PARAMETER_RANK; i++) {
        shape[i] = parameter->shape[i];
    }
    return ATTN_OK;
}

attn_status attn_layer_set_parameter(attn_layer *layer, const char *name,
                                     const attn_tensor *tensor) {
    REQUIRE_POINTER(layer);
    return attn_parameters_set(&layer->parameters, name, tensor);
}

attn_status attn_layer_set_gradient(attn_layer *layer, const char *name,
                                    const attn_tensor *tensor) {
    REQUIRE_POINTER(layer);
    return attn_parameters_set_gradient(&layer->parameters, name, tensor);
}

attn_status attn_layer_set_reproducible(attn_layer *layer, int32_t reproducible) {
    REQUIRE_POINTER(layer);
    REQUIRE(reproducible == 0 || reproducible == 1, ATTN_ERR_INVALID,
            "reproducible is %d, should be 0 or 1", (int)reproducible);
    layer->reproducible = reproducible != 0;
    return ATTN_OK;
}

size_t attn_layer_explain(const attn_layer *layer, char *text, size_t size) {
    return layer != NULL ? attn_layer_write(layer, text, size)
                         : attn_text_start(text, size).length;
}

size_t attn_layer_packed_size(const attn_layer *layer) {
    return layer != NULL ? attn_parameters_packed_size(
                               &layer->parameters, attn_kernels(layer->context->isa))
                         : 0;
}

attn_status attn_layer_pack(const attn_layer *layer, void *memory, int64_t size) {
    REQUIRE_POINTER(layer);
    return attn_parameters_pack(&layer->parameters, attn_kernels(layer->context->isa),
                                memory, size);
}

attn_status attn_layer_set_packed(attn_layer *layer, const void *memory, int64_t size) {
    REQUIRE_POINTER(layer);
    return attn_parameters_set_packed(&layer->parameters,
                                      attn_kernels(layer->context->isa), memory, size);
}

size_t attn_layer_workspace_size(const attn_layer *layer) {
    return layer != NULL ? layer->workspace : 0;
}

size_t attn_layer_backward_workspace_size(const attn_layer *layer) {
    return layer != NULL ? layer->backward_workspace : 0;
}

size_t attn_layer_state_size(const attn_layer *layer, int64_t batch, int64_t q_length,
                             int64_t kv_length) {
    size_t bytes = 0;
    if (layer == NULL) {
        return 0;
    }
    const attn_bounds *bounds = &layer->bounds;
    if (layer->kind == LAYER_STACK && !attn_layer_has_cross(layer)) {
        kv_length = 0;
    }
    const bool fits =
        batch >= 0 && batch <= bounds->batch && q_length >= 0 &&
        q_length <= bounds->q_length && kv_length >= 0 &&
        kv_length <= bounds->kv_length &&
        attn_layer_measure_state(layer, batch, q_length, kv_length, &bytes);
    /* a size that is valid is not 0 */
    return !fits ? 0 : bytes > 0 ? bytes : MEM_ALIGNMENT;
}

attn_status attn_layer_args_init(attn_layer_args *args, size_t size) {
    return attn_struct_init(args, size, "attn_layer_args");
}

attn_status attn_layer_backward_args_init(attn_layer_backward_args *args, size_t size) {
    return attn_struct_init(args, size, "attn_layer_backward_args");
}

typedef attn_status run_call(void *call, void *workspace);

/* Runs a bound call in the caller's workspace or, if that is NULL, a borrowed one. */
static attn_status run_with(const attn_layer *layer, run_call *run, void *call,
                            void *workspace, size_t needed) {
    if (workspace != NULL) {
        return run(call, workspace);
    }
    workspace = attn_context_borrow(layer->context, needed);
    REQUIRE(workspace != NULL, ATTN_ERR_NO_MEMORY,
            "no memory for %zu bytes of workspace", needed);
    attn_status status = run(call, workspace);
    attn_context_give_back(layer->context, workspace);
    return status;
}

static attn_status run_forward(void *call, void *workspace) {
    struct layer_call *forward = call;
    return forward->layer->kind == LAYER_STACK
               ? attn_layer_run_stack(forward, workspace)
               : attn_layer_run_multihead(forward, workspace);
}

static attn_status run_backward(void *call, void *workspace) {
    struct layer_backward_call *backward = call;
    return backward->forward.layer->kind == LAYER_STACK
               ? attn_layer_run_stack_backward(backward, workspace)
               : attn_layer_run_multihead_backward(backward, workspace);
}

attn_status attn_layer_forward(const attn_layer *layer, const attn_layer_args *args) {
    REQUIRE_POINTER(layer);
    struct layer_call call;
    TRY(attn_layer_bind(&call, layer, args, layer->workspace));
    TRY(attn_layer_bind_output(&call));
    return run_with(layer, run_forward, &call, call.args.workspace, layer->workspace);
}

attn_status attn_layer_backward(const attn_layer *layer,
                                const attn_layer_backward_args *args) {
    REQUIRE_POINTER(layer);
    struct layer_backward_call call;
    TRY(attn_layer_bind_backward(&call, layer, args));
    return run_with(layer, run_backward, &call, call.forward.args.workspace,
                    layer->backward_workspace);
}

attn_status attn_rollout(attn_context *context, const attn_tensor *mean_weights,
                         const attn_tensor *rollout) {
    REQUIRE_POINTER(context);
    REQUIRE_POINTER(rollout);
    struct rollout bound;
    int64_t floats, bytes;
    TRY(attn_rollout_bind(&bound, mean_weights, rollout));
    REQUIRE(checked_mul(bound.size, 2 * bound.size, &floats) &&
                checked_mul(floats, (int64_t)sizeof(float), &bytes),
            ATTN_ERR_NO_MEMORY, "no memory for two matrices of %lld x %lld",
            (long long)bound.size, (long long)bound.size);
    float *scratch = attn_context_borrow(context, (size_t)bytes);
    REQUIRE(scratch != NULL, ATTN_ERR_NO_MEMORY,
            "no memory for %lld bytes of workspace", (long long)bytes);
    atomic_store(&context->planned, true);
    attn_rollout_run(&bound, scratch);
    attn_context_give_back(context, scratch);
    return ATTN_OK;
}
