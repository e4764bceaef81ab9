/*
 * attn/merge.h - merging attention over parts of the keys into attention over all.
 */
#ifndef ATTN_MERGE_H
#define ATTN_MERGE_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Merges `count` states, 1 or more, of attention of the same queries over parts of the
 * keys: what keeps a shared prefix apart (Juravsky et al. 2024, Hydragen), cuts the
 * keys of few queries up (flash-decoding) and spreads them over machines (Liu et al.
 * 2023, Ring Attention). State i is the out and the lse that attn_plan_forward() wrote
 * for part i, and the merged one is what it would write for all parts together:
 *
 *     lse[b,h,s]   = log sum_i exp(lses[i][b,h,s])
 *     out[b,h,s,c] = sum_i exp(lses[i][b,h,s] - lse[b,h,s]) outs[i][b,h,s,c]
 *
 *     outs[i], out  F32 (B, Hq, Sq, Dv), all of one shape; out is written
 *     lses[i], lse  F32 (B, Hq, Sq); lse is written, NULL: not asked for
 *
 * Every key must be in one part, in the order of your choice; positions stay those of
 * the whole (ATTN_ALIGN_OFFSETS, with the first key of the part subtracted). A sink
 * belongs to exactly one state: plans for the others have none, or it would be counted
 * once for each and take too much weight. Dropout counts keys from the first of a part:
 * it drops other weights than one call for all parts would.
 *
 * A state is empty in a row where its lse is -infinity: its out is not looked at there.
 * If all are, out is 0 and lse -infinity. Where some lse is +infinity or NaN, all of
 * the row and its lse are NaN. NaN and infinity in out of a state that is not empty
 * reach their element only, however small its weight.
 *
 * out may be one of outs itself and lse one of lses, the same data, shape and strides,
 * so that states can be merged as they arrive; neither may meet anything else.
 *
 * Arithmetic is float32, relative to the largest lse, in the order of the states: the
 * bits depend on no number of threads, other row, or stride. In any order, or some at a
 * time, the result is the same up to rounding. With u = 2^-24, n = count, w_i what
 * multiplies outs[i] above and d_i how far lses[i] is below the largest, the error is,
 * terms in u^2 and what underflows aside, at most
 *
 *     of out  u sum_i w_i |outs[i]| (2 n + 4 + d_i + sum_j w_j d_j)
 *     of lse  u (|lse| + 2 log n + n + 1 + sum_j w_j d_j)
 *
 * To it comes what the states bring: an lse is itself rounded, by up to |lse| u, and
 * that is then the relative error of its weight.
 *
 * context NULL: on the calling thread. Otherwise the context's setters fail from then
 * on. Allocates nothing, but for the first call on a context that uses several threads,
 * which starts them. Safe from any thread. ATTN_ERR_INVALID; ATTN_ERR_UNSUPPORTED (as
 * attn_plan_forward()). Since 0.1.
 */
ATTN_API attn_status attn_merge(attn_context *context, int32_t count,
                                const attn_tensor *const *outs,
                                const attn_tensor *const *lses, const attn_tensor *out,
                                const attn_tensor *lse);

#ifdef __cplusplus
}
#endif

#endif
