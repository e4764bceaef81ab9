/*
 * The data of a problem: every tensor that its text announces, made from its seed.
 * How each is made stands in the text of --help (options.c), for whoever wants to
 * reproduce a number.
 */
#ifndef BENCH_INPUTS_H
#define BENCH_INPUTS_H

#include <stdint.h>

#include "tests/support/problem.h"

/* A problem of fewer queries than this costs what reading its keys and values costs. */
enum { INPUTS_FEW_QUERIES = 16 };

/* An array in a type of fewer bits, for the library; no data where it is of floats. */
struct storage {
    void *data;
    float *scales; /* of bytes: (B, H, S) whatever the layout */
};

/* Arrays are contiguous, in the order of the comment, and NULL where the problem has
 * no such input or output. B, Hq, Hkv, Sq, Sk, D, Dv as in attn/sdpa.h. */
struct inputs {
    float *query, *key, *value, *out; /* in the problem's layout */
    struct storage query_storage, key_storage, value_storage, out_storage;

    /* Calls take turns with so many copies of key and value: with few queries, no
     * processor's cache may hold them from the call before. The arrays have `copies` of
     * them, one after the other: all, or one if the calls read an attn_cache. */
    int turns, copies;
    int64_t key_count, value_count; /* elements of one copy */

    int64_t *q_lengths, *kv_lengths, *offsets, *prefix; /* (B) */
    int32_t *q_documents, *k_documents;                 /* (B, Sq), (B, Sk) */
    uint8_t *block_mask; /* (Hq, Sq/bq, Sk/bk), rounded up */
    uint8_t *mask;       /* (Sq, Sk) */
    float *bias;         /* (Hq, Sq, Sk) */
    float *slopes;       /* (Hq) */
    float *sinks;        /* (Hq) */

    /* of a backward call; in the problem's layout, but for row_max and row_sum, which
     * are (B, Hq, Sq) */
    float *grad_out, *row_max, *row_sum, *grad_query, *grad_key, *grad_value;
};

/* With what a backward call needs, if there is to be one; or for a cache. */
void inputs_make(struct inputs *inputs, const struct test_problem *problem,
                 int backward, int cached);
void inputs_free(struct inputs *inputs);

/* Which row of query or out, of heads times length rows a batch element, holds row i of
 * head h; likewise for key and value. */
int64_t inputs_row(const struct test_problem *problem, int64_t heads, int64_t length,
                   int64_t b, int64_t h, int64_t i);

/* Number of blocks that size falls into. */
int64_t inputs_blocks(int64_t size, int64_t block);

#endif
