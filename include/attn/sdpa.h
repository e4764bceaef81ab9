/*
 * attn/sdpa.h - attention: scaled dot products, or additive scores.
 *
 * Vaswani et al., "Attention Is All You Need" (2017), computed by tiles with an
 * online softmax (Milakov and Gimelshein 2018; Dao et al. 2022), so that memory
 * is linear in the sequence length. For every batch element b and query head h
 *
 *     score[i,j] = scale * sum_c query[b,h,i,c] * key[b,g,j,c]
 *     score      = softcap * tanh(score / softcap)                if asked for
 *     score     += bias[b,h,i,j] - alibi_slopes[h] * |p - j|      if given
 *                + relative terms
 *     weight     = softmax over the keys j that query i attends
 *     out[b,h,i] = sum_j weight[i,j] * value[b,g,j]     (after dropout)
 *
 * or, with additive scores (Bahdanau et al. 2015),
 *
 *     score[i,j] = scale * sum_c score_vector[h,c]
 *                                * tanh(query[b,h,i,c] + key[b,g,j,c])
 *
 * with g = h / (query heads / kv heads), rounded down, and p = i + query_offsets[b] the
 * position of query i. The relative terms are those of attn/desc.h, each if given, with
 * q = query[b,h,i]:
 *
 *     relative_bias[bucket of j - p, h]
 *     scale * (q + position_bias[h]) . relative_keys[h, j - p + relative_zero]
 *     scale * (q + segment_bias[h]) . segment_keys[segments differ, h]
 *
 * and where content_bias is given, q + content_bias[h] is what meets the key. A sink is
 * one more logit per head in the softmax, with weight but without a value. Query i
 * attends key j if all of this holds:
 *
 *     j <= p, or j < prefix_lengths[b]       with causal
 *     p - left <= j <= p + right             with a window
 *     j < kv_lengths[b]                      with lengths (or what is packed or cached)
 *     q_documents[b,i] == k_documents[b,j]   with documents
 *     block_mask[b,h,i/bq,j/bk]              with a block mask
 *     mask[b,h,i,j]                          with a mask (true = attend)
 *     k_ranks[b,j] <= or < q_ranks[b,i]      with ranks
 *     bias[b,h,i,j] is not -infinity         with a bias
 *
 * For none of it does libattn allocate memory of query length times key length. With
 * causal, window, lengths, documents and block masks, tiles of some 64 queries by 128
 * keys, 64 where blocks have no more, that keep nothing cost nothing; one that keeps a
 * pair costs as much as a full one.
 *
 * What holds for every call:
 *   - A query with nothing to attend to (a fully masked row) gives out 0, weights 0,
 *     LSE -infinity (with a sink: LSE = sink).
 *   - What is masked never arrives: a key, value, bias or query that a mask
 *     excludes cannot influence the result, NaN and infinity included, and
 *     memory beyond the lengths is never read. A NaN that is attended reaches
 *     the queries that attend it and no others.
 *   - The same call gives the same bits for any number of threads, whatever the
 *     other batch elements are, and whichever extra outputs are asked for; on
 *     one machine, with one BLAS that attn_plan_explain() calls reproducible,
 *     and data at the same alignment modulo 64 bytes.
 *   - Arithmetic is float32. A query whose scores contain +infinity or NaN gives
 *     NaN; one whose scores are all -infinity gives what a fully masked row gives,
 *     although they are no mask. Weights below 2^-126 of the largest of a query may
 *     count as 0. Values are added up before they are divided by the sum of weights,
 *     so that values beyond 3.4e38 / Sk may come out infinite.
 *
 * Query, key, value and out may be stored in 16 bits, F16 or BF16, each as it likes:
 * numbers are converted to float32 where they are read, which is exact, and out is
 * rounded once, to nearest even, NaN staying NaN. So the result is that of float32 on
 * the same numbers, with a relative error of 2^-11 (F16) or 2^-8 (BF16) where out is
 * rounded; it is so to the bit, but for BF16 queries with ATTN_ISA_AMX (or
 * ATTN_ISA_PIECES): their products with keys are scaled when they are added up, shorter
 * sequences are made of pieces, and where key, value and out are BF16 as well, weights
 * are rounded to 16 bits before they meet values, by 2^-16 of each at the most, which
 * shows where values cancel each other. Key and value may be I8 as well, each with a
 * scale for every row: the number is scale times byte.
 */
#ifndef ATTN_SDPA_H
#define ATTN_SDPA_H

#include "cache.h"
#include "desc.h"
#include "profile.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- one call */

