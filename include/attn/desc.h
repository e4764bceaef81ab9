/*
 * attn/desc.h - the descriptor: which attention to compute. attn/sdpa.h says what its
 * parts do to the scores.
 */
#ifndef ATTN_DESC_H
#define ATTN_DESC_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Which attention to compute: plain facts, no tensors. Where a setter says that calls
 * bring an input, the tensor itself goes into attn_forward_args, under the name given.
 *
 * Setters check their own arguments and leave the facts as they were when they fail
 * (ATTN_ERR_INVALID; ATTN_ERR_UNSUPPORTED for a 16-bit type where there is none). They
 * may be left unchecked: attn_plan_create() fails as a setter did that failed and was
 * not called again with success. It also checks the whole. A plan copies the
 * descriptor, which may then be changed or destroyed. One thread at a time.
 */
typedef struct attn_desc attn_desc;

/** A new descriptor: heads and dims unset, no masks. ATTN_ERR_NO_MEMORY. Since 0.1. */
ATTN_API attn_status attn_desc_create(attn_desc **desc);

/** NULL is allowed. Since 0.1. */
ATTN_API void attn_desc_destroy(attn_desc *desc);

/**
 * Heads of query and of key and value, each 1 or more, query_heads a multiple of
 * kv_heads: kv_heads = query_heads is multi-head, 1 is multi-query, between them
 * grouped-query attention (Ainslie et al. 2023). Required. Since 0.1.
 */
ATTN_API attn_status attn_desc_set_heads(attn_desc *desc, int32_t query_heads,
                                         int32_t kv_heads);

/**
 * Last dimension of query and key, and of value and out: 1 to 65536. Required.
 * Since 0.1.
 */
ATTN_API attn_status attn_desc_set_dims(attn_desc *desc, int32_t key_dim,
                                        int32_t value_dim);

/** What makes a score of a query and a key. */
enum {
    ATTN_SCORE_DOT = 0,     /* scale query.key (Vaswani et al. 2017) */
    ATTN_SCORE_ADDITIVE = 1 /* scale score_vector.tanh(query + key) (Bahdanau et al.
                               2015) */
};

/**
 * Which score, ATTN_SCORE_...; ATTN_SCORE_DOT by default. All masks, terms and outputs
 * go with both, but for what multiplies the query: relative keys, query biases and
 * segments, which attn_plan_create() refuses together with additive scores
 * (ATTN_ERR_UNSUPPORTED), as it does ATTN_ENGINE_DECODE.
 *
 * Additive scores: query and key are what the matrices of the paper have made of states
 * and annotations, keys once for all steps; calls bring score_vector, key_dim numbers
 * for each query head. No tanh of all pairs is ever kept, forwards or backwards. The
 * error of a score is at most (key_dim + 16) 2^-24 |scale| times the sum of
 * |score_vector|, whose numbers are finite: infinity makes scores of its head NaN.
 * Since 0.1.
 */
ATTN_API attn_status attn_desc_set_score(attn_desc *desc, int32_t score);

/**
 * Factor of query.key, or of an additive score; finite. Unset: 1 / sqrt(key_dim), and 1
 * of additive scores. Since 0.1.
 */
ATTN_API attn_status attn_desc_set_scale(attn_desc *desc, float scale);

/**
 * Limits scores to (-softcap, softcap) by tanh. Finite and 2^-126 or more, or 0: off.
 * Since 0.1.
 */
ATTN_API attn_status attn_desc_set_softcap(attn_desc *desc, float softcap);

/**
 * 1: a query attends no key beyond its position, j <= p. 0: off.
 *
 * Positions start at 0 unless attn_desc_set_alignment() says otherwise. When the
 * queries are the last of keys in memory of your own, ATTN_ALIGN_BOTTOM_RIGHT is
 * needed: by default a single query would attend key 0 alone. In a cache (attn/cache.h)
 * queries are always the last tokens, unless there are offsets. Since 0.1.
 */
ATTN_API attn_status attn_desc_set_causal(attn_desc *desc, int32_t causal);

/** Where the queries stand: position p = i + offset of the batch element. */
enum {
    ATTN_ALIGN_TOP_LEFT = 0,     /* offset 0: the first query beside the first key;
                                    the default */
    ATTN_ALIGN_BOTTOM_RIGHT = 1, /* kv_lengths[b] - q_lengths[b], or the full sizes
                                    without lengths: last beside last */
    ATTN_ALIGN_OFFSETS = 2,      /* query_offsets[b] of the call */
    ATTN_ALIGN_KV_LENGTHS = 3    /* the rule of ONNX Attention-24: BOTTOM_RIGHT
                                    where calls bring kv_lengths, else TOP_LEFT */
};

/**
 * Position of the queries, for causal, window, ALiBi and relative positions alike.
 * Default TOP_LEFT. Since 0.1.
 */
ATTN_API attn_status attn_desc_set_alignment(attn_desc *desc, int32_t alignment);

