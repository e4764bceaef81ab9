/*
 * What layers are, by the formulas of attn/layer.h, attn/sdpa.h, attn/desc.h and
 * attn/rotary.h, on a tape: with the largest error of each number, and gradients.
 *
 * Roundings, in units u = 2^-24 of the result, or of the sum of the sizes of n terms: a
 * product of n terms n + 4, a score 3 more for its scale and as many as there are terms
 * that are added; softcap 7; an exponential |score - maximum| + 8, their sum n + 12,
 * its inverse 4 + 2 |LSE|, a weight 2, a sum of values n + 20; a cosine what
 * attn/rotary.h leaves open (support/rotary.c); a mean n + 4, a difference from it 2,
 * the inverse deviation 8; an activation what kernel/kernel.h promises.
 */
#ifndef TEST_LAYER_ORACLE_H
#define TEST_LAYER_ORACLE_H

#include "tests/support/layer.h"

struct layer_oracle {
    struct tape tape;
    node *output;     /* (B, Sq, E) */
    node *weights[2]; /* of self-attention and cross attention: (N, B, H, Sq, keys and
                         extras); NO_NODE where 0 */
    node *lse;        /* (B, H, Sq); NO_NODE where -infinity */
    int64_t keys[2];  /* and extras */
};

/* Computes; the tensors of the call get their leaves. */
void layer_oracle_open(struct layer_oracle *oracle, struct layer_call *call);
void layer_oracle_close(struct layer_oracle *oracle);

/* ------------------------------------------------- what the files of it share */

/* A matrix of nodes, whose rows may be part of longer ones. */
struct matrix {
    node *at;
    int64_t step; /* nodes from row to row */
};

/* An attention at work, on (batch rows, features). */
struct attending {
    struct layer_oracle *oracle;
    struct layer_call *call;
    const struct layer_attention *attention;
    struct layer_sizes n;
    const char *inputs;  /* prefix of the inputs' names, "self." */
    char parameters[48]; /* prefix of the parameters' names */
    int64_t batch, rows, keys, block;
    node *query, *key, *value; /* (B Sq, H D), (B Sk, G D), (B Sk, G Dv) */
    node *heads;               /* (B Sq, H Dv) */
    node *relative;            /* (H, R, D) */
    int64_t relative_rows;
    node *weights, *lse; /* where they go */
};

/* Attention proper: from query, key and value to heads. */
void layer_attend(struct attending *a);

/* A multi-head layer: to nodes of (B Sq, E), with `residual`, if it is not NULL, added.
 * Where key or value is NULL, they are input. */
node *layer_multihead(struct attending *a, const node *input, const node *key,
                      const node *value, const node *residual);

/* A stack. */
void layer_blocks(struct layer_oracle *oracle, struct layer_call *call);

/* y = x W^T + b + residual for `rows` rows: W's rows from `first` on, `outputs` of
 * them, each of `inputs`; b, from `first` on, and residual may be NULL. */
struct linear_map {
    const node *weight, *bias;
    int64_t first, outputs, inputs;
};
void layer_linear(struct tape *tape, const struct linear_map *map, int64_t rows,
                  struct matrix y, struct matrix x, const node *residual);

/* The leaves of a tensor; NULL: there is none. */
const node *layer_leaves(const struct layer_call *call, const char *prefix,
                         const char *name);

node *layer_nodes(int64_t count);

#endif