/**
 * Attention on contiguous float32 arrays in one call, no objects needed:
 *
 *     query (batch, query_heads, q_length, key_dim)
 *     key   (batch, kv_heads, kv_length, key_dim)
 *     value (batch, kv_heads, kv_length, value_dim)
 *     out   (batch, query_heads, q_length, value_dim)
 *
 * scale is 1 / sqrt(key_dim). causal 1: query i attends keys j <= i; 0: all.
 * With context NULL the work runs on the calling thread and its workspace comes
 * from malloc and is freed before return.
 *
 * Safe from any thread. ATTN_ERR_INVALID, ATTN_ERR_NO_MEMORY. Since 0.1.
 */
ATTN_API attn_status attn_sdpa(attn_context *context, int64_t batch,
                               int64_t query_heads, int64_t kv_heads, int64_t q_length,
                               int64_t kv_length, int64_t key_dim, int64_t value_dim,
                               int32_t causal, const float *query, const float *key,
                               const float *value, float *out);

/* -------------------------------------------------------------------- plan */

/**
 * The largest sizes that a plan will be called with. Of packed sequences, batch is how
 * many there are, and the lengths are those of the longest one, not of all together.
 * With a cache, kv_length is the most keys that it keeps of a sequence of the call: its
 * capacity is always enough.
 */
typedef struct attn_bounds {
    int64_t size; /* sizeof(attn_bounds) */
    int64_t batch;
    int64_t q_length;
    int64_t kv_length;
} attn_bounds;

/**
 * A descriptor made ready to run on one context. Immutable: any number of threads
 * may run one plan at the same time. Any call within the bounds is valid.
 */
typedef struct attn_plan attn_plan;

/**
 * Checks the descriptor and prepares to run it within the bounds (each 0 to
 * 2^53). context must not be NULL; the plan keeps it alive. ATTN_ERR_INVALID,
 * ATTN_ERR_UNSUPPORTED, ATTN_ERR_NO_MEMORY; *plan is NULL then. Since 0.1.
 */
ATTN_API attn_status attn_plan_create(attn_plan **plan, attn_context *context,
                                      const attn_desc *desc, const attn_bounds *bounds);

/** NULL is allowed. No call on the plan may be under way. Since 0.1. */
ATTN_API void attn_plan_destroy(attn_plan *plan);

/**
 * Bytes of workspace that the largest call needs. It grows with threads and dims, and
 * stays the same however long the sequences (but for the dense engine forced on long
 * ones): up to 5 MiB a thread for dims up to 512 with ATTN_BLAS_SAFE, 7 with relative
 * keys, both 2.5 more with ATTN_ISA_AMX, 5 with additive scores 1.5 more, up to 10 and
 * 16 where larger products are allowed. 0 for NULL. Since 0.1.
 */
ATTN_API size_t attn_plan_workspace_size(const attn_plan *plan);

/**
 * Describes the plan for people, a "name: value" line each: engine and why not the
 * others, tiles (the pieces that queries and keys are cut into), workspace bytes, and
 * the lines of attn_context_explain(). Works like snprintf, as attn_context_explain()
 * does. Since 0.1.
 */
ATTN_API size_t attn_plan_explain(const attn_plan *plan, char *text, size_t size);

/**
 * Returns nonzero to stop a call; user is should_stop_user. It runs on the threads of
 * the call, on several at the same time, about once per tile: 64 queries by 64 to 512
 * keys of a head (some 100 us of work; of additive scores a millisecond and more), or
 * up to 256 by 512 (some 10 ms) where larger products are allowed. Tiles that are
 * masked whole may pass without.
 */
typedef int32_t attn_should_stop(void *user);

/**
 * What one call works on. Set up with attn_forward_args_init() (or all zero but for
 * size), then fill in. B, Hq and Hkv, Sq and Sk, D and Dv are batch, heads, lengths and
 * dims.
 *
 * A pointer that is NULL means "not there". Inputs that the descriptor announces
 * are required, others must be NULL; every output but out is optional.
 *
 * mask, bias and block_mask broadcast as in numpy: dimensions are aligned at the
 * last one, and missing dimensions and dimensions of size 1 repeat. The last stride
 * of mask and bias may be 0.
 */
