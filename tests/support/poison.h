/*
 * Puts NaN, infinity and the like wherever the masks promise that nobody looks.
 */
#ifndef TEST_POISON_H
#define TEST_POISON_H

#include "tests/support/gen.h"
#include "tests/support/incoming.h"

enum { POISON_ZERO, POISON_NAN, POISON_INFINITY, POISON_HUGE, POISONS };

/*
 * Overwrites every number that the masks keep from all results: keys and values that no
 * query attends, queries that attend nothing, rows
 * of neither, scales of such keys and values, biases of pairs that something else
 * masks, and what only masked pairs use of relative_bias, relative_keys, segment_keys
 * and the biases of queries; also documents, segments and ranks beyond the lengths.
 * Returns how many it overwrote.
 */
int64_t poison_masked(struct test_inputs *inputs, int poison);

/* Whether poison_masked() overwrites anything in the input whose tensor lies this many
 * bytes from the start of struct test_inputs. */
int poison_reaches(const struct test_problem *problem, int data, size_t tensor);

/*
 * As poison_masked(), for the gradients that come in: those of rows that attend nothing
 * (but for LSE where there is a sink, which is all of such a row), of weights of pairs
 * that are masked, and of the sums of keys that no query attends.
 */
int64_t poison_incoming(const struct test_inputs *inputs,
                        struct test_incoming *incoming, int poison);

#endif
