/*
 * The model at work: tokens go in, and chances of the next one come out.
 */
#ifndef LLAMA_NETWORK_H
#define LLAMA_NETWORK_H

#include "attention.h"
#include "weights.h"

struct network {
    const struct weights *weights;
    struct attention attention;
    int rows;      /* the most tokens of a call */
    float *stream; /* (rows, dim): what layers add to */
    float *norm;   /* (rows, dim) */
    float *query;  /* (rows, heads head_dim) */
    float *key;    /* (rows, kv_heads head_dim) */
    float *value;  /* (rows, kv_heads head_dim) */
    float *mixed;  /* (rows, heads head_dim): what attention gives */
    float *gate;   /* (rows, hidden) */
    float *up;     /* (rows, hidden) */
    float *logits; /* (vocabulary) */
};

/* As attention_open(); weights must stay. */
void network_open(struct network *network, const struct weights *weights, int rows,
                  int length, int32_t dtype, int threads);

/* Reads tokens, 1 up to rows, behind all those that were read before, and returns the
 * logits of the token after them. */
const float *network_read(struct network *network, const int *token, int count);

void network_close(struct network *network);

#endif
