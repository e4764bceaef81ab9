/*
 * A stack of Transformer blocks (Vaswani et al. 2017).
 *
 * A block is a few steps: self-attention, attention to a memory, a feed-forward
 * network. One stream of rows goes through all of them, and each step adds to it what
 * it makes of it: x + S(x), and then a norm, or x + S(norm(x)).
 */
#ifndef ATTN_LAYER_STACK_H
#define ATTN_LAYER_STACK_H

#include "layer/layer.h"

enum step { STEP_SELF, STEP_CROSS, STEP_FEED, STEPS };

/* A block in memory. Rows are those of all batch elements, one after the other. */
struct stack_block {
    int64_t l;
    bool whole;          /* all of what follows is kept; else only what a forward call
                            needs, and the first input, if that is there */
    float *input[STEPS]; /* of each step; NULL: not kept */
    float *sum[STEPS];   /* input and what the step made of it, before a norm */
    float *mean[STEPS], *inverse[STEPS]; /* of the norms */
    float *hidden, *gate;                /* before the activation */
    struct multihead_call self, cross;
};

/* A call on a stack: what all blocks share. */
struct stack_call {
    const struct attn_layer *layer;
    const struct layer_call *call; /* NULL: a call that is only measured */
    struct size size;
    bool kept; /* a backward call follows, or this is one */
    float *stream, *normed, *activated;
    float *final_input, *final_mean, *final_inverse;
    struct multihead_call self, cross; /* with scratch memory */
    attn_layer_args cross_args;
    struct stack_block shared; /* of blocks that keep nothing or little */
    struct ledger state;       /* up to the first block */
    int64_t state_of_block;
    /* of the block at hand */
    attn_forward_args self_attention, cross_attention;
    struct multihead_bound self_bound, cross_bound;
    attn_tensor weights[4];
};

/* ------------------------------------------------------------- stack_memory.c */

/* A call of these sizes that is only measured. */
struct stack_call attn_stack_measured(const struct attn_layer *layer, int64_t batch,
                                      int64_t q_length, int64_t kv_length, bool kept);

/* Books or finds what is kept: `state` ends where the first block starts. */
void attn_stack_place_state(struct stack_call *stack, struct ledger *state);

/* Books or finds the workspace of a forward call, or of both. */
void attn_stack_place(struct stack_call *stack, bool backward,
                      struct ledger *workspace);

/* Block l, as far as memory goes. */
void attn_stack_block(const struct stack_call *stack, int64_t l,
                      struct stack_block *block);

/* -------------------------------------------------------------------- stack.c */

bool attn_stack_has(const struct attn_layer *layer, enum step step);

/* The number of the first parameter of block l. */
int64_t attn_stack_first(const struct attn_layer *layer, int64_t l);

/* A parameter of a block; NULL: not there. */
const struct parameter *attn_block_parameter(const struct attn_layer *layer, int64_t l,
                                             int parameter);

/* One of the final norm. */
const struct parameter *attn_stack_final(const struct attn_layer *layer, int which);

/* Makes a call ready but for its workspace and state. */
void attn_stack_start(struct stack_call *stack, const struct layer_call *call);

/* Fills in the calls of attention of a block, and checks them. */
attn_status attn_block_bind(struct stack_call *stack, struct stack_block *block);

/* The stream through a block that was bound. */
attn_status attn_block_forward(struct stack_call *stack, struct stack_block *block);

/* What a step reads: the stream, or that after a norm. */
struct sequences attn_block_input(const struct stack_call *stack, float *stream);

/* ----------------------------------------------------- stack_norm.c, stack_feed.c */

/* to = norm(from); mean and inverse get a number for each row. */
void attn_stack_norm(const struct stack_call *stack, const struct sequences *to,
                     const float *from, const struct parameter *gain,
                     const struct parameter *shift, float *mean, float *inverse);

/* grad_from = or += the gradient of that; those of gain and shift are added to. parts
 * is scratch for attn_stack_norm_parts() floats. */
void attn_stack_norm_gradient(const struct stack_call *stack, float *grad_from,
                              const float *grad_to, const float *from,
                              const struct parameter *gain,
                              const struct parameter *shift, const float *mean,
                              const float *inverse, bool accumulate, float *parts);
int64_t attn_stack_norm_parts(int64_t embed_dim);

/* stream += the feed-forward network of x. */
void attn_feed_forward(const struct stack_call *stack, const struct stack_block *block,
                       const struct sequences *x);

/* From the gradient of the stream after it to that of x: grad_x =, or += with add. */
struct feed_gradients {
    float *hidden, *gate; /* scratch */
};
void attn_feed_backward(const struct stack_call *stack, const struct stack_block *block,
                        const struct feed_gradients *gradients,
                        const struct sequences *grad, const struct sequences *x,
                        const struct sequences *grad_x, bool add);

/* ----------------------------------------------------------- stack_backward.c */

struct stack_gradients {
    float *grad; /* of the stream */
    float *step; /* of what a step reads, where a norm comes before it */
    float *norm_parts;
    struct feed_gradients feed;
    struct multihead_gradients self, cross;
    struct multihead_backward_bound self_bound, cross_bound;
};

/* Books or finds the workspace that a backward call has beside that of a forward call.
 */
void attn_stack_place_gradients(const struct stack_call *stack,
                                struct stack_gradients *gradients,
                                struct ledger *workspace);

#endif
