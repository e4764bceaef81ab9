/*
 * The problem: what a descriptor says once defaults are filled in and the rules
 * checked. Facts only, the same for every call of a plan.
 */
#ifndef ATTN_CORE_PROBLEM_H
#define ATTN_CORE_PROBLEM_H

#include "base/compiler.h"

/* Values as in attn/desc.h, which this floor does not know. */
enum alignment { ALIGN_TOP_LEFT, ALIGN_BOTTOM_RIGHT, ALIGN_OFFSETS, ALIGN_KV_LENGTHS };

enum ranks { RANKS_OFF, RANKS_UP_TO, RANKS_BELOW };

/* The largest dim of a head. */
enum { DIM_MAX = 65536 };

struct problem {
    int32_t query_heads, kv_heads;
    int32_t group; /* query heads for each key-value head */
    int32_t key_dim, value_dim;
    float scale;
    float scale_power, scale_factor; /* whose product it is: a power of two, and from 1
                                        to 2, or -2 to -1; or 0 both */
    float softcap;                   /* 0: none */
    bool causal;
    int32_t alignment;
    int64_t left, right; /* window; -1: no bound */
    bool q_lengths, kv_lengths;
    bool q_packed, kv_packed; /* sequences lie one after the other */
    bool documents, prefix;
    int64_t q_block, k_block; /* 0: no block mask */
    bool mask, bias, alibi, sinks;
    int32_t relative_buckets; /* 0: no relative bias */
    int64_t relative_distance;
    bool relative_both; /* buckets for keys on both sides */
    bool relative_keys, content_bias, position_bias, segments;
    bool additive; /* scores are no products, but those of core/additive_tile.h */
    int32_t ranks;
    float dropout; /* probability; 0: none */
};

#endif