/**
 * Keys p - left to p + right, both included. Each 0 or more, or -1: no bound. Since
 * 0.1.
 */
ATTN_API attn_status attn_desc_set_window(attn_desc *desc, int64_t left, int64_t right);

/**
 * Whether calls bring q_lengths and kv_lengths (each 0 or 1, not the lengths
 * themselves): sequences shorter than the tensors. Rows beyond q_lengths[b] are written
 * as rows with nothing to attend to. Padded self-attention wants both: without
 * q_lengths the padding attends like any query. Since 0.1.
 */
ATTN_API attn_status attn_desc_set_lengths(attn_desc *desc, int32_t query, int32_t kv);

/**
 * Whether the sequences of a call lie one after the other, without padding (varlen):
 * then calls bring q_starts, k_starts (each 0 or 1, not the starts themselves), and
 * nothing is computed for what is not there. Each sequence has its own positions, also
 * bottom-right. Where keys lie in a cache (attn/cache.h), queries alone are packed (1,
 * 0), some sequences with one query and others with many. Starts say how long sequences
 * are: with lengths of the same side too, plans are refused (ATTN_ERR_INVALID). Masks,
 * block masks, biases, documents, segments, ranks and outputs for pairs of tokens have
 * no packed form, nor does attn_plan_backward(): ATTN_ERR_UNSUPPORTED. Since 0.1.
 */
ATTN_API attn_status attn_desc_set_packed(attn_desc *desc, int32_t query, int32_t kv);

/**
 * Whether calls bring q_documents and k_documents (0 or 1): a number for each token,
 * and tokens attend only equal numbers, of which none is special. Since 0.1.
 */
ATTN_API attn_status attn_desc_set_documents(attn_desc *desc, int32_t documents);

/**
 * Whether calls bring prefix_lengths (0 or 1): the first keys are open to all queries
 * in spite of causal, which is needed; a window still applies. Since 0.1.
 */
ATTN_API attn_status attn_desc_set_prefix(attn_desc *desc, int32_t prefix);

/**
 * Calls bring a block mask: one boolean for each block of q_block queries by k_block
 * keys, which may repeat over batch and heads. 0, 0: off. Since 0.1.
 */
ATTN_API attn_status attn_desc_set_block_mask(attn_desc *desc, int64_t q_block,
                                              int64_t k_block);

/**
 * Calls bring a boolean mask of this type, ATTN_BOOL, of the scores' shape or one that
 * broadcasts to it. 0: off. Since 0.1.
 */
ATTN_API attn_status attn_desc_set_mask(attn_desc *desc, int32_t dtype);

/**
 * Calls bring an additive bias of this type, ATTN_F32, of the scores' shape or one that
 * broadcasts to it. 0: off. Since 0.1.
 */
ATTN_API attn_status attn_desc_set_bias(attn_desc *desc, int32_t dtype);

/** Whether calls bring alibi_slopes (0 or 1; Press et al. 2022). Since 0.1. */
ATTN_API attn_status attn_desc_set_alibi(attn_desc *desc, int32_t alibi);

/**
 * Whether calls bring sinks (0 or 1): a logit per query head that takes part in the
 * softmax and has no value. It is neither scaled nor capped. (To keep the first tokens
 * of a stream in view of a window, which is also called attention sinks, use a mask or
 * a block mask.) Since 0.1.
 */
ATTN_API attn_status attn_desc_set_sinks(attn_desc *desc, int32_t sinks);

/**
 * Dropout (Srivastava et al. 2014) of weights: each is set to 0 with this probability,
 * 0 to 1, and otherwise multiplied by 1 / (1 - probability), before it multiplies a
 * value. 0: off. 1: out is 0.
 *
 * Which weights are dropped follows from numbers alone, by Philox 4x32-10 (Salmon et
 * al. 2011): with the key dropout_seed (low word first) and the counter (rng index of
 * the batch element, h, i, j / 4), weight (i, j) of query head h is kept if bits 8 to
 * 31 of word j mod 4, divided by 2^24, are not below the probability. So the weights
 * that are dropped depend on nothing else, not on threads, tiles or kernels, and
 * attn_plan_backward() drops those that attn_plan_forward() did. Give every layer and
 * step another seed; parts of a batch that share a seed need rng_indices that go on
 * (2, 3 after 0, 1), or they drop the same weights. For evaluation, make a plan without
 * dropout. Plans for more than 2^32 queries or 2^34 keys are ATTN_ERR_UNSUPPORTED.
 * Since 0.1.
 */
ATTN_API attn_status attn_desc_set_dropout(attn_desc *desc, float probability);

/* ------------------------------------------------------- relative positions */

