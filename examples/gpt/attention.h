/*
 * Causal multi-head attention by libattn, forwards and backwards.
 */
#ifndef GPT_ATTENTION_H
#define GPT_ATTENTION_H

#include "attn.h"
#include "workers.h"

struct attention {
    attn_context *context;
    attn_plan *plan;
    int32_t heads;
    int32_t head_dim;
    double forward_seconds; /* in attn_plan_forward(), since it was opened */
    double backward_seconds;
};

/*
 * The data of one layer. Tokens lie in memory as the products before and after want
 * them: (batch, tokens, heads * head_dim), so the heads of a token stand side by side.
 */
struct attention_data {
    int64_t batch;
    int64_t tokens;    /* each attends those up to itself */
    attn_cache *cache; /* NULL, or where keys and values of earlier tokens are, which
                          are attended too; those of these are put behind them */
    int32_t layer;     /* of the cache */
    float *query;      /* (batch, tokens, heads * head_dim) */
    float *key;        /* (batch, tokens, heads * head_dim) */
    float *value;      /* (batch, tokens, heads * head_dim) */
    float *slopes;     /* (heads): what a step back from query to key costs its score */

    /* results of the forward call, and read again by the backward call */
    float *out;     /* (batch, tokens, heads * head_dim) */
    float *row_max; /* (batch, heads, tokens): statistics of the softmax; not written
                       with a cache, from which there is no way back */
    float *row_sum; /* (batch, heads, tokens) */

    float *weights; /* result: (batch, heads, tokens, tokens), or NULL: not wanted */
};

/* The gradients of the members of attention_data: d_out is given, the others are the
 * results. */
struct attention_gradients {
    float *d_out;
    float *d_query, *d_key, *d_value, *d_slopes;
};

/* Makes ready for calls of up to this batch and as many tokens. */
void attention_open(struct attention *attention, struct workers *workers, int32_t heads,
                    int32_t head_dim, int64_t batch, int64_t tokens);

void attention_forward(struct attention *attention, const struct attention_data *data);

void attention_backward(struct attention *attention, const struct attention_data *data,
                        const struct attention_gradients *gradients);

void attention_close(struct attention *attention);

#endif
