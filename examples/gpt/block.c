/*
 * The way there, for each token a row:
 *
 *     in_norm = norm(in)
 *     query, key, value = in_norm times a matrix each
 *     mixed = attention(query, key, value)
 *     middle = in + mixed project
 *     middle_norm = norm(middle)
 *     raised = middle_norm up
 *     bent = gelu(raised)
 *     out = middle + bent down
 *
 * and the way back, line by line from the last to the first. The gradient of the stream
 * (in, middle, out) goes straight through the two sums; what comes back through the
 * branches is added to it by the norms.
 */
#include "block.h"

#include <string.h>

#include "gelu.h"
#include "norm.h"
#include "product.h"

static struct attention_data data_of(const struct model *model, int index,
                                     const struct pass *pass) {
    const struct layer_state *state = &model->layer[index];
    size_t scores = (size_t)pass->batch * (size_t)model->shape.heads *
                    (size_t)pass->length * (size_t)pass->length;
    return (struct attention_data){
        .batch = pass->batch,
        .tokens = pass->length,
        .cache = pass->cache,
        .layer = index,
        .query = state->query,
        .key = state->key,
        .value = state->value,
        .slopes = model->weights.layer[index].slopes,
        .out = state->mixed,
        .row_max = state->row_max,
        .row_sum = state->row_sum,
        .weights =
            pass->weights != NULL ? pass->weights + (size_t)index * scores : NULL,
    };
}

void block_forward(struct model *model, int layer, const struct pass *pass,
                   float *out) {
    const struct layer_weights *weights = &model->weights.layer[layer];
    const struct layer_state *state = &model->layer[layer];
    struct workers *workers = model->workers;
    int dim = model->shape.dim;
    int rows = pass->batch * pass->length;
    size_t size = (size_t)rows * (size_t)dim;

    norm_forward(workers, state->in_norm, state->in_scale, state->in,
                 weights->attention_gain, rows, dim);
    product(workers, NN, OVERWRITE, state->query, state->in_norm, weights->query, rows,
            dim, dim);
    product(workers, NN, OVERWRITE, state->key, state->in_norm, weights->key, rows, dim,
            dim);
    product(workers, NN, OVERWRITE, state->value, state->in_norm, weights->value, rows,
            dim, dim);
    struct attention_data data = data_of(model, layer, pass);
    attention_forward(&model->attention, &data);
    memcpy(state->middle, state->in, size * sizeof(float));
    product(workers, NN, ADD, state->middle, state->mixed, weights->project, rows, dim,
            dim);

    norm_forward(workers, state->middle_norm, state->middle_scale, state->middle,
                 weights->mlp_gain, rows, dim);
    product(workers, NN, OVERWRITE, state->raised, state->middle_norm, weights->up,
            rows, MLP_FACTOR * dim, dim);
    gelu_forward(workers, state->bent, state->raised, MLP_FACTOR * size);
    memcpy(out, state->middle, size * sizeof(float));
    product(workers, NN, ADD, out, state->bent, weights->down, rows, dim,
            MLP_FACTOR * dim);
}

static void mlp_backward(struct model *model, int layer, int rows) {
    const struct layer_weights *weights = &model->weights.layer[layer];
    const struct layer_weights *gradients = &model->gradients.layer[layer];
    const struct layer_state *state = &model->layer[layer];
    struct workers *workers = model->workers;
    int dim = model->shape.dim;
    int wide = MLP_FACTOR * dim;

    product(workers, TN, OVERWRITE, gradients->down, state->bent, model->d_stream, wide,
            dim, rows);
    product(workers, NT, OVERWRITE, model->d_bent, model->d_stream, weights->down, rows,
            wide, dim);
    gelu_backward(workers, model->d_bent, state->raised, (size_t)rows * (size_t)wide);
    product(workers, TN, OVERWRITE, gradients->up, state->middle_norm, model->d_bent,
            dim, wide, rows);
    product(workers, NT, OVERWRITE, model->d_branch, model->d_bent, weights->up, rows,
            dim, wide);
    norm_backward(workers, model->d_stream, gradients->mlp_gain, model->d_branch,
                  state->middle, state->middle_scale, weights->mlp_gain, rows, dim);
}

void block_backward(struct model *model, int layer, const struct pass *pass) {
    const struct layer_weights *weights = &model->weights.layer[layer];
    const struct layer_weights *gradients = &model->gradients.layer[layer];
    const struct layer_state *state = &model->layer[layer];
    struct workers *workers = model->workers;
    int dim = model->shape.dim;
    int rows = pass->batch * pass->length;

    mlp_backward(model, layer, rows);

    product(workers, TN, OVERWRITE, gradients->project, state->mixed, model->d_stream,
            dim, dim, rows);
    product(workers, NT, OVERWRITE, model->d_mixed, model->d_stream, weights->project,
            rows, dim, dim);
    struct attention_data data = data_of(model, layer, pass);
    struct attention_gradients d_data = {
        .d_out = model->d_mixed,
        .d_query = model->d_query,
        .d_key = model->d_key,
        .d_value = model->d_value,
        .d_slopes = gradients->slopes,
    };
    attention_backward(&model->attention, &data, &d_data);

    product(workers, TN, OVERWRITE, gradients->query, state->in_norm, model->d_query,
            dim, dim, rows);
    product(workers, TN, OVERWRITE, gradients->key, state->in_norm, model->d_key, dim,
            dim, rows);
    product(workers, TN, OVERWRITE, gradients->value, state->in_norm, model->d_value,
            dim, dim, rows);
    product(workers, NT, OVERWRITE, model->d_branch, model->d_query, weights->query,
            rows, dim, dim);
    product(workers, NT, ADD, model->d_branch, model->d_key, weights->key, rows, dim,
            dim);
    product(workers, NT, ADD, model->d_branch, model->d_value, weights->value, rows,
            dim, dim);
    norm_backward(workers, model->d_stream, gradients->attention_gain, model->d_branch,
                  state->in, state->in_scale, weights->attention_gain, rows, dim);
}
