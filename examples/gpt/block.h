/*
 * One layer: attention, then MLP, each behind a norm.
 */
#ifndef GPT_BLOCK_H
#define GPT_BLOCK_H

#include "model.h"

/* out (rows, dim) = in + attention(norm(in)) + mlp(norm(the sum so far)) */
void block_forward(struct model *model, int layer, const struct pass *pass, float *out);

/* model->d_stream is the gradient of out, and becomes that of in. */
void block_backward(struct model *model, int layer, const struct pass *pass);

#endif