typedef struct attn_forward_args {
    int64_t size; /* sizeof(attn_forward_args) as the caller knows it */

    /* always there, but for key and value where there is a cache */
    const attn_tensor *query; /* F32, F16 or BF16 (B, Hq, Sq, D) */
    ATTN_PAD_POINTER(0)
    const attn_tensor *key; /* F32, F16, BF16 or I8 (B, Hkv, Sk, D) */
    ATTN_PAD_POINTER(1)
    const attn_tensor *value; /* F32, F16, BF16 or I8 (B, Hkv, Sk, Dv) */
    ATTN_PAD_POINTER(2)
    const attn_tensor *out; /* F32, F16 or BF16 (B, Hq, Sq, Dv), written */
    ATTN_PAD_POINTER(3)

    /* there if the descriptor announces them */
    const attn_tensor *q_lengths; /* I32 or I64 (B), 0 to Sq */
    ATTN_PAD_POINTER(4)
    const attn_tensor *kv_lengths; /* I32 or I64 (B), 0 to Sk */
    ATTN_PAD_POINTER(5)
    const attn_tensor *query_offsets; /* I32 or I64 (B), -2^53 to 2^53 */
    ATTN_PAD_POINTER(6)
    const attn_tensor *prefix_lengths; /* I32 or I64 (B), 0 to Sk */
    ATTN_PAD_POINTER(7)
    const attn_tensor *q_documents; /* I32 or I64 (B, Sq), (1, Sq) or (Sq) */
    ATTN_PAD_POINTER(8)
    const attn_tensor *k_documents; /* I32 or I64 (B, Sk), (1, Sk) or (Sk) */
    ATTN_PAD_POINTER(9)
    const attn_tensor *block_mask; /* BOOL, broadcasts to (B, Hq, Sq/bq, Sk/bk),
                                      the quotients rounded up */
    ATTN_PAD_POINTER(10)
    const attn_tensor *mask; /* BOOL, broadcasts to (B, Hq, Sq, Sk) */
    ATTN_PAD_POINTER(11)
    const attn_tensor *bias; /* F32, broadcasts to (B, Hq, Sq, Sk) */
    ATTN_PAD_POINTER(12)
    const attn_tensor *alibi_slopes; /* F32 (Hq) or (B, Hq) */
    ATTN_PAD_POINTER(13)
    const attn_tensor *sinks; /* F32 (Hq) */
    ATTN_PAD_POINTER(14)

    /* outputs, written if there */
    const attn_tensor *lse; /* F32 (B, Hq, Sq): natural logarithm of the sum of
                               exp(score), the sink included */
    ATTN_PAD_POINTER(15)
    const attn_tensor *row_max; /* F32 (B, Hq, Sq): largest score, the sink
                                   included; -infinity for an empty row */
    ATTN_PAD_POINTER(16)
    const attn_tensor *row_sum; /* F32 (B, Hq, Sq): sum of exp(score - row_max),
                                   the sink included; 0 for an empty row */
    ATTN_PAD_POINTER(17)
    const attn_tensor *weights; /* F32 (B, Hq, Sq, Sk): what multiplies the values,
                                   before dropout */
    ATTN_PAD_POINTER(18)
    const attn_tensor *mean_weights; /* F32 (B, Sq, Sk): weights averaged over heads */
    ATTN_PAD_POINTER(19)
    const attn_tensor *key_sums; /* F32 (B, Hq, Sk): weights summed over queries */
    ATTN_PAD_POINTER(20)
    const attn_tensor *raw_scores; /* F32 (B, Hq, Sq, Sk): scale * query.key, or the
                                      additive score, masked pairs included; -infinity
                                      beyond the lengths */
    ATTN_PAD_POINTER(21)
    const attn_tensor *capped_scores; /* the same after the softcap */
    ATTN_PAD_POINTER(22)
    const attn_tensor *biased_scores; /* after all terms; -infinity
                                         where masked */
    ATTN_PAD_POINTER(23)

    /* how to run */
    void *workspace; /* at a multiple of 64, or NULL: borrowed from the context,
                        which keeps one and allocates more when it is in use */
    ATTN_PAD_POINTER(24)
    int64_t workspace_size; /* bytes at workspace: attn_plan_workspace_size() or more */

    attn_should_stop *should_stop; /* polled about once a tile, or NULL */
    ATTN_PAD_POINTER(25)
    void *should_stop_user;
    ATTN_PAD_POINTER(26)

    /* of dropout; without it they decide nothing, and all weights are kept */
    int64_t dropout_seed;           /* any number */
    const attn_tensor *rng_indices; /* I32 or I64 (B), 0 to 2^32 - 1: what stands for
                                       the batch element in the counter; NULL: b */
    ATTN_PAD_POINTER(27)
    const attn_tensor *dropout_mask; /* output, BOOL (B, Hq, Sq, Sk): 1 where a weight
                                        is kept, 0 where it is dropped; masks and
                                        lengths do not matter */
    ATTN_PAD_POINTER(28)

    /* relative positions and ranks, there if the descriptor announces them */
    const attn_tensor *relative_bias; /* F32 (buckets, Hq) */
    ATTN_PAD_POINTER(29)
    const attn_tensor *relative_keys; /* F32 (Hq, R, D), (1, R, D) or (R, D), R >= 1 */
    ATTN_PAD_POINTER(30)
    int64_t relative_zero; /* row of relative_keys for j = p: 0 to R - 1; else 0 */
    const attn_tensor *content_bias; /* F32 (Hq, D) */
    ATTN_PAD_POINTER(31)
    const attn_tensor *position_bias; /* F32 (Hq, D) */
    ATTN_PAD_POINTER(32)
    const attn_tensor *q_segments; /* I32 or I64 (B, Sq), (1, Sq) or (Sq) */
    ATTN_PAD_POINTER(33)
    const attn_tensor *k_segments; /* I32 or I64 (B, Sk), (1, Sk) or (Sk) */
    ATTN_PAD_POINTER(34)
    const attn_tensor *segment_keys; /* F32 (2, Hq, D) */
    ATTN_PAD_POINTER(35)
    const attn_tensor *segment_bias; /* F32 (Hq, D); may be left out */
    ATTN_PAD_POINTER(36)
    const attn_tensor *q_ranks; /* I32 or I64 (B, Sq), (1, Sq) or (Sq) */
    ATTN_PAD_POINTER(37)
    const attn_tensor *k_ranks; /* I32 or I64 (B, Sk), (1, Sk) or (Sk) */
    ATTN_PAD_POINTER(38)

    /* key_scales is there if key is I8, value_scales if value is, each only then: F32,
       finite or NaN, broadcasts to (B, Hkv, Sk), or of packed keys (1, Hkv, rows). A
       cache has its own */
    const attn_tensor *key_scales;
    ATTN_PAD_POINTER(39)
    const attn_tensor *value_scales;
    ATTN_PAD_POINTER(40)

    /*
     * Of packed sequences (attn_desc_set_packed()), there if the descriptor announces
     * them: I32 or I64 (B + 1), 0 to rows, none below the one before it; equal ones are
     * a sequence of no tokens. Sequence b is rows starts[b] to starts[b + 1], without
     * the last, of tensors of batch 1: query (1, Hq, rows, D), out likewise, lse,
     * row_max and row_sum (1, Hq, rows); key (1, Hkv, rows, D), value likewise. Other
     * rows belong to no sequence: they are not read, and of outputs not written.
     */
    const attn_tensor *q_starts;
    ATTN_PAD_POINTER(41)
    const attn_tensor *k_starts;
    ATTN_PAD_POINTER(42)

    /*
     * In place of key and value: what a cache keeps (attn/cache.h). Tensors with an
     * entry for each key have one for each that is kept, from the oldest on, and Sk is
     * the most that a sequence of the call keeps. Positions, in the rules above, count
     * from the first token that was ever appended, those of keys too. Append first: the
     * queries are the last tokens of their sequence, p = i + length - n, where n is
     * q_lengths[b], or what q_starts says, or Sq; or with ATTN_ALIGN_OFFSETS p = i +
     * query_offsets[b]. No other alignment matters. Of more queries than tokens the
     * first stand before position 0, where a causal query attends nothing.
     * prefix_lengths are 0 to the length of the longest sequence. Of what the cache has
     * forgotten nothing is attended; a window that would reach for it is
     * ATTN_ERR_INVALID, while without one queries attend what is left.
     */
    const attn_cache *cache;
    ATTN_PAD_POINTER(43)
    int32_t cache_layer;          /* 0 without a cache */
    int32_t reserved;             /* 0 */
    const attn_tensor *sequences; /* I32 or I64 (B): of the cache, also one several
                                     times; NULL: b */
    ATTN_PAD_POINTER(44)

    attn_profile *profile; /* times are added to it (attn/profile.h), or NULL; one call
                              at a time, and its backward call, may have it */
    ATTN_PAD_POINTER(45)

    const attn_tensor *score_vector; /* F32 (Hq, D), of additive scores, only then */
    ATTN_PAD_POINTER(46)
} attn_forward_args;

