/*
 * attn/rollout.h - attention rollout: which positions of the input the last layer of a
 * stack looked at.
 */
#ifndef ATTN_ROLLOUT_H
#define ATTN_ROLLOUT_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Attention rollout (Abnar and Zuidema 2020): how much each position of the input takes
 * part in each of the last layer, R = A_N ... A_1 with A_l half the weights of layer l,
 * averaged over heads, and half the identity, for what goes past attention.
 *
 *     mean_weights F32 (N, B, S, S), rows not repeated; rollout F32 (B, S, S), written
 *
 * A row of weights that is all 0 passes on half: 2^-N of itself after N layers.
 *
 * Safe from any thread. ATTN_ERR_INVALID, ATTN_ERR_NO_MEMORY. Since 0.1.
 */
ATTN_API attn_status attn_rollout(attn_context *context,
                                  const attn_tensor *mean_weights,
                                  const attn_tensor *rollout);

#ifdef __cplusplus
}
#endif

#endif
