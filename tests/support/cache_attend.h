/*
 * Attention from a cache beside attention from tensors: caches that keep the keys and
 * values of a problem, and the same call once more from there.
 */
#ifndef TEST_CACHE_ATTEND_H
#define TEST_CACHE_ATTEND_H

#include "tests/support/call.h"
#include "tests/support/counting.h"
#include "tests/support/random.h"

/* A cache that has room for a problem: 2 layers, 2 sequences more than its batch. */
attn_cache_options attend_options(const struct test_problem *problem, int32_t dtype,
                                  int64_t page_keys);

/* Appends n keys and values of batch element b, from row `from` on, to a sequence. */
void attend_append(attn_cache *cache, int32_t layer, int64_t sequence,
                   const struct test_inputs *inputs, int64_t b, int64_t from,
                   int64_t n);

/* Appends all that batch element b has to sequence[b], for each b: in one call or, with
 * random numbers, in pieces. */
void attend_fill(attn_cache *cache, int32_t layer, const int64_t *sequence,
                 const struct test_inputs *inputs, struct random *random);

/* Different sequences in random order. */
void attend_shuffle(int64_t *sequence, int64_t count, struct random *random);

/*
 * The call of a problem from the cache, with the outputs that `plain` has. Inputs are
 * those of `plain`. (So the two outputs have as many keys, if the longest sequence has
 * as many as the problem; attend_lengths() sees to it.)
 */
void attend_open(struct test_call *call, const struct test_call *plain,
                 const attn_cache *cache, int32_t layer, const attn_tensor *sequences);
void attend_close(struct test_call *call);

/* Makes the longest sequence of a problem with kvlens as long as its tensors are. */
void attend_lengths(struct test_inputs *inputs);

/*
 * Makes the same call from tensors and from a cache; fails the test unless the two give
 * the same bits or, where decoding reads keys in another order than from tensors (in
 * blocks), the second is within the bounds of the definition. attend_like() compares
 * calls that were made, and returns whether they agree.
 */
void attend_need_like(struct test_call *plain, struct test_call *cached);
int attend_like(const struct test_call *plain, const struct test_call *cached);

/* A tensor of integers. */
attn_tensor attend_integers(int64_t *values, int64_t count);

/* Elements [from, from + n) of a dimension; all if the tensor repeats there. */
attn_tensor attend_cut(const attn_tensor *tensor, int32_t dim, int64_t from, int64_t n);

/* A part of a problem, with the numbers of queries and keys that it has then. It owns
 * nothing. Block masks and offsets stay what they were. */
struct attend_part {
    int64_t query, queries, key, keys;
};
struct test_inputs attend_inputs(const struct test_inputs *whole,
                                 const struct attend_part *part);

/* check_outputs() of ROW_OUTPUTS. */
int attend_check_rows(const struct test_inputs *inputs,
                      const struct test_outputs *outputs);

/* A call on inputs that the caller owns; attend_close() closes it. */
void attend_tensors(struct test_call *call, attn_context *context,
                    const struct test_inputs *inputs, unsigned wanted);

#endif
