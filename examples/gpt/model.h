/*
 * A decoder-only Transformer: embedding, layers of attention and MLP that add to what
 * goes past them, and logits of the next token.
 */
#ifndef GPT_MODEL_H
#define GPT_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "attention.h"
#include "weights.h"
#include "workers.h"

/* What a layer computes on the way, a row for each token, kept for the way back. */
struct layer_state {
    float *in;           /* (rows, dim): what the layer adds to */
    float *in_scale;     /* (rows): of the norm */
    float *in_norm;      /* (rows, dim) */
    float *query;        /* (rows, dim) */
    float *key, *value;  /* (rows, dim) */
    float *mixed;        /* (rows, dim): what attention gives */
    float *row_max;      /* (rows, heads): statistics of it */
    float *row_sum;      /* (rows, heads) */
    float *middle;       /* (rows, dim): in, and what attention added */
    float *middle_scale; /* (rows) */
    float *middle_norm;  /* (rows, dim) */
    float *raised;       /* (rows, MLP_FACTOR dim): before GELU */
    float *bent;         /* (rows, MLP_FACTOR dim): after it */
};

struct model {
    struct shape shape;
    int rows; /* the most tokens of a call */
    struct workers *workers;
    struct attention attention;
    struct weights weights;
    struct weights gradients; /* of a loss, by them */

    struct layer_state *layer;
    float *out; /* (rows, dim): of the last layer */
    float *out_scale;
    float *out_norm;
    float *logits; /* (rows, vocabulary) */
    double *loss;  /* (rows) */

    /* gradients on the way back */
    float *d_stream; /* (rows, dim): of in, middle and out, one after the other */
    float *d_branch; /* (rows, dim): of what leaves the stream */
    float *d_query, *d_key, *d_value, *d_mixed; /* (rows, dim) */
    float *d_bent;                              /* (rows, MLP_FACTOR dim) */
};

/* The tokens of one call: so many sequences of so many tokens. */
struct pass {
    const uint16_t *token; /* (batch, length) */
    int batch;
    int length;
    attn_cache *cache; /* NULL, or what has the tokens before these, of earlier calls;
                          these are put behind them. batch is 1 then, and there is no
                          way back */
    float *weights; /* (layers, batch, heads, length, length): what each head attends,
                       without a cache; or NULL: not wanted */
};

/* For passes of up to batch sequences of shape->context tokens, or of one sequence of
 * as many tokens as all of these. */
void model_open(struct model *model, const struct shape *shape, int batch,
                struct workers *workers);

/* All layers: out_norm is the result. */
void model_forward(struct model *model, const struct pass *pass);

/* Logits of rows [first, first + count) of the latest pass. */
const float *model_logits(struct model *model, int first, int count);

/* The loss of the latest pass: minus the logarithm of the probability of the targets, a
 * token for each row; the sum of all rows. With gradients for model_backward(), which
 * are those of the average over rows. */
double model_loss(struct model *model, const uint16_t *target, int rows,
                  bool gradients);

/* Gradients of all weights, after model_forward() and model_loss(). */
void model_backward(struct model *model, const struct pass *pass);

void model_close(struct model *model);

#endif
