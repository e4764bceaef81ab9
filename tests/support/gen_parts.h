/*
 * What the files that make the tensors of a problem share.
 */
#ifndef TEST_GEN_PARTS_H
#define TEST_GEN_PARTS_H

#include "tests/support/gen.h"
#include "tests/support/random.h"

/* Places of tensors in struct test_inputs, and numbers of the streams that they draw
 * their contents from; with 100 more, their layouts. */
enum {
    QUERY,
    KEY,
    VALUE,
    Q_LENGTHS,
    KV_LENGTHS,
    OFFSETS,
    PREFIX,
    Q_DOCUMENTS,
    K_DOCUMENTS,
    BLOCK_MASK,
    MASK,
    BIAS,
    SLOPES,
    SINKS,
    RNG_INDICES,
    RELATIVE_BIAS,
    RELATIVE_KEYS,
    CONTENT_BIAS,
    POSITION_BIAS,
    Q_SEGMENTS,
    K_SEGMENTS,
    SEGMENT_KEYS,
    SEGMENT_BIAS,
    Q_RANKS,
    K_RANKS,
    KEY_SCALES,
    VALUE_SCALES,
    Q_STARTS,
    K_STARTS,
    SCORE_VECTOR,
    PLACES
};

_Static_assert((int)PLACES == (int)GEN_TENSORS, "one block for each tensor");

/* Memory for a tensor whose shape and strides are set. */
void gen_place(struct test_inputs *inputs, int which, attn_tensor *tensor,
               struct random *random);

/* Memory for a number for each token: (B, length), (1, length) or (length). Returns how
 * many lists of them there are. */
int64_t gen_place_tokens(struct test_inputs *inputs, int which, attn_tensor *tensor,
                         int64_t length, struct random *random);

/* The same, filled with runs of equal numbers, which may come back later and may be
 * negative. */
void gen_runs(struct test_inputs *inputs, int which, attn_tensor *tensor,
              int64_t length);

/* A component of what makes a score: like one of a query (QUERY) or of row `row` of
 * keys (KEY). */
float gen_score_number(struct random *random, int data, int which, int64_t row);

/* Integers of shape (n) or (rows, n), of 4 or 8 bytes. */
void gen_place_ints(struct test_inputs *inputs, int which, attn_tensor *tensor,
                    int64_t rows, int64_t n);

/* Query, key and value, scales where they are bytes, and starts where they are packed.
 */
void gen_rows(struct test_inputs *inputs);

/* All tensors from RELATIVE_BIAS to K_RANKS that the problem has, and SCORE_VECTOR. */
void gen_relative(struct test_inputs *inputs);

#endif
