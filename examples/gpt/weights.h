/*
 * The numbers that are learned, and as many gradients of them.
 */
#ifndef GPT_WEIGHTS_H
#define GPT_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

/* The size of a network. */
struct shape {
    int32_t layers;
    int32_t heads;
    int32_t dim;        /* of a token between layers; a multiple of heads */
    int32_t context;    /* tokens that training sees at a time */
    int32_t vocabulary; /* kinds of tokens */
};

/* Inside the MLP a token has as many times dim numbers. */
enum { MLP_FACTOR = 4 };

/* A matrix (in, out) multiplies a row from the right: out = in matrix. */
struct layer_weights {
    float *attention_gain;      /* (dim) */
    float *query, *key, *value; /* (dim, dim) */
    float *project;             /* (dim, dim): of the heads' output */
    float *slopes;              /* (heads): see attention.h */
    float *mlp_gain;            /* (dim) */
    float *up;                  /* (dim, MLP_FACTOR dim) */
    float *down;                /* (MLP_FACTOR dim, dim) */
};

struct part {
    const char *name;
    int layer; /* -1: of none */
    float *data;
    size_t count;
};

struct weights {
    float *all;       /* everything below, one after the other */
    size_t count;     /* of them, with some zeros for alignment */
    size_t decaying;  /* the first of them, the matrices, are subject to weight decay */
    float *embedding; /* (vocabulary, dim): of tokens; also turns rows into logits */
    float *final_gain; /* (dim) */
    struct layer_weights *layer;
    struct part *part; /* the same, by name */
    int part_count;
};

/* All zero. */
void weights_open(struct weights *weights, const struct shape *shape);

/* What a training begins with. */
void weights_start(struct weights *weights, const struct shape *shape, uint64_t seed);

void weights_close(struct weights *weights);

#endif
