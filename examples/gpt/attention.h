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
    int64_t queries; /* the last of the keys: a query attends keys up to its own */
    int64_t keys;
    float *query;  /* (batch, queries, heads * head_dim) */
    float *key;    /* (batch, keys, heads * head_dim) */
    float *value;  /* (batch, keys, heads * head_dim) */
    float *slopes; /* (heads): what a step back from query to key costs its score */

    /* results of the forward call, and read again by the backward call */
    float *out;     /* (batch, queries, heads * head_dim) */
    float *row_max; /* (batch, heads, queries): statistics of the softmax */
    float *row_sum; /* (batch, heads, queries) */

    float *weights; /* result: (batch, heads, queries, keys), or NULL: not wanted */
};

/* The gradients of the members of attention_data: d_out is given, the others are the
 * results. */
struct attention_gradients {
    float *d_out;
    float *d_query, *d_key, *d_value, *d_slopes;
};

/* Makes ready for calls of up to this batch and as many queries and keys. */
void attention_open(struct attention *attention, struct workers *workers, int32_t heads,
                    int32_t head_dim, int64_t batch, int64_t tokens);

void attention_forward(struct attention *attention, const struct attention_data *data);

void attention_backward(struct attention *attention, const struct attention_data *data,
                        const struct attention_gradients *gradients);

void attention_close(struct attention *attention);

#endif
