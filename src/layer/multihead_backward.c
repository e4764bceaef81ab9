/*
 * The backward call of a multi-head layer: the steps of the forward call in reverse.
 * Queries, keys, values and outputs of heads are those that the forward call kept;
 * their gradients lie side by side where they do.
 */
#include <string.h>

#include "base/status.h"
#include "layer/multihead_parts.h"

struct clearing {
    struct sequences rows;
    int64_t n;
};

static void clear_task(const void *argument, int64_t b, int64_t row, int64_t end) {
    const struct clearing *clearing = argument;
    for (int64_t r = row; r < end; r++) {
        memset(sequence_row(&clearing->rows, b, r), 0,
               (size_t)clearing->n * sizeof(float));
    }
}

/* Gradients that attention adds to start from 0. */
static void clear(const struct multihead_call *call,
                  const struct multihead_gradients *gradients) {
    const struct multihead *multihead = call->multihead;
    struct attn_context *context = call->linear.context;
    for (int i = 0; i < PARTS; i++) {
        const struct clearing part = {gradients->part[i], multihead->width[i]};
        const struct size size = {call->batch,
                                  i == PART_QUERY ? call->q_length : call->kv_length};
        attn_rows_run(context, size, part.n, clear_task, &part);
    }
    if (multihead->facts.relative == 1) {
        const int64_t n = multihead->width[PART_QUERY];
        const struct size size = {1, attn_multihead_relative_rows(call)};
        const struct clearing keys = {sequences_at(gradients->relative_keys, size, n),
                                      n};
        attn_rows_run(context, size, n, clear_task, &keys);
    }
}

struct spread {
    const struct multihead_call *call;
    const struct multihead_gradients *gradients;
};

static void spread_task(const void *argument, int64_t b, int64_t row, int64_t end) {
    const struct spread *spread = argument;
    const struct multihead_call *call = spread->call;
    const int64_t heads = call->multihead->facts.heads, dim = call->multihead->combined;
    for (int64_t r = b * call->q_length + row; r < b * call->q_length + end; r++) {
        const float *from = spread->gradients->average + r * dim;
        float *to = spread->gradients->heads + r * heads * dim;
        for (int64_t h = 0; h < heads; h++) {
            for (int64_t c = 0; c < dim; c++) {
                to[h * dim + c] = from[c] / (float)heads;
            }
        }
    }
}

/* From the gradient of the output to those of the heads' outputs. */
static void output_gradients(const struct multihead_call *call,
                             const struct multihead_gradients *gradients) {
    const struct multihead *multihead = call->multihead;
    const struct linear *linear = &call->linear;
    const struct size all = {call->batch, call->q_length};
    const struct size size = {call->batch, call->rows};
    const int64_t outputs = multihead->facts.embed_dim, inputs = multihead->combined;
    const bool mean = multihead->facts.combine == ATTN_COMBINE_MEAN;
    const bool targets = multihead->facts.targets == 1;
    const struct sequences combined = attn_multihead_combined(call);
    attn_linear_parameters(linear, size,
                           attn_multihead_matrix_gradient(call, OUT_WEIGHT, 0),
                           parameter_vector(attn_multihead_gradient(call, OUT_BIAS)),
                           &gradients->grad_output, &combined, outputs, inputs);
    const struct sequences of_queries =
        attn_multihead_rows(call, mean ? gradients->average : gradients->heads, inputs);
    const struct sequences to =
        targets ? sequences_at(call->target_rows, size, inputs) : of_queries;
    attn_linear_input(linear, size, &to, &gradients->grad_output,
                      attn_multihead_matrix(call, OUT_WEIGHT, 0), outputs, inputs,
                      false);
    if (targets) {
        attn_multihead_scatter(call, &of_queries, call->target_rows, inputs);
    }
    if (mean) {
        const struct spread spread = {call, gradients};
        attn_rows_run(linear->context, all, (multihead->facts.heads + 1) * inputs,
                      spread_task, &spread);
    }
}

/* Where the gradient of a part's input goes. */
struct target {
    struct sequences to;
    bool add;
};

/* From the gradients of a run of parts, which lie together, to those of the weight and
 * of the input that they come from. */
static void project_back(const struct multihead_call *call, int part, int64_t head,
                         struct size size, const struct sequences *grad_y,
                         const struct sequences *x, const struct target *target,
                         int64_t outputs, int64_t inputs) {
    const float *unused;
    float *grad_bias;
    const struct weight grad_weight =
        attn_multihead_weight_gradient(call, part, head, &grad_bias);
    if (grad_bias != NULL) {
        grad_bias += head * outputs;
    }
    attn_linear_parameters(&call->linear, size, grad_weight, grad_bias, grad_y, x,
                           outputs, inputs);
    if (target->to.data != NULL) {
        attn_linear_input(&call->linear, size, &target->to, grad_y,
                          attn_multihead_weight(call, part, head, &unused), outputs,
                          inputs, target->add);
    }
}

