/*
 * attn/profile.h - where the time of a call goes.
 */
#ifndef ATTN_PROFILE_H
#define ATTN_PROFILE_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Times of calls, in nanoseconds. A call whose attn_forward_args has one adds its own
 * to all members but size; a backward call goes by that of its args' forward. elapsed
 * is from the start to the end of calls. The others are the time of threads, so on n
 * threads that were never idle their sum is n times as much, less what a call takes
 * before it starts threads. Calls that run at the same time need one each. Since 0.1.
 *
 * Reading the clock takes some 25 ns, a dozen times for each tile of scores: some
 * percent of a call; and heads of few keys, which one kernel may compute whole, are
 * computed in steps. Bits of results stay the same.
 */
typedef struct attn_profile {
    int64_t size;      /* sizeof(attn_profile) as the caller knows it */
    int64_t calls;     /* that succeeded */
    int64_t elapsed;   /* of all calls, start to end */
    int64_t copies;    /* reading, converting and transposing query, key and value */
    int64_t scores;    /* products of query and key, or additive scores */
    int64_t terms;     /* softcap, biases, masks, dropout */
    int64_t softmax;   /* exponentials and sums; of a backward call, weights anew */
    int64_t values;    /* products of weights and value */
    int64_t gradients; /* of a backward call: its other products, and what they need */
    int64_t outputs;   /* rescaling and writing results */
    int64_t other;     /* everything else */
} attn_profile;

/**
 * Zeroes size bytes at profile and notes the size; call it as
 * attn_profile_init(&profile, sizeof profile). ATTN_ERR_INVALID where size does not
 * cover the size member. Since 0.1.
 */
ATTN_API attn_status attn_profile_init(attn_profile *profile, size_t size);

#ifdef __cplusplus
}
#endif

#endif
