/*
 * What Llama is (Touvron et al. 2023), for each token a row:
 *
 *     stream = embedding of the token
 *     in each layer:
 *         norm = rms_norm(stream)
 *         query, key, value = norm times a matrix each
 *         stream += attention(query, key, value) project^T
 *         norm = rms_norm(stream)
 *         stream += (silu(norm gate^T) * (norm up^T)) down^T
 *     logits = rms_norm(stream) classifier^T
 */
#include "network.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "product.h"

static const float tiny = 1e-5f; /* what llama2.c adds in norms; files do not say */

static float *floats(int rows, int columns) {
    return memory_get_aligned((size_t)rows * (size_t)columns, sizeof(float));
}

void network_open(struct network *network, const struct weights *weights, int rows,
                  int length, int32_t dtype, int threads) {
    const struct shape *shape = &weights->shape;
    const int kv_dim = shape->kv_heads * shape->head_dim;
    *network = (struct network){.weights = weights, .rows = rows};
    attention_open(&network->attention, shape, rows, length, dtype, threads);
    network->stream = floats(rows, shape->dim);
    network->norm = floats(rows, shape->dim);
    network->query = floats(rows, shape->dim);
    network->key = floats(rows, kv_dim);
    network->value = floats(rows, kv_dim);
    network->mixed = floats(rows, shape->dim);
    network->gate = floats(rows, shape->hidden);
    network->up = floats(rows, shape->hidden);
    network->logits = floats(1, shape->vocabulary);
}

/* Zhang and Sennrich 2019. */
static void rms_norm(float *out, const float *in, const float *gain, int rows,
                     int dim) {
    for (int row = 0; row < rows; row++, in += dim, out += dim) {
        float sum = 0;
        for (int i = 0; i < dim; i++) {
            sum += in[i] * in[i];
        }
        float scale = 1 / sqrtf(sum / (float)dim + tiny);
        for (int i = 0; i < dim; i++) {
            out[i] = gain[i] * (scale * in[i]);
        }
    }
}

/* SwiGLU (Shazeer 2020): gate becomes silu(gate) up. */
static void open_gates(float *gate, const float *up, size_t count) {
    for (size_t i = 0; i < count; i++) {
        gate[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
    }
}

static void run_layer(struct network *network, int index, int rows) {
    const struct layer_weights *layer = &network->weights->layer[index];
    const struct shape *shape = &network->weights->shape;
    const int dim = shape->dim;
    const int kv_dim = shape->kv_heads * shape->head_dim;
    const int hidden = shape->hidden;
    float *norm = network->norm;

    rms_norm(norm, network->stream, layer->attention_gain, rows, dim);
    product(OVERWRITE, network->query, norm, layer->query, rows, dim, dim);
    product(OVERWRITE, network->key, norm, layer->key, rows, kv_dim, dim);
    product(OVERWRITE, network->value, norm, layer->value, rows, kv_dim, dim);
    attention_read(&network->attention, index, rows, network->query, network->key,
                   network->value, network->mixed);
    product(ADD, network->stream, network->mixed, layer->project, rows, dim, dim);

    rms_norm(norm, network->stream, layer->feed_gain, rows, dim);
    product(OVERWRITE, network->gate, norm, layer->gate, rows, hidden, dim);
    product(OVERWRITE, network->up, norm, layer->up, rows, hidden, dim);
    open_gates(network->gate, network->up, (size_t)rows * (size_t)hidden);
    product(ADD, network->stream, network->gate, layer->down, rows, dim, hidden);
}

const float *network_read(struct network *network, const int *token, int count) {
    const struct weights *weights = network->weights;
    const int dim = weights->shape.dim;
    const size_t size = (size_t)dim;
    for (int i = 0; i < count; i++) {
        memcpy(network->stream + (size_t)i * size,
               weights->embedding + (size_t)token[i] * size, size * sizeof(float));
    }
    for (int i = 0; i < weights->shape.layers; i++) {
        run_layer(network, i, count);
    }
    /* Only what comes after the last token is not known yet. */
    const float *last = network->stream + (size_t)(count - 1) * size;
    rms_norm(network->norm, last, weights->final_gain, 1, dim);
    product(OVERWRITE, network->logits, network->norm, weights->classifier, 1,
            weights->shape.vocabulary, dim);
    return network->logits;
}

void network_close(struct network *network) {
    float *const all[] = {network->stream, network->norm,  network->query,
                          network->key,    network->value, network->mixed,
                          network->gate,   network->up,    network->logits};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
    attention_close(&network->attention);
    *network = (struct network){0};
}
