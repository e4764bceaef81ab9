/*
 * Embedding, the layers one after the other, a last norm, and logits: the product of a
 * row with every token's embedding (Press and Wolf 2017). Then back.
 */
#include "model.h"

#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "fail.h"
#include "loss.h"
#include "norm.h"
#include "product.h"

static float *floats(int rows, int columns) {
    return memory_get_aligned((size_t)rows * (size_t)columns, sizeof(float));
}

static void open_layer(struct layer_state *state, const struct shape *shape, int rows) {
    int dim = shape->dim;
    state->in = floats(rows, dim);
    state->in_scale = floats(rows, 1);
    state->in_norm = floats(rows, dim);
    state->query = floats(rows, dim);
    state->key = floats(rows, dim);
    state->value = floats(rows, dim);
    state->mixed = floats(rows, dim);
    state->row_max = floats(rows, shape->heads);
    state->row_sum = floats(rows, shape->heads);
    state->middle = floats(rows, dim);
    state->middle_scale = floats(rows, 1);
    state->middle_norm = floats(rows, dim);
    state->raised = floats(rows, MLP_FACTOR * dim);
    state->bent = floats(rows, MLP_FACTOR * dim);
}

void model_open(struct model *model, const struct shape *shape, int batch,
                struct workers *workers) {
    int rows = batch * shape->context;
    int dim = shape->dim;
    *model = (struct model){.shape = *shape, .rows = rows, .workers = workers};
    /* One text may be as long as all sequences of a batch together. */
    attention_open(&model->attention, workers, shape->heads, dim / shape->heads, batch,
                   rows);
    weights_open(&model->weights, shape);
    weights_open(&model->gradients, shape);
    model->layer = memory_get((size_t)shape->layers, sizeof *model->layer);
    for (int i = 0; i < shape->layers; i++) {
        open_layer(&model->layer[i], shape, rows);
    }
    model->out = floats(rows, dim);
    model->out_scale = floats(rows, 1);
    model->out_norm = floats(rows, dim);
    model->logits = floats(rows, shape->vocabulary);
    model->loss = memory_get((size_t)rows, sizeof *model->loss);
    model->d_stream = floats(rows, dim);
    model->d_branch = floats(rows, dim);
    model->d_query = floats(rows, dim);
    model->d_key = floats(rows, dim);
    model->d_value = floats(rows, dim);
    model->d_mixed = floats(rows, dim);
    model->d_bent = floats(rows, MLP_FACTOR * dim);
}

void model_forward(struct model *model, const struct pass *pass) {
    size_t dim = (size_t)model->shape.dim;
    int rows = pass->batch * pass->length;
    for (int i = 0; i < rows; i++) {
        memcpy(model->layer[0].in + (size_t)i * dim,
               model->weights.embedding + pass->token[i] * dim, dim * sizeof(float));
    }
    int last = model->shape.layers - 1;
    for (int i = 0; i <= last; i++) {
        block_forward(model, i, pass, i < last ? model->layer[i + 1].in : model->out);
    }
    norm_forward(model->workers, model->out_norm, model->out_scale, model->out,
                 model->weights.final_gain, rows, model->shape.dim);
}

const float *model_logits(struct model *model, int first, int count) {
    size_t dim = (size_t)model->shape.dim;
    product(model->workers, NT, OVERWRITE, model->logits,
            model->out_norm + (size_t)first * dim, model->weights.embedding, count,
            model->shape.vocabulary, model->shape.dim);
    return model->logits;
}

double model_loss(struct model *model, const uint16_t *target, int rows,
                  bool gradients) {
    model_logits(model, 0, rows);
    loss_rows(model->workers, model->loss, model->logits, target, rows,
              model->shape.vocabulary, gradients);
    double sum = 0;
    for (int i = 0; i < rows; i++) {
        sum += model->loss[i];
    }
    return sum;
}

/* The embedding is used twice, so its gradient has two parts: this one comes second. */
static void embedding_backward(struct model *model, const struct pass *pass) {
    size_t dim = (size_t)model->shape.dim;
    int rows = pass->batch * pass->length;
    for (int row = 0; row < rows; row++) {
        const float *from = model->d_stream + (size_t)row * dim;
        float *to = model->gradients.embedding + pass->token[row] * dim;
        for (size_t i = 0; i < dim; i++) {
            to[i] += from[i];
        }
    }
}

void model_backward(struct model *model, const struct pass *pass) {
    int dim = model->shape.dim;
    int kinds = model->shape.vocabulary;
    int rows = pass->batch * pass->length;
    const float *d_logits = model->logits; /* what model_loss() left there */
    product(model->workers, TN, OVERWRITE, model->gradients.embedding, d_logits,
            model->out_norm, kinds, dim, rows);
    product(model->workers, NN, OVERWRITE, model->d_branch, d_logits,
            model->weights.embedding, rows, dim, kinds);
    memset(model->d_stream, 0, (size_t)rows * (size_t)dim * sizeof(float));
    norm_backward(model->workers, model->d_stream, model->gradients.final_gain,
                  model->d_branch, model->out, model->out_scale,
                  model->weights.final_gain, rows, dim);
    for (int i = model->shape.layers - 1; i >= 0; i--) {
        block_backward(model, i, pass);
    }
    embedding_backward(model, pass);
}

static void close_layer(struct layer_state *state) {
    float *const all[] = {state->in,     state->in_scale,     state->in_norm,
                          state->query,  state->key,          state->value,
                          state->mixed,  state->row_max,      state->row_sum,
                          state->middle, state->middle_scale, state->middle_norm,
                          state->raised, state->bent};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
}

void model_close(struct model *model) {
    float *const all[] = {model->out,     model->out_scale, model->out_norm,
                          model->logits,  model->d_stream,  model->d_branch,
                          model->d_query, model->d_key,     model->d_value,
                          model->d_mixed, model->d_bent};
    for (int i = 0; i < model->shape.layers; i++) {
        close_layer(&model->layer[i]);
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
    free(model->loss);
    free(model->layer);
    weights_close(&model->gradients);
    weights_close(&model->weights);
    attention_close(&model->attention);
    *model = (struct model){0};
}
