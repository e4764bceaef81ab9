/*
 * All weights lie in one array, so that the optimiser and the checkpoint need to know
 * nothing else. Matrices come first, since weight decay is for them only.
 */
#include "weights.h"

#include <math.h>
#include <stdlib.h>

#include "chance.h"
#include "fail.h"

enum { ALIGNMENT = 16, PARTS_OF_LAYER = 9 }; /* 16 floats are 64 bytes */

/* Where the next part goes. Called with weights->all NULL it only counts. */
static float *add(struct weights *weights, const char *name, int layer, size_t count) {
    float *data = weights->all != NULL ? weights->all + weights->count : NULL;
    weights->part[weights->part_count++] = (struct part){name, layer, data, count};
    weights->count += (count + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return data;
}

static void lay_out(struct weights *weights, const struct shape *shape) {
    size_t dim = (size_t)shape->dim;
    weights->count = 0;
    weights->part_count = 0;
    weights->embedding = add(weights, "embedding", -1, (size_t)shape->vocabulary * dim);
    for (int i = 0; i < shape->layers; i++) {
        struct layer_weights *layer = &weights->layer[i];
        layer->query = add(weights, "query", i, dim * dim);
        layer->key = add(weights, "key", i, dim * dim);
        layer->value = add(weights, "value", i, dim * dim);
        layer->project = add(weights, "project", i, dim * dim);
        layer->up = add(weights, "up", i, dim * MLP_FACTOR * dim);
        layer->down = add(weights, "down", i, MLP_FACTOR * dim * dim);
    }
    weights->decaying = weights->count;
    for (int i = 0; i < shape->layers; i++) {
        struct layer_weights *layer = &weights->layer[i];
        layer->attention_gain = add(weights, "attention gain", i, dim);
        layer->slopes = add(weights, "slopes", i, (size_t)shape->heads);
        layer->mlp_gain = add(weights, "mlp gain", i, dim);
    }
    weights->final_gain = add(weights, "final gain", -1, dim);
}

void weights_open(struct weights *weights, const struct shape *shape) {
    size_t layers = (size_t)shape->layers;
    *weights = (struct weights){0};
    weights->layer = memory_get(layers, sizeof *weights->layer);
    weights->part = memory_get(PARTS_OF_LAYER * layers + 2, sizeof *weights->part);
    lay_out(weights, shape);
    weights->all = memory_get_aligned(weights->count, sizeof *weights->all);
    lay_out(weights, shape);
}

static void fill_normal(struct weights *weights, float *data, size_t count,
                        double deviation, uint64_t seed) {
    size_t first = (size_t)(data - weights->all);
    for (size_t i = 0; i < count; i++) {
        data[i] = (float)(deviation * chance_normal(seed, FOR_WEIGHTS, first + i));
    }
}

static void fill_ones(float *data, size_t count) {
    for (size_t i = 0; i < count; i++) {
        data[i] = 1;
    }
}

/* As GPT-2 began: small and random, and smaller where a layer adds to what goes past
 * it, since all layers do. */
void weights_start(struct weights *weights, const struct shape *shape, uint64_t seed) {
    size_t dim = (size_t)shape->dim;
    double usual = 0.02;
    double adding = usual / sqrt(2.0 * shape->layers);
    fill_normal(weights, weights->embedding, (size_t)shape->vocabulary * dim, usual,
                seed);
    fill_ones(weights->final_gain, dim);
    for (int i = 0; i < shape->layers; i++) {
        struct layer_weights *layer = &weights->layer[i];
        fill_normal(weights, layer->query, dim * dim, usual, seed);
        fill_normal(weights, layer->key, dim * dim, usual, seed);
        fill_normal(weights, layer->value, dim * dim, usual, seed);
        fill_normal(weights, layer->project, dim * dim, adding, seed);
        fill_normal(weights, layer->up, MLP_FACTOR * dim * dim, usual, seed);
        fill_normal(weights, layer->down, MLP_FACTOR * dim * dim, adding, seed);
        fill_ones(layer->attention_gain, dim);
        fill_ones(layer->mlp_gain, dim);
        /* Press et al. 2022: a geometric sequence down to 2^-8. */
        for (int head = 0; head < shape->heads; head++) {
            layer->slopes[head] = (float)exp2(-8.0 * (head + 1) / shape->heads);
        }
    }
}

void weights_close(struct weights *weights) {
    free(weights->all);
    free(weights->layer);
    free(weights->part);
    *weights = (struct weights){0};
}
