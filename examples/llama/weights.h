/*
 * A model as llama2.c keeps it: version 0 of its files, the one without a magic number.
 */
#ifndef LLAMA_WEIGHTS_H
#define LLAMA_WEIGHTS_H

#include <stdbool.h>

#include "file.h"

struct shape {
    int dim;        /* numbers that stand for a token between layers */
    int hidden;     /* inside the feed-forward network */
    int layers;     /* each attention and feed-forward */
    int heads;      /* of queries */
    int kv_heads;   /* of keys and values: heads / kv_heads queries share one */
    int vocabulary; /* kinds of tokens */
    int context;    /* the most tokens of a text */
    int head_dim;   /* dim / heads */
};

/* A matrix (out, in) has a row for each number that comes out. */
struct layer_weights {
    const float *attention_gain; /* (dim) */
    const float *query;          /* (heads head_dim, dim) */
    const float *key, *value;    /* (kv_heads head_dim, dim) */
    const float *project;        /* (dim, heads head_dim) */
    const float *feed_gain;      /* (dim) */
    const float *gate, *up;      /* (hidden, dim) */
    const float *down;           /* (dim, hidden) */
};

struct weights {
    struct shape shape;
    const float *embedding; /* (vocabulary, dim) */
    struct layer_weights *layer;
    const float *final_gain; /* (dim) */
    const float *classifier; /* (vocabulary, dim): the embedding, if they are shared */
    struct file file;        /* where all of these lie */
};

/* Ends the program where the file is no such model, or not all of one. */
void weights_open(struct weights *weights, const char *path);

void weights_close(struct weights *weights);

#endif
