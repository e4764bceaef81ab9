/*
 * Attention by libattn.
 */
#ifndef RETRIEVE_ATTEND_H
#define RETRIEVE_ATTEND_H

#include <stdint.h>

#include "attn.h"

/*
 * One attention: each of the queries attends all keys, in every head. Arrays are
 * contiguous, the last dimension fastest; inputs are only read. An output that is NULL
 * is not computed.
 */
struct attention {
    int32_t heads;
    int32_t dim;
    int64_t queries;
    int64_t keys;
    float temperature; /* the lower, the more of the weight goes to the best keys */

    float *query;  /* (heads, queries, dim) */
    float *key;    /* (heads, keys, dim) */
    float *value;  /* (heads, keys, dim) */
    uint8_t *mask; /* (queries, keys), for all heads: 1 where a query may attend a
                            key, else 0; or NULL: everywhere */

    float *out;          /* (heads, queries, dim): sums of values by weight; required */
    float *raw_scores;   /* (heads, queries, keys): query.key / temperature */
    float *weights;      /* (heads, queries, keys): their softmax */
    float *mean_weights; /* (queries, keys): weights averaged over the heads */

    /* What the call was like, filled in by attend(). */
    double seconds;      /* for out alone, the best of three calls */
    double gflops;       /* billions of operations per second of it */
    double seconds_more; /* for out and the other outputs that were asked for */
    char explain[2048];  /* how the library went about it, a "name: value" line each */
};

/* A context to attend in, with as many threads; 0: one for each processor. Whoever gets
 * it calls attn_context_destroy(). */
attn_status attend_open(attn_context **context, int32_t threads);

/* Computes; where this fails, attn_last_error() says why. */
attn_status attend(attn_context *context, struct attention *attention);

#endif
