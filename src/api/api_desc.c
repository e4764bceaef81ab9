/*
 * Descriptors: setters judge what they can judge alone and store it. What one refuses
 * is remembered, so that a program may leave them unchecked.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "api/setter.h"
#include "base/arith.h"

attn_status attn_desc_create(attn_desc **desc) {
    REQUIRE_POINTER(desc);
    attn_desc *made = malloc(sizeof *made);
    REQUIRE(made != NULL, ATTN_ERR_NO_MEMORY, "no memory for a descriptor");
    attn_desc_setup(made);
    *desc = made;
    return ATTN_OK;
}

void attn_desc_destroy(attn_desc *desc) {
    free(desc);
}

attn_status attn_desc_set_heads(attn_desc *desc, int32_t query_heads,
                                int32_t kv_heads) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE(HEADS, query_heads > 0 && kv_heads > 0, ATTN_ERR_INVALID,
                   "%d query heads and %d key-value heads: both must be 1 or more",
                   (int)query_heads, (int)kv_heads);
    SETTER_REQUIRE(HEADS, query_heads % kv_heads == 0, ATTN_ERR_INVALID,
                   "query has %d heads, key has %d: %d is not a multiple of %d",
                   (int)query_heads, (int)kv_heads, (int)query_heads, (int)kv_heads);
    desc->facts.query_heads = query_heads;
    desc->facts.kv_heads = kv_heads;
    return attn_desc_accept(desc, SETTER_HEADS);
}

attn_status attn_desc_set_dims(attn_desc *desc, int32_t key_dim, int32_t value_dim) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE(
        DIMS,
        key_dim > 0 && key_dim <= DIM_MAX && value_dim > 0 && value_dim <= DIM_MAX,
        ATTN_ERR_INVALID, "key dim %d and value dim %d must be within 1 to %d",
        (int)key_dim, (int)value_dim, (int)DIM_MAX);
    desc->facts.key_dim = key_dim;
    desc->facts.value_dim = value_dim;
    return attn_desc_accept(desc, SETTER_DIMS);
}

attn_status attn_desc_set_score(attn_desc *desc, int32_t score) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE(SCORE, score == ATTN_SCORE_DOT || score == ATTN_SCORE_ADDITIVE,
                   ATTN_ERR_INVALID, "score is %d, which is none of ATTN_SCORE_...",
                   (int)score);
    desc->facts.additive = score == ATTN_SCORE_ADDITIVE;
    return attn_desc_accept(desc, SETTER_SCORE);
}

attn_status attn_desc_set_scale(attn_desc *desc, float scale) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE(SCALE, isfinite(scale), ATTN_ERR_INVALID,
                   "scale is %g, should be finite", (double)scale);
    desc->facts.scale = scale;
    desc->has_scale = true;
    return attn_desc_accept(desc, SETTER_SCALE);
}

attn_status attn_desc_set_softcap(attn_desc *desc, float softcap) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE(
        SOFTCAP, softcap == 0.0f || (isfinite(softcap) && softcap >= FLT_MIN),
        ATTN_ERR_INVALID, "softcap is %g, should be 0, or finite and %g or more",
        (double)softcap, (double)FLT_MIN);
    desc->facts.softcap = softcap;
    return attn_desc_accept(desc, SETTER_SOFTCAP);
}

attn_status attn_desc_set_causal(attn_desc *desc, int32_t causal) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE_FLAG(CAUSAL, causal);
    desc->facts.causal = causal != 0;
    return attn_desc_accept(desc, SETTER_CAUSAL);
}

attn_status attn_desc_set_alignment(attn_desc *desc, int32_t alignment) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE(ALIGNMENT,
                   alignment >= ATTN_ALIGN_TOP_LEFT &&
                       alignment <= ATTN_ALIGN_KV_LENGTHS,
                   ATTN_ERR_INVALID, "alignment is %d, which is none", (int)alignment);
    desc->facts.alignment = alignment;
    return attn_desc_accept(desc, SETTER_ALIGNMENT);
}

attn_status attn_desc_set_window(attn_desc *desc, int64_t left, int64_t right) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE(WINDOW, left >= -1 && right >= -1, ATTN_ERR_INVALID,
                   "window %lld, %lld: each must be 0 or more, or -1 for no bound",
                   (long long)left, (long long)right);
    desc->facts.left = min_i64(left, WINDOW_MAX);
    desc->facts.right = min_i64(right, WINDOW_MAX);
    return attn_desc_accept(desc, SETTER_WINDOW);
}

attn_status attn_desc_set_lengths(attn_desc *desc, int32_t query, int32_t kv) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE(LENGTHS, (query == 0 || query == 1) && (kv == 0 || kv == 1),
                   ATTN_ERR_INVALID, "lengths: query is %d, kv is %d, should be 0 or 1",
                   (int)query, (int)kv);
    desc->facts.q_lengths = query != 0;
    desc->facts.kv_lengths = kv != 0;
    return attn_desc_accept(desc, SETTER_LENGTHS);
}

attn_status attn_desc_set_packed(attn_desc *desc, int32_t query, int32_t kv) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE(PACKED, (query == 0 || query == 1) && (kv == 0 || kv == 1),
                   ATTN_ERR_INVALID, "packed: query is %d, kv is %d, should be 0 or 1",
                   (int)query, (int)kv);
    desc->facts.q_packed = query != 0;
    desc->facts.kv_packed = kv != 0;
    return attn_desc_accept(desc, SETTER_PACKED);
}

attn_status attn_desc_set_documents(attn_desc *desc, int32_t documents) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE_FLAG(DOCUMENTS, documents);
    desc->facts.documents = documents != 0;
    return attn_desc_accept(desc, SETTER_DOCUMENTS);
}

attn_status attn_desc_set_prefix(attn_desc *desc, int32_t prefix) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE_FLAG(PREFIX, prefix);
    desc->facts.prefix = prefix != 0;
    return attn_desc_accept(desc, SETTER_PREFIX);
}

attn_status attn_desc_set_block_mask(attn_desc *desc, int64_t q_block,
                                     int64_t k_block) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE(
        BLOCK_MASK, (q_block > 0 && k_block > 0) || (q_block == 0 && k_block == 0),
        ATTN_ERR_INVALID, "blocks of %lld x %lld: both must be positive, or both 0",
        (long long)q_block, (long long)k_block);
    desc->facts.q_block = min_i64(q_block, WINDOW_MAX);
    desc->facts.k_block = min_i64(k_block, WINDOW_MAX);
    return attn_desc_accept(desc, SETTER_BLOCK_MASK);
}

attn_status attn_desc_set_mask(attn_desc *desc, int32_t dtype) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE(MASK, dtype == 0 || dtype == ATTN_BOOL, ATTN_ERR_INVALID,
                   "a mask has dtype ATTN_BOOL (%d) or none (0), not %d",
                   (int)ATTN_BOOL, (int)dtype);
    desc->facts.mask = dtype != 0;
    return attn_desc_accept(desc, SETTER_MASK);
}

attn_status attn_desc_set_bias(attn_desc *desc, int32_t dtype) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE(BIAS, dtype != ATTN_F16 && dtype != ATTN_BF16, ATTN_ERR_UNSUPPORTED,
                   "a bias of 16-bit numbers (dtype %d) is not supported yet",
                   (int)dtype);
    SETTER_REQUIRE(BIAS, dtype == 0 || dtype == ATTN_F32, ATTN_ERR_INVALID,
                   "a bias has dtype ATTN_F32 (%d) or none (0), not %d", (int)ATTN_F32,
                   (int)dtype);
    desc->facts.bias = dtype != 0;
    return attn_desc_accept(desc, SETTER_BIAS);
}

attn_status attn_desc_set_alibi(attn_desc *desc, int32_t alibi) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE_FLAG(ALIBI, alibi);
    desc->facts.alibi = alibi != 0;
    return attn_desc_accept(desc, SETTER_ALIBI);
}

attn_status attn_desc_set_sinks(attn_desc *desc, int32_t sinks) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE_FLAG(SINKS, sinks);
    desc->facts.sinks = sinks != 0;
    return attn_desc_accept(desc, SETTER_SINKS);
}

attn_status attn_desc_set_dropout(attn_desc *desc, float probability) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE(DROPOUT, probability >= 0.0f && probability <= 1.0f,
                   ATTN_ERR_INVALID, "probability is %g, not within 0 to 1",
                   (double)probability);
    desc->facts.dropout = probability;
    return attn_desc_accept(desc, SETTER_DROPOUT);
}

attn_status attn_desc_set_convention(attn_desc *desc, int32_t convention) {
    static const int32_t alignments[] = {
        [ATTN_CONVENTION_TORCH_2] = ATTN_ALIGN_TOP_LEFT,
        [ATTN_CONVENTION_ONNX_23] = ATTN_ALIGN_TOP_LEFT,
        [ATTN_CONVENTION_ONNX_24] = ATTN_ALIGN_KV_LENGTHS,
        [ATTN_CONVENTION_ONNX_25] = ATTN_ALIGN_KV_LENGTHS,
        [ATTN_CONVENTION_FLASH_2] = ATTN_ALIGN_BOTTOM_RIGHT,
        [ATTN_CONVENTION_ORT_GQA] = ATTN_ALIGN_BOTTOM_RIGHT,
    };
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE(
        CONVENTION, convention > 0 && convention < (int32_t)COUNT_OF(alignments),
        ATTN_ERR_INVALID, "convention is %d, which is none", (int)convention);
    if (convention == ATTN_CONVENTION_ORT_GQA) {
        TRY(attn_desc_set_causal(desc, 1));
        TRY(attn_desc_set_lengths(desc, 0, 1));
    }
    TRY(attn_desc_set_alignment(desc, alignments[convention]));
    return attn_desc_accept(desc, SETTER_CONVENTION);
}

attn_status attn_desc_set_engine(attn_desc *desc, int32_t engine) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE(ENGINE, engine >= ATTN_ENGINE_AUTO && engine <= ATTN_ENGINE_DECODE,
                   ATTN_ERR_INVALID, "engine is %d, which is none", (int)engine);
    desc->engine = engine;
    return attn_desc_accept(desc, SETTER_ENGINE);
}