/**
 * Zeroes size bytes at args and notes the size; call it as
 * attn_forward_args_init(&args, sizeof args). Later releases append members: a
 * program compiled against an older header passes a smaller size, and what it
 * does not know counts as not there. ATTN_ERR_INVALID where size is 0 or no multiple
 * of 8, which that of each release is. Since 0.1.
 */
ATTN_API attn_status attn_forward_args_init(attn_forward_args *args, size_t size);

/**
 * Computes. Safe from any thread, also on one plan at the same time. With workspace
 * given a call allocates nothing, but for the first on a context that uses several
 * threads, which starts them.
 *
 * ATTN_ERR_INVALID: a tensor missing, of the wrong shape, type or stride, or not
 * within the plan's bounds; overlapping outputs; lengths out of range; workspace
 * too small or misaligned. ATTN_ERR_UNSUPPORTED: args has a nonzero member that this
 * library does not know, a tensor a nonzero reserved word or a 16-bit type where there
 * is none; a cache where the descriptor announces kv_lengths or packed keys.
 * ATTN_ERR_NO_MEMORY: no workspace to borrow. ATTN_ERR_CANCELLED: should_stop said so.
 * Since 0.1.
 */
ATTN_API attn_status attn_plan_forward(const attn_plan *plan,
                                       const attn_forward_args *args);

#ifdef __cplusplus
}
#endif

#endif
