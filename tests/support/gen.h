/*
 * The tensors of a problem, all made from its seed: contents, and also what a problem
 * string leaves open (integer types, broadcast shapes, strides with gaps, alignment).
 *
 * Gaps between rows hold NaN (in masks: "attend"), so that reading one shows.
 */
#ifndef TEST_GEN_H
#define TEST_GEN_H

#include "tests/support/test.h"

/* Contents of query, key and value. */
enum {
    DATA_RANDOM,   /* variance 1 */
    DATA_HUGE,     /* scores of several thousand, values of 1e15 */
    DATA_EQUAL,    /* all scores of a head the same */
    DATA_DOMINANT, /* one key takes nearly all the weight */
    DATA_TINY,     /* subnormals, -0, and few numbers of size 1 */
    DATA_KINDS
};

enum { GEN_TENSORS = 30 };

/* Tensors that the problem does not have keep rank 0. */
struct test_inputs {
    struct test_problem problem;
    int data; /* DATA_... */
    attn_tensor query, key, value;
    attn_tensor q_lengths, kv_lengths, query_offsets, prefix_lengths;
    attn_tensor q_documents, k_documents, block_mask, mask, bias;
    attn_tensor alibi_slopes, sinks, rng_indices;
    attn_tensor relative_bias, relative_keys, content_bias, position_bias;
    attn_tensor q_segments, k_segments, segment_keys, segment_bias;
    attn_tensor q_ranks, k_ranks;
    attn_tensor key_scales, value_scales, q_starts, k_starts;
    attn_tensor score_vector;
    int64_t dropout_seed, relative_zero;
    void *block[GEN_TENSORS]; /* what the tensors lie in, in the order above */
};

void gen_inputs(struct test_inputs *inputs, const struct test_problem *problem,
                int data);
void gen_free(struct test_inputs *inputs);

/* The tensor itself, or NULL where the problem has none: what an args member takes. */
const attn_tensor *gen_given(const attn_tensor *tensor);

/* The name of a DATA_... */
const char *gen_data_name(int data);

/*
 * How the sequences of a problem lie in a tensor of this many rows: from row `first` to
 * row `end`, without that, one after the other if they are packed; and how many rows
 * the longest has. starts, or NULL, takes the B + 1 numbers of packed ones.
 */
struct gen_packing {
    int64_t rows, first, end, longest;
};

struct gen_packing gen_pack_queries(const struct test_problem *problem,
                                    int64_t *starts);
struct gen_packing gen_pack_keys(const struct test_problem *problem, int64_t *starts);

/* The ATTN_... that a STORE_... stands for. */
int32_t gen_dtype(int32_t store);

/* Number of blocks that size falls into. */
int64_t gen_blocks(int64_t size, int64_t block);

#endif