/**
 * Whether calls bring relative_bias (T5; Raffel et al. 2020): a number for each bucket
 * and query head; the one in the bucket of the distance j - p is added to the score.
 * With n = buckets, or half of them if bidirectional is 1, and e = n / 2 rounded down,
 * distance p - j falls into bucket
 *
 *     p - j                                                       up to e - 1
 *     e + floor(log((p - j) / e) / log(max_distance / e) (n - e))     from e on
 *
 * but none beyond n - 1. Keys after p fall into bucket 0, or if bidirectional into n
 * plus the bucket of j - p. buckets is 2 to 65536, or 4 and even if bidirectional;
 * max_distance more than e, up to 2^31 - 1. buckets 0: off. Minus infinity is no mask
 * here, but a score. T5 itself does not scale its scores: attn_desc_set_scale(desc, 1).
 * Since 0.1.
 */
ATTN_API attn_status attn_desc_set_relative_bias(attn_desc *desc, int32_t buckets,
                                                 int64_t max_distance,
                                                 int32_t bidirectional);

/**
 * Whether calls bring relative_keys (0 or 1), a row for each distance (Shaw et al.
 * 2018, whose keys are a table for all heads; Dai et al. 2019, Transformer-XL): the
 * score gets scale (query + position_bias) . relative_keys[row], with the row of j = p
 * given by the call's relative_zero, one row more for each key more, and the first and
 * the last row for all distances beyond. Since 0.1.
 */
ATTN_API attn_status attn_desc_set_relative_keys(attn_desc *desc,
                                                 int32_t relative_keys);

/**
 * Whether calls bring content_bias (u of Transformer-XL) and position_bias (v), each 0
 * or 1: vectors for each query head, added to the query where it meets the key, and
 * where it meets relative_keys, which position_bias needs. Since 0.1.
 */
ATTN_API attn_status attn_desc_set_query_biases(attn_desc *desc, int32_t content,
                                                int32_t position);

/**
 * Whether calls bring segments (0 or 1; XLNet, Yang et al. 2019): q_segments and
 * k_segments, a number for each token, and segment_keys, two vectors for each query
 * head, of which the second is used where the numbers differ: the score gets scale
 * (query + segment_bias) . segment_keys[differ]. segment_bias may be left out. Since
 * 0.1.
 */
ATTN_API attn_status attn_desc_set_segments(attn_desc *desc, int32_t segments);

/** Which ranks a query attends. */
enum {
    ATTN_RANKS_OFF = 0,
    ATTN_RANKS_UP_TO = 1, /* k_ranks[j] <= q_ranks[i]: XLNet's content stream */
    ATTN_RANKS_BELOW = 2  /* k_ranks[j] < q_ranks[i]: XLNet's query stream */
};

/**
 * Whether calls bring q_ranks and k_ranks, a number for each token: the place of a
 * token in an order of factorisation (a permutation mask), of which a query attends
 * what came before. Keys that all may attend, memory say, have a rank below all.
 * Default ATTN_RANKS_OFF. Since 0.1.
 */
ATTN_API attn_status attn_desc_set_ranks(attn_desc *desc, int32_t ranks);

/* ------------------------------------------------------------- all together */

/** Named conventions. Each stands for the setters beside it. */
enum {
    ATTN_CONVENTION_TORCH_2 = 1, /* PyTorch 2 scaled_dot_product_attention:
                                    set_alignment(TOP_LEFT) */
    ATTN_CONVENTION_ONNX_23 = 2, /* ONNX Attention-23: set_alignment(TOP_LEFT); with
                                    past keys, call set_alignment(OFFSETS) after */
    ATTN_CONVENTION_ONNX_24 = 3, /* ONNX Attention-24: set_alignment(KV_LENGTHS),
                                    nonpad_kv_seqlen being kv_lengths; with past
                                    keys as ONNX_23 */
    ATTN_CONVENTION_ONNX_25 = 4, /* ONNX Attention-25: as ONNX_24; its window is
                                    attn_desc_set_window() as it stands */
    ATTN_CONVENTION_FLASH_2 = 5, /* FlashAttention 2.1 and later:
                                    set_alignment(BOTTOM_RIGHT) */
    ATTN_CONVENTION_ORT_GQA = 6  /* GroupQueryAttention of ONNX Runtime: set_causal(1),
                                    set_alignment(BOTTOM_RIGHT), set_lengths(0, 1);
                                    kv_lengths is its seqlens_k plus 1 */
};

/** Calls the setters that the convention stands for. Since 0.1. */
ATTN_API attn_status attn_desc_set_convention(attn_desc *desc, int32_t convention);

/** Ways to compute. */
enum {
    ATTN_ENGINE_AUTO = 0,
    ATTN_ENGINE_DENSE = 1, /* all keys of a query at once, plain softmax */
    ATTN_ENGINE_FLASH = 2, /* tiles of keys, online softmax */
    ATTN_ENGINE_DECODE = 3 /* few queries: all query heads of a key-value head at once,
                              each key and value read once */
};

/** Forces an engine, for tests and experts. Default AUTO. Since 0.1. */
ATTN_API attn_status attn_desc_set_engine(attn_desc *desc, int32_t engine);

#ifdef __cplusplus
}
#endif

#endif
