/*
 * The feed-forward network of a block, f(x W1^T + b1) W2^T + b2, or with a gate
 * (f(x Wg^T + bg) * (x W1^T + b1)) W2^T + b2 (Shazeer 2020).
 */
#include "layer/stack.h"

static enum activation activation_of(const struct stack_call *stack) {
    static const enum activation activations[] = {
        [ATTN_ACTIVATION_RELU] = ACTIVATION_RELU,
        [ATTN_ACTIVATION_GELU] = ACTIVATION_GELU,
        [ATTN_ACTIVATION_GELU_TANH] = ACTIVATION_GELU_TANH,
        [ATTN_ACTIVATION_SILU] = ACTIVATION_SILU,
    };
    return activations[stack->layer->stack.activation];
}

struct activation_job {
    const struct kernels *kernels;
    enum activation activation;
    int64_t n, rows;
    float *activated;           /* forward */
    float *grad, *grad_gate;    /* backward */
    const float *hidden, *gate; /* gate NULL: not gated */
};

static void activate_task(const void *argument, int64_t b, int64_t row, int64_t end) {
    const struct activation_job *job = argument;
    const int64_t at = (b * job->rows + row) * job->n;
    const int rows = (int)(end - row), n = (int)job->n;
    if (job->gate != NULL) {
        job->kernels->gate(job->activation, job->activated + at, n, job->gate + at, n,
                           job->hidden + at, n, rows, n);
    } else {
        job->kernels->activate(job->activation, job->activated + at, n,
                               job->hidden + at, n, rows, n);
    }
}

/* Where a block need not keep what it activates, it is activated in place. */
static float *activate(const struct stack_call *stack,
                       const struct stack_block *block) {
    const struct activation_job job = {
        .kernels = stack->call->linear.kernels,
        .activation = activation_of(stack),
        .n = stack->layer->stack.feed_forward_dim,
        .rows = stack->size.rows,
        .activated = block->whole ? stack->activated : block->hidden,
        .hidden = block->hidden,
        .gate = block->gate,
    };
    attn_rows_run(stack->layer->context, stack->size, 8 * job.n, activate_task, &job);
    return job.activated;
}

static void gradient_task(const void *argument, int64_t b, int64_t row, int64_t end) {
    const struct activation_job *job = argument;
    const int64_t at = (b * job->rows + row) * job->n;
    const int rows = (int)(end - row), n = (int)job->n;
    if (job->gate != NULL) {
        job->kernels->gate_gradient(job->activation, job->grad_gate + at, n,
                                    job->grad + at, n, job->grad + at, n,
                                    job->gate + at, n, job->hidden + at, n, rows, n);
    } else {
        job->kernels->activation_gradient(job->activation, job->grad + at, n,
                                          job->hidden + at, n, rows, n);
    }
}

static struct weight weight_of(const struct stack_call *stack,
                               const struct stack_block *block, int parameter) {
    const struct parameter *p = attn_block_parameter(stack->layer, block->l, parameter);
    return attn_parameter_weight(p, 0);
}

static const float *bias_of(const struct stack_call *stack,
                            const struct stack_block *block, int parameter) {
    const struct parameter *p = attn_block_parameter(stack->layer, block->l, parameter);
    return p != NULL ? parameter_vector(&p->value) : NULL;
}

void attn_feed_forward(const struct stack_call *stack, const struct stack_block *block,
                       const struct sequences *x) {
    const struct linear *linear = &stack->self.linear;
    const int64_t feed = stack->layer->stack.feed_forward_dim;
    const int64_t embed = stack->layer->self.facts.embed_dim;
    const struct sequences hidden = sequences_at(block->hidden, stack->size, feed);
    attn_linear(linear, stack->size, &hidden, x,
                weight_of(stack, block, LINEAR1_WEIGHT),
                bias_of(stack, block, LINEAR1_BIAS), feed, embed, false);
    if (block->gate != NULL) {
        const struct sequences gate = sequences_at(block->gate, stack->size, feed);
        attn_linear(linear, stack->size, &gate, x, weight_of(stack, block, GATE_WEIGHT),
                    bias_of(stack, block, GATE_BIAS), feed, embed, false);
    }
    const struct sequences activated =
        sequences_at(activate(stack, block), stack->size, feed);
    const struct sequences stream = sequences_at(stack->stream, stack->size, embed);
    attn_linear(linear, stack->size, &stream, &activated,
                weight_of(stack, block, LINEAR2_WEIGHT),
                bias_of(stack, block, LINEAR2_BIAS), embed, feed, true);
}

/* The gradients of a weight and its bias, and of what they project. */
static void linear_back(const struct stack_call *stack, const struct stack_block *block,
                        int weight, int bias, const struct sequences *grad_y,
                        const struct sequences *x, const struct sequences *grad_x,
                        int64_t outputs, int64_t inputs, bool add) {
    const struct linear *linear = &stack->self.linear;
    const struct parameter *w = attn_block_parameter(stack->layer, block->l, weight);
    const struct parameter *b = attn_block_parameter(stack->layer, block->l, bias);
    attn_linear_parameters(linear, stack->size, attn_parameter_weight_gradient(w, 0),
                           b != NULL ? parameter_vector(&b->gradient) : NULL, grad_y, x,
                           outputs, inputs);
    attn_linear_input(linear, stack->size, grad_x, grad_y, attn_parameter_weight(w, 0),
                      outputs, inputs, add);
}

void attn_feed_backward(const struct stack_call *stack, const struct stack_block *block,
                        const struct feed_gradients *gradients,
                        const struct sequences *grad, const struct sequences *x,
                        const struct sequences *grad_x, bool add) {
    const int64_t feed = stack->layer->stack.feed_forward_dim;
    const int64_t embed = stack->layer->self.facts.embed_dim;
    const struct sequences activated =
        sequences_at(activate(stack, block), stack->size, feed);
    const struct sequences hidden = sequences_at(gradients->hidden, stack->size, feed);
    linear_back(stack, block, LINEAR2_WEIGHT, LINEAR2_BIAS, grad, &activated, &hidden,
                embed, feed, false);
    const struct activation_job job = {
        .kernels = stack->call->linear.kernels,
        .activation = activation_of(stack),
        .n = feed,
        .rows = stack->size.rows,
        .grad = gradients->hidden,
        .grad_gate = gradients->gate,
        .hidden = block->hidden,
        .gate = block->gate,
    };
    attn_rows_run(stack->layer->context, stack->size, 8 * feed, gradient_task, &job);
    linear_back(stack, block, LINEAR1_WEIGHT, LINEAR1_BIAS, &hidden, x, grad_x, feed,
                embed, add);
    if (block->gate != NULL) {
        const struct sequences gate = sequences_at(gradients->gate, stack->size, feed);
        linear_back(stack, block, GATE_WEIGHT, GATE_BIAS, &gate, x, grad_x, feed, embed,
                    true);
    }
}
