/*
 * The forward call of a multi-head layer.
 */
#include "base/status.h"
#include "layer/multihead_parts.h"

/* A weight of the call's layer, or its gradient. */
typedef struct weight matrix_of(const struct multihead_call *call,
                                enum multihead_parameter parameter, int64_t index);

/* That of a part: its own or within that of all. */
static struct weight weight_of(const struct multihead_call *call, int part,
                               int64_t head, matrix_of *matrix) {
    int64_t output = 0;
    if (call->multihead->facts.separate == 1) {
        return matrix(call, (enum multihead_parameter)(Q_WEIGHT + part), head);
    }
    for (int i = 0; i < part; i++) {
        output += call->multihead->width[i];
    }
    const struct weight weight = matrix(call, IN_WEIGHT, 0);
    return weight.data != NULL ? weight_from(weight, output) : weight;
}

/* The bias of a part within that of all. */
static float *bias_of(const struct multihead_call *call, int part,
                      const attn_tensor *packed) {
    float *bias = parameter_vector(packed);
    for (int i = 0; i < part && bias != NULL; i++) {
        bias += call->multihead->width[i];
    }
    return bias;
}

struct weight attn_multihead_weight(const struct multihead_call *call, int part,
                                    int64_t head, const float **bias) {
    *bias = bias_of(call, part, attn_multihead_value(call, IN_BIAS));
    return weight_of(call, part, head, attn_multihead_matrix);
}

struct weight attn_multihead_weight_gradient(const struct multihead_call *call,
                                             int part, int64_t head, float **bias) {
    *bias = bias_of(call, part, attn_multihead_gradient(call, IN_BIAS));
    return weight_of(call, part, head, attn_multihead_matrix_gradient);
}

/* Heads, each from its slice of the input. */
static void project_slices(const struct multihead_call *call, int part,
                           const struct sequences *output,
                           const struct sequences *input, struct size size) {
    const struct multihead *multihead = call->multihead;
    const int64_t heads =
        part == PART_QUERY ? multihead->facts.heads : multihead->facts.kv_heads;
    const int64_t outputs = multihead->width[part] / heads;
    const int64_t inputs = multihead->inputs[part] / heads;
    for (int64_t h = 0; h < heads; h++) {
        const float *bias;
        const struct weight weight = attn_multihead_weight(call, part, h, &bias);
        const struct sequences x = sequences_from(*input, h * inputs);
        const struct sequences y = sequences_from(*output, h * outputs);
        attn_linear(&call->linear, size, &y, &x, weight,
                    bias != NULL ? bias + h * outputs : NULL, outputs, inputs, false);
    }
}

/* Parts that lie together in rows are made together. */
static void project(const struct multihead_call *call) {
    const struct multihead *multihead = call->multihead;
    const struct sequences *inputs[] = {&call->input, &call->key, &call->value};
    for (int i = 0; i < PARTS; i++) {
        const struct size size = {call->batch,
                                  i == PART_QUERY ? call->rows : call->kv_length};
        const bool targets = i == PART_QUERY && multihead->facts.targets == 1;
        const struct sequences to =
            targets ? sequences_at(call->target_rows, size, multihead->width[i])
                    : call->part[i];
        const int first = i;
        if (multihead->facts.project == ATTN_PROJECT_SLICES) {
            project_slices(call, i, &to, inputs[i], size);
        } else {
            int64_t outputs = multihead->width[i];
            while (attn_multihead_with_next(call, i)) {
                outputs += multihead->width[++i];
            }
            const float *bias;
            const struct weight weight = attn_multihead_weight(call, first, 0, &bias);
            attn_linear(&call->linear, size, &to, inputs[first], weight, bias, outputs,
                        multihead->inputs[first], false);
        }
        if (targets) {
            attn_multihead_scatter(call, &call->part[PART_QUERY], call->target_rows,
                                   multihead->width[PART_QUERY]);
        }
    }
}

struct sequences attn_multihead_positions(const attn_tensor *positions) {
    return (struct sequences){positions->data, 0,
                              positions->shape[0] > 1 ? positions->stride[0]
                                                      : positions->shape[1]};
}

static void make_relative_keys(const struct multihead_call *call) {
    const int64_t width = call->multihead->width[PART_QUERY];
    const struct sequences x = attn_multihead_positions(call->args->positions);
    const struct size size = {1, attn_multihead_relative_rows(call)};
    const struct sequences y = sequences_at(call->relative_keys, size, width);
    attn_linear(&call->linear, size, &y, &x, attn_multihead_matrix(call, R_WEIGHT, 0),
                NULL, width, call->multihead->facts.embed_dim, false);
}

static void average_task(const void *argument, int64_t b, int64_t row, int64_t end) {
    const struct multihead_call *call = argument;
    const int64_t heads = call->multihead->facts.heads, dim = call->multihead->combined;
    for (int64_t r = b * call->q_length + row; r < b * call->q_length + end; r++) {
        const float *from = call->heads + r * heads * dim;
        float *to = call->average + r * dim;
        for (int64_t c = 0; c < dim; c++) {
            float sum = 0.0f;
            for (int64_t h = 0; h < heads; h++) {
                sum += from[h * dim + c];
            }
            to[c] = sum / (float)heads;
        }
    }
}

struct sequences attn_multihead_combined(const struct multihead_call *call) {
    const struct multihead *multihead = call->multihead;
    const struct size size = {call->batch, call->q_length};
    const bool mean = multihead->facts.combine == ATTN_COMBINE_MEAN;
    if (mean) {
        attn_rows_run(call->linear.context, size,
                      (multihead->facts.heads + 1) * multihead->combined, average_task,
                      call);
    }
    const struct sequences all = attn_multihead_rows(
        call, mean ? call->average : call->heads, multihead->combined);
    if (multihead->facts.targets == 0) {
        return all;
    }
    attn_multihead_gather(call, call->target_rows, &all, multihead->combined);
    return sequences_at(call->target_rows, (struct size){call->batch, call->rows},
                        multihead->combined);
}

attn_status attn_layer_poll(attn_should_stop *should_stop, void *user) {
    REQUIRE(should_stop == NULL || should_stop(user) == 0, ATTN_ERR_CANCELLED,
            "should_stop asked to stop");
    return ATTN_OK;
}

attn_status attn_multihead_forward(const struct multihead_call *call,
                                   const struct multihead_bound *bound,
                                   const struct sequences *output, bool add) {
    const struct multihead *multihead = call->multihead;
    const struct linear *linear = &call->linear;
    const struct size size = {call->batch, call->rows};
    TRY(attn_layer_poll(call->should_stop, call->should_stop_user));
    project(call);
    if (multihead->facts.rotary_dim > 0) {
        attn_rotary_run(&bound->rotate_query, linear->context, linear->kernels);
        attn_rotary_run(&bound->rotate_key, linear->context, linear->kernels);
    }
    if (multihead->facts.relative == 1) {
        make_relative_keys(call);
    }
    TRY(attn_plan_run(&multihead->plan, &bound->call, call->plan_workspace));
    if (multihead->extras > 0) {
        TRY(attn_multihead_add_extra(call, bound));
    }
    const struct sequences combined = attn_multihead_combined(call);
    attn_linear(linear, size, output, &combined,
                attn_multihead_matrix(call, OUT_WEIGHT, 0),
                parameter_vector(attn_multihead_value(call, OUT_BIAS)),
                multihead->facts.embed_dim, multihead->combined, add);
    return ATTN_OK;
}
