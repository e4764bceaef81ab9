/*
 * attn/backward.h - gradients of attention, as in attn/sdpa.h.
 *
 * For a loss L and its gradient grad_out = dL / d out, the gradients of query, key and
 * value, and of bias, ALiBi slopes and sinks, by tiles that are computed again from
 * query and key (Dao et al. 2022), so that memory is linear in the sequence length.
 * With P the weights, drop the factor of dropout (0 or 1 / (1 - probability), 1
 * without) and grad_lse, grad_weights, grad_key_sums the gradients of those outputs of
 * the forward call, 0 unless given:
 *
 *     G[i,j]  = grad_weights[i,j] + grad_key_sums[j]
 *     dP[i,j] = drop[i,j] (grad_out[i] . value[j]) + G[i,j]
 *     M[i]    = grad_out[i] . out[i] + sum_j P[i,j] G[i,j]
 *     dS[i,j] = P[i,j] (dP[i,j] - M[i] + grad_lse[i])
 *
 *     grad_value[j]       = sum_i drop[i,j] P[i,j] grad_out[i]
 *     grad_bias[i,j]      = dS[i,j]
 *     grad_alibi_slope    = sum_ij -|p - j| dS[i,j]
 *     grad_sink           = sum_i exp(sink - lse[i]) (grad_lse[i] - M[i])
 *     dT[i,j]             = dS[i,j] (1 - t) (1 + t) with t = tanh(score / softcap);
 *                           dS[i,j] without softcap
 *     grad_query[i]       = scale sum_j dT[i,j] key[j]
 *                         + scale sum_j dS[i,j] relative_keys[row of j - p]
 *                         + scale sum_j dS[i,j] segment_keys[differ]
 *     grad_key[j]         = scale sum_i dT[i,j] (query[i] + content_bias)
 *
 * or, with additive scores and t = tanh(query[i] + key[j]), feature by feature,
 *
 *     grad_query[i]       = scale sum_j dT[i,j] score_vector (1 - t) (1 + t)
 *     grad_key[j]         = scale sum_i dT[i,j] score_vector (1 - t) (1 + t)
 *     grad_score_vector   = scale sum_ij dT[i,j] t
 *
 * with the terms that there are; and those of relative_bias, relative_keys,
 * segment_keys and the three biases of the query in the same way.
 *
 * Gradients of what heads, batch elements, rows or columns share are summed: key and
 * value of grouped heads over the query heads, a bias over the dimensions that it
 * repeats in.
 *
 * What attn/sdpa.h promises holds here too: a query with nothing to attend to has
 * gradient 0 and adds nothing to others (but its grad_lse to a sink), even if its
 * grad_out is NaN; nothing that is masked reaches a gradient; rows beyond the lengths
 * are not read, those of incoming gradients included; the number of threads changes no
 * bit. Every option of the forward call has its gradient; query, key, value and out are
 * float32 here, not stored in fewer bits.
 */
#ifndef ATTN_BACKWARD_H
#define ATTN_BACKWARD_H

#include "sdpa.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * What one backward call works on. Set up with attn_backward_args_init() (or all zero
 * but for size), then fill in. B, Hq, Hkv, Sq, Sk, D, Dv as in attn_forward_args. A
 * pointer that is NULL means "not there".
 */
typedef struct attn_backward_args {
    int64_t size; /* sizeof(attn_backward_args) as the caller knows it */

    /*
     * The arguments of the forward call, whose inputs and seed are read again, and of
     * whose outputs these are inputs now: out (needed with grad_out), and row_max with
     * row_sum or, if one of them is not there, lse. The two are the better choice: lse
     * alone makes the relative error of a weight larger by |lse| 2^-24. All that are
     * there are checked. They may come from elsewhere, as long as they are what the
     * forward call would have written. Where keys are spread over several machines,
     * they are what all keys together give; M then has to be complete, so grad_weights
     * and grad_key_sums are not for such calls, and one machine asks for grad_sinks.
     * Other outputs, workspace and should_stop of the forward call are not looked at.
     */
    const attn_forward_args *forward;
    ATTN_PAD_POINTER(0)

    /* gradients of the outputs: at least one */
    const attn_tensor *grad_out; /* F32 (B, Hq, Sq, Dv) */
    ATTN_PAD_POINTER(1)
    const attn_tensor *grad_lse; /* F32 (B, Hq, Sq) */
    ATTN_PAD_POINTER(2)
    const attn_tensor *grad_weights; /* F32 (B, Hq, Sq, Sk) */
    ATTN_PAD_POINTER(3)
    const attn_tensor *grad_key_sums; /* F32 (B, Hq, Sk) */
    ATTN_PAD_POINTER(4)

    /* gradients of the inputs, written: at least one */
    const attn_tensor *grad_query; /* F32 (B, Hq, Sq, D) */
    ATTN_PAD_POINTER(5)
    const attn_tensor *grad_key; /* F32 (B, Hkv, Sk, D) */
    ATTN_PAD_POINTER(6)
    const attn_tensor *grad_value; /* F32 (B, Hkv, Sk, Dv) */
    ATTN_PAD_POINTER(7)
    const attn_tensor *grad_bias; /* F32, the shape of bias */
    ATTN_PAD_POINTER(8)
    const attn_tensor *grad_alibi_slopes; /* F32, the shape of alibi_slopes */
    ATTN_PAD_POINTER(9)
    const attn_tensor *grad_sinks; /* F32 (Hq) */
    ATTN_PAD_POINTER(10)

    /* how to run */
    int64_t accumulate; /* 1: add to what the gradients of the inputs hold, all of them;
                           0: overwrite it, with 0 beyond the lengths */
    void *workspace;    /* as in attn_forward_args */
    ATTN_PAD_POINTER(11)
    int64_t workspace_size; /* attn_plan_backward_workspace_size() or more */
    attn_should_stop *should_stop;
    ATTN_PAD_POINTER(12)
    void *should_stop_user;
    ATTN_PAD_POINTER(13)

    /* more gradients of inputs, each the shape of its input */
    const attn_tensor *grad_relative_bias;
    ATTN_PAD_POINTER(14)
    const attn_tensor *grad_relative_keys;
    ATTN_PAD_POINTER(15)
    const attn_tensor *grad_content_bias;
    ATTN_PAD_POINTER(16)
    const attn_tensor *grad_position_bias;
    ATTN_PAD_POINTER(17)
    const attn_tensor *grad_segment_keys;
    ATTN_PAD_POINTER(18)
    const attn_tensor *grad_segment_bias;
    ATTN_PAD_POINTER(19)
    const attn_tensor *grad_score_vector;
    ATTN_PAD_POINTER(20)
} attn_backward_args;

/** As attn_forward_args_init(). ATTN_ERR_INVALID. Since 0.1. */
ATTN_API attn_status attn_backward_args_init(attn_backward_args *args, size_t size);

/**
 * Bytes of workspace that the largest backward call needs; as
 * attn_plan_workspace_size(). Since 0.1.
 */
ATTN_API size_t attn_plan_backward_workspace_size(const attn_plan *plan);

/**
 * Computes gradients. Safe from any thread, also on one plan at the same time. What
 * attn_plan_forward() says of workspace and errors holds here; besides,
 * ATTN_ERR_NOT_DIFFERENTIABLE: a part of the descriptor has no gradient (all parts of
 * this release have one). After ATTN_ERR_CANCELLED the gradients hold unspecified
 * values, also with accumulate. Since 0.1.
 */
ATTN_API attn_status attn_plan_backward(const attn_plan *plan,
                                        const attn_backward_args *args);

#ifdef __cplusplus
}
#endif

#endif
