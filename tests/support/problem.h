/*
 * A problem is one attention call written as a line of text, so that a failure, a
 * benchmark row and a bug report all name it the same way:
 *
 *     b2 h12/4 q512 k300 d64/32 causal align=br window=128,0 kvlens mask seed=7
 *
 * Sizes come as a letter and a number: b batch, h query heads (/ kv heads), q and
 * k lengths, d key dim (/ value dim). Missing ones are 1, h12 is h12/12, d64 is
 * d64/64, k without a number given equals q; of packed
 * sequences q and k are the most that one may have. Words switch features on (bidir
 * makes the buckets of relbias bidirectional; ubias and vbias are content_bias and
 * position_bias):
 *
 *     causal  align=tl|br|offsets|kvlens  window=L,R  qlens  kvlens  docs  prefix
 *     block=BQxBK  mask  bias  alibi  sinks  softcap=X  scale=X  dropout=P
 *     relbias=BUCKETS,DISTANCE  bidir  relkeys  ubias  vbias  segments
 *     ranks=off|upto|below  additive
 *     qpacked  kpacked
 *     query=f32|f16|bf16  key=f32|f16|bf16|i8  value=f32|f16|bf16|i8  out=f32|f16|bf16
 *     engine=auto|dense|flash|decode  layout=bhsd|bshd  threads=N  isa=NAME
 *     seed=N
 */
#ifndef TEST_PROBLEM_H
#define TEST_PROBLEM_H

#include <stddef.h>
#include <stdint.h>

enum { LAYOUT_BHSD, LAYOUT_BSHD };

/* What numbers are stored in. */
enum { STORE_F32, STORE_F16, STORE_BF16, STORE_I8 };

struct test_problem {
    int64_t batch, q_length, kv_length;
    int32_t q_heads, kv_heads, key_dim, value_dim;
    int32_t causal, alignment; /* ATTN_ALIGN_... */
    int64_t left, right;       /* -1: no bound */
    int32_t q_lengths, kv_lengths, documents, prefix;
    int64_t q_block, k_block; /* 0: no block mask */
    int32_t mask, bias, alibi, sinks;
    float softcap;
    int32_t has_scale;
    float scale;
    float dropout;                 /* probability; 0: off */
    int64_t buckets, max_distance; /* of relative_bias; 0 buckets: none */
    int32_t bidirectional, relative_keys, content_bias, position_bias, segments;
    int32_t ranks;              /* ATTN_RANKS_... */
    int32_t additive;           /* ATTN_SCORE_ADDITIVE */
    int32_t q_packed, k_packed; /* then lengths are those of the longest sequences */
    int32_t query_type, key_type, value_type, out_type; /* STORE_... */
    int32_t engine;                                     /* ATTN_ENGINE_... */
    int32_t layout;                                     /* of query, key, value, out */
    int32_t threads;                                    /* 0: the context's default */
    int32_t isa;                                        /* ATTN_ISA_... */
    uint64_t seed;
};

/* Reads text into *problem. Returns NULL, or what is wrong with the text (static). */
const char *problem_parse(struct test_problem *problem, const char *text);

/* Writes the shortest text that parses to *problem. snprintf rules. */
size_t problem_format(const struct test_problem *problem, char *text, size_t size);

#endif