/* The gradients of parameters of projections, and of inputs. */
static void input_gradients(const struct multihead_call *call,
                            const struct multihead_gradients *gradients) {
    const struct multihead *multihead = call->multihead;
    const struct sequences *inputs[] = {&call->input, &call->key, &call->value};
    struct target query = {gradients->grad_input, gradients->add_input};
    struct target key = {gradients->grad_key, gradients->add_key};
    struct target value = {gradients->grad_value, gradients->add_value};
    struct target *targets[] = {&query, &key, &value};
    targets[PART_KEY] = call->one_input ? &query : &key;
    targets[PART_VALUE] = call->one_key ? targets[PART_KEY] : &value;
    for (int i = 0; i < PARTS; i++) {
        const struct size size = {call->batch,
                                  i == PART_QUERY ? call->rows : call->kv_length};
        const int first = i;
        struct target *target = targets[first];
        struct sequences from = gradients->part[i];
        if (i == PART_QUERY && multihead->facts.targets == 1) {
            attn_multihead_gather(call, call->target_rows, &from, multihead->width[i]);
            from = sequences_at(call->target_rows, size, multihead->width[i]);
        }
        if (multihead->facts.project == ATTN_PROJECT_SLICES) {
            const int64_t heads =
                i == PART_QUERY ? multihead->facts.heads : multihead->facts.kv_heads;
            const int64_t outputs = multihead->width[i] / heads;
            const int64_t features = multihead->inputs[i] / heads;
            for (int64_t h = 0; h < heads; h++) {
                const struct sequences grad_y = sequences_from(from, h * outputs);
                const struct sequences x = sequences_from(*inputs[i], h * features);
                struct target slice = *target;
                if (slice.to.data != NULL) {
                    slice.to = sequences_from(slice.to, h * features);
                }
                project_back(call, i, h, size, &grad_y, &x, &slice, outputs, features);
            }
        } else {
            int64_t outputs = multihead->width[i];
            while (attn_multihead_with_next(call, i)) {
                outputs += multihead->width[++i];
            }
            project_back(call, first, 0, size, &from, inputs[first], target, outputs,
                         multihead->inputs[first]);
        }
        target->add = true;
    }
}

static void relative_gradients(const struct multihead_call *call,
                               const struct multihead_gradients *gradients) {
    const int64_t outputs = call->multihead->width[PART_QUERY];
    const int64_t inputs = call->multihead->facts.embed_dim;
    const struct size size = {1, attn_multihead_relative_rows(call)};
    const struct sequences grad_y =
        sequences_at(gradients->relative_keys, size, outputs);
    const struct sequences x = attn_multihead_positions(call->args->positions);
    attn_linear_parameters(&call->linear, size,
                           attn_multihead_matrix_gradient(call, R_WEIGHT, 0), NULL,
                           &grad_y, &x, outputs, inputs);
    if (gradients->grad_positions != NULL) {
        const struct sequences to = attn_multihead_positions(gradients->grad_positions);
        attn_linear_input(&call->linear, size, &to, &grad_y,
                          attn_multihead_matrix(call, R_WEIGHT, 0), outputs, inputs,
                          true);
    }
}

attn_status attn_multihead_backward(const struct multihead_call *call,
                                    const struct multihead_backward_bound *bound,
                                    const struct multihead_gradients *gradients) {
    const struct multihead *multihead = call->multihead;
    const struct linear *linear = &call->linear;
    TRY(attn_layer_poll(call->should_stop, call->should_stop_user));
    output_gradients(call, gradients);
    clear(call, gradients);
    TRY(attn_plan_run_backward(&multihead->plan, &bound->call,
                               gradients->plan_workspace));
    if (multihead->extras > 0) {
        TRY(attn_multihead_extra_backward(call, bound, gradients));
    }
    if (multihead->facts.rotary_dim > 0) {
        attn_rotary_run(&bound->rotate_query, linear->context, linear->kernels);
        attn_rotary_run(&bound->rotate_key, linear->context, linear->kernels);
    }
    if (multihead->facts.relative == 1) {
        relative_gradients(call, gradients);
    }
    TRY(attn_layer_poll(call->should_stop, call->should_stop_user));
    input_gradients(call, gradients);
    return ATTN_OK;
}
