/*
 * The layer behind attn_layer: a multi-head layer, or a stack of blocks.
 */
#ifndef ATTN_LAYER_LAYER_H
#define ATTN_LAYER_LAYER_H

#include "layer/multihead.h"

enum layer_kind { LAYER_MULTIHEAD, LAYER_STACK };

/* Parameters of a block beside those of its attention. */
enum block_parameter {
    LINEAR1_WEIGHT,
    LINEAR1_BIAS,
    GATE_WEIGHT,
    GATE_BIAS,
    LINEAR2_WEIGHT,
    LINEAR2_BIAS,
    NORM_WEIGHT, /* of the first step */
    NORM_BIAS = NORM_WEIGHT + 3,
    BLOCK_PARAMETERS = NORM_BIAS + 3
};

struct attn_layer {
    struct attn_context *context;
    enum layer_kind kind;
    bool reproducible;
    attn_bounds bounds;
    struct parameters parameters;
    size_t workspace, backward_workspace;
    struct multihead self, cross;
    /* of a stack */
    attn_stack_options stack;        /* with defaults filled in */
    int64_t block[BLOCK_PARAMETERS]; /* -1: not there; else from the first of a group */
    int64_t group_parameters;
    int64_t final_norm[2]; /* -1: not there */
};

/* True for a stack whose blocks attend to a memory. */
static inline bool attn_layer_has_cross(const struct attn_layer *layer) {
    return layer->kind == LAYER_STACK && layer->stack.cross_attention != NULL;
}

/* Makes *layer ready, in place; takes no hold on the context. Parameters are allocated:
 * attn_layer_clear() frees them, also after a failure. */
attn_status attn_layer_setup_multihead(struct attn_layer *layer,
                                       const attn_multihead_options *options,
                                       const attn_desc *desc,
                                       const attn_bounds *bounds);
attn_status attn_layer_setup_stack(struct attn_layer *layer,
                                   const attn_stack_options *options,
                                   const attn_desc *self_desc,
                                   const attn_desc *cross_desc,
                                   const attn_bounds *bounds);
void attn_layer_clear(struct attn_layer *layer);

/* Room for this many parameters. */
attn_status attn_layer_allocate_parameters(struct attn_layer *layer, int64_t room);

/* Bytes of state for these sizes; false if they do not fit. */
bool attn_layer_measure_state(const struct attn_layer *layer, int64_t batch,
                              int64_t q_length, int64_t kv_length, size_t *bytes);
bool attn_stack_measure_state(const struct attn_layer *layer, int64_t batch,
                              int64_t q_length, int64_t kv_length, size_t *bytes);

/* Writes the explanation of attn_layer_explain(). */
size_t attn_layer_write(const struct attn_layer *layer, char *buffer, size_t size);

/* What the calls of both kinds start with. */
struct layer_call {
    const struct attn_layer *layer;
    attn_layer_args args;
    attn_forward_args attention, cross_attention;
    struct linear linear;
    int64_t batch, q_length, kv_length;
    int64_t rows; /* of input and output: q_length, but for targets */
    struct integers targets;
    struct sequences input, key, value, output;
    struct extent extent[OTHERS_MAX];
    uint32_t written; /* a bit for each of these */
    struct others others;
    bool backward;
};

/* Takes and checks the arguments that both kinds have. workspace: bytes that are
 * needed. */
attn_status attn_layer_bind(struct layer_call *call, const struct attn_layer *layer,
                            const attn_layer_args *args, size_t workspace);

/*
 * Checks what attn_layer_bind() could not, once calls of attention were bound: that
 * nothing written meets the inputs of those, nor a gradient of a parameter any input.
 */
attn_status attn_layer_check_inputs(const struct layer_call *call);

/* Checks the output, which only forward calls have. */
attn_status attn_layer_bind_output(struct layer_call *call);

/* The gradients that both kinds have. */
struct layer_backward_call {
    struct layer_call forward;
    attn_layer_backward_args args;
    attn_backward_args attention, cross_attention;
    struct sequences grad_output, grad_input, grad_key, grad_value;
};

attn_status attn_layer_bind_backward(struct layer_backward_call *call,
                                     const struct attn_layer *layer,
                                     const attn_layer_backward_args *args);

/* True if a gradient of what attention brings is asked for. */
bool attn_layer_wants_gradients(const attn_backward_args *args);

/* Fails if one of the first meets one of the second. */
attn_status attn_layer_gradients_apart(const attn_backward_args *a,
                                       const attn_backward_args *b);

/* Those start from 0, unless the caller adds to them. */
void attn_layer_clear_gradients(const attn_backward_args *args);

/* Runs a call, with workspace of layer->workspace or layer->backward_workspace bytes.
 */
attn_status attn_layer_run_multihead(struct layer_call *call, void *workspace);
attn_status attn_layer_run_multihead_backward(struct layer_backward_call *call,
                                              void *workspace);
attn_status attn_layer_run_stack(struct layer_call *call, void *workspace);
attn_status attn_layer_run_stack_backward(struct layer_backward_call *call,
                                          void *workspace);

#endif
