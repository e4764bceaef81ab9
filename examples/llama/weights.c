/*
 * The file is seven numbers of 32 bits, then tensors of float32, one after the other:
 * of each kind those of all layers before the next kind. The processor is taken to
 * store numbers as the file does, lowest byte first.
 *
 *     dim, hidden, layers, heads, kv_heads, vocabulary, context
 *     embedding
 *     attention_gain, query, key, value, project, feed_gain, gate, down, up
 *     final_gain
 *     cosines, sines (context, head_dim / 2): not needed, attn_rotary has its own
 *     classifier, if vocabulary was written as a negative number
 */
#include "weights.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

enum { HEADER_NUMBERS = 7, HEADER_BYTES = 4 * HEADER_NUMBERS };

/* Larger numbers are no sizes of a model, and products of these do not overflow. */
static const struct limit {
    const char *name;
    int32_t most;
} limits[HEADER_NUMBERS] = {
    {"dim", 65536},        {"hidden_dim", 1048576}, {"n_layers", 1024},
    {"n_heads", 4096},     {"n_kv_heads", 4096},    {"vocab_size", 16777216},
    {"seq_len", 16777216},
};

static void check_magic(const struct file *file) {
    if (memcmp(file->data, "24ka", 4) == 0) { /* "ak42", a number, as it is stored */
        fail(FAILED,
             "%s: a file of llama2.c in version 1 or later; this program reads version "
             "0 (export.py --version 0)",
             file->path);
    }
    if (memcmp(file->data, "GGUF", 4) == 0) {
        fail(FAILED, "%s: a GGUF file; this program reads those of llama2.c",
             file->path);
    }
}

/* Reads the header; returns whether the classifier is the embedding. */
static bool read_header(struct shape *shape, const struct file *file) {
    int32_t number[HEADER_NUMBERS];
    if (file->size < HEADER_BYTES) {
        fail(FAILED, "%s: %zu bytes are less than the header's %d", file->path,
             file->size, HEADER_BYTES);
    }
    check_magic(file);
    memcpy(number, file->data, sizeof number);
    bool shared = number[5] > 0;
    if (number[5] != INT32_MIN) {
        number[5] = abs(number[5]);
    }
    for (int i = 0; i < HEADER_NUMBERS; i++) {
        if (number[i] < 1 || number[i] > limits[i].most) {
            fail(FAILED,
                 "%s: this is no model of llama2.c: its header says %s is %d, and "
                 "that is 1 to %d",
                 file->path, limits[i].name, (int)number[i], (int)limits[i].most);
        }
    }
    *shape = (struct shape){
        .dim = number[0],
        .hidden = number[1],
        .layers = number[2],
        .heads = number[3],
        .kv_heads = number[4],
        .vocabulary = number[5],
        .context = number[6],
        .head_dim = number[0] / number[3],
    };
    return shared;
}

static void check_shape(const struct shape *shape, const char *path) {
    if (shape->dim % shape->heads != 0 || shape->head_dim % 2 != 0) {
        fail(FAILED, "%s: dim %d is no even number for each of %d heads", path,
             shape->dim, shape->heads);
    }
    if (shape->heads % shape->kv_heads != 0) {
        fail(FAILED, "%s: %d heads cannot share %d heads of keys and values evenly",
             path, shape->heads, shape->kv_heads);
    }
}

/* The part of the file that is not yet given out. */
struct rest {
    const float *base; /* NULL: only count */
    size_t used;
};

static const float *take(struct rest *rest, size_t rows, size_t columns) {
    const float *data = rest->base != NULL ? rest->base + rest->used : NULL;
    rest->used += rows * columns;
    return data;
}

/* One kind of tensor, of all layers; member is where its pointer stands. */
static void take_layers(struct rest *rest, struct weights *weights, size_t member,
                        size_t rows, size_t columns) {
    for (int i = 0; i < weights->shape.layers; i++) {
        const float *data = take(rest, rows, columns);
        memcpy((char *)&weights->layer[i] + member, &data, sizeof data);
    }
}

/* Says where everything lies behind base, and returns how many floats that are. */
static size_t lay_out(struct weights *weights, const float *base, bool shared) {
    const struct shape *shape = &weights->shape;
    const size_t dim = (size_t)shape->dim;
    const size_t hidden = (size_t)shape->hidden;
    const size_t kv_dim = (size_t)shape->kv_heads * (size_t)shape->head_dim;
    const size_t kinds = (size_t)shape->vocabulary;
    const struct {
        size_t member, rows, columns;
    } parts[] = {
        {offsetof(struct layer_weights, attention_gain), 1, dim},
        {offsetof(struct layer_weights, query), dim, dim},
        {offsetof(struct layer_weights, key), kv_dim, dim},
        {offsetof(struct layer_weights, value), kv_dim, dim},
        {offsetof(struct layer_weights, project), dim, dim},
        {offsetof(struct layer_weights, feed_gain), 1, dim},
        {offsetof(struct layer_weights, gate), hidden, dim},
        {offsetof(struct layer_weights, down), dim, hidden},
        {offsetof(struct layer_weights, up), hidden, dim},
    };
    struct rest rest = {base, 0};
    weights->embedding = take(&rest, kinds, dim);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        take_layers(&rest, weights, parts[i].member, parts[i].rows, parts[i].columns);
    }
    weights->final_gain = take(&rest, 1, dim);
    take(&rest, (size_t)shape->context, (size_t)shape->head_dim); /* the two tables */
    weights->classifier = shared ? weights->embedding : take(&rest, kinds, dim);
    return rest.used;
}

void weights_open(struct weights *weights, const char *path) {
    *weights = (struct weights){.file = file_open(path)};
    const struct file *file = &weights->file;
    bool shared = read_header(&weights->shape, file);
    check_shape(&weights->shape, path);
    weights->layer = memory_get((size_t)weights->shape.layers, sizeof *weights->layer);
    size_t wanted = HEADER_BYTES + sizeof(float) * lay_out(weights, NULL, shared);
    if (file->size != wanted) {
        fail(FAILED,
             "%s: the file has %zu bytes, and its header describes a model of %zu: %s",
             path, file->size, wanted,
             file->size < wanted ? "it is cut off" : "something else is there too");
    }
    const void *data = file->data + HEADER_BYTES;
    lay_out(weights, data, shared);
}

void weights_close(struct weights *weights) {
    free(weights->layer);
    file_close(&weights->file);
    *weights = (struct weights){0};
}
