/*
 * Attention rollout: one call of attn_rollout(), checked, and what runs it.
 */
#ifndef ATTN_LAYER_ROLLOUT_H
#define ATTN_LAYER_ROLLOUT_H

#include "attn/rollout.h"
#include "base/compiler.h"

struct rollout {
    int64_t layers, batch, size;
    attn_tensor mean_weights, output;
};

attn_status attn_rollout_bind(struct rollout *rollout, const attn_tensor *mean_weights,
                              const attn_tensor *output);

/* scratch: 2 x size x size floats. */
void attn_rollout_run(const struct rollout *rollout, float *scratch);

#endif
