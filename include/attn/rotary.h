/*
 * attn/rotary.h - rotary position embeddings, for queries and keys before attention.
 */
#ifndef ATTN_ROTARY_H
#define ATTN_ROTARY_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * What one rotation works on (Su et al. 2021, RoFormer). Set up with
 * attn_rotary_args_init(), then fill in. Each pair of features (x, y) of a head becomes
 *
 *     (x cos a - y sin a, x sin a + y cos a),  a = position / base^(2 k / rotary_dim)
 *
 * for pair k. Features from rotary_dim on are copied. A pointer that is NULL means "not
 * there". H is at most 2^31 - 1, D at most 65536; every size may be 0. Positions are 0
 * to 2^53.
 */
typedef struct attn_rotary_args {
    int64_t size;             /* sizeof(attn_rotary_args) as the caller knows it */
    const attn_tensor *input; /* F32 (B, H, S, D) */
    ATTN_PAD_POINTER(0)
    const attn_tensor *output; /* F32 (B, H, S, D), written; may be input itself: the
                                  same data and strides */
    ATTN_PAD_POINTER(1)
    int64_t rotary_dim;  /* even, up to D; 0: D */
    int64_t interleaved; /* 1: pair k is features 2 k and 2 k + 1 (GPT-J); 0: features k
                            and k + rotary_dim / 2 (GPT-NeoX, Llama) */
    int64_t inverse;     /* 1: rotate by -a, which undoes a rotation, and turns the
                            gradient of its output into that of its input */
    double base;         /* more than 0 and finite; 0: 10000. With cosines: 0 */
    const attn_tensor *position_ids; /* I32 or I64 (B, S), (1, S) or (S); NULL: the
                                        row's index plus offset */
    ATTN_PAD_POINTER(2)
    const attn_tensor *offsets; /* I32 or I64 (B), 0 or more: position of row 0 of each
                                   batch element; not with position_ids; NULL: 0 */
    ATTN_PAD_POINTER(3)
    const attn_tensor *cosines; /* F32 (P, rotary_dim / 2), row p for position p < P, or
                                   (B, S, rotary_dim / 2) or (1, S, rotary_dim / 2),
                                   then without position_ids and offsets; NULL:
                                   computed from base */
    ATTN_PAD_POINTER(4)
    const attn_tensor *sines; /* the same shape; there if cosines are */
    ATTN_PAD_POINTER(5)
} attn_rotary_args;

/** As attn_forward_args_init(). ATTN_ERR_INVALID. Since 0.1. */
ATTN_API attn_status attn_rotary_args_init(attn_rotary_args *args, size_t size);

/**
 * Rotates. ONNX RotaryEmbedding-23 is this with its cos_cache and sin_cache as cosines
 * and sines. Angles are computed in float64, sines and cosines rounded to float32, and
 * two float32 products of each pair added or subtracted: the bits depend on no number
 * of threads, kernel set, or other row. NaN and infinity reach their own pair only.
 *
 * context NULL: on the calling thread. Otherwise the context's setters fail from then
 * on. Allocates nothing, but for the first call on a context that uses several threads,
 * which starts them. Safe from any thread. ATTN_ERR_INVALID, also for a position for
 * which cosines has no row; ATTN_ERR_UNSUPPORTED (as attn_plan_forward()). Since 0.1.
 */
ATTN_API attn_status attn_rotary(attn_context *context, const attn_rotary_args *args);

#ifdef __cplusplus
}
#endif

#endif
