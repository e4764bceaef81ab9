/*
 * The gradients that come into a backward call: those of out, LSE, weights and key
 * sums. Laid out and filled from the problem's seed like its inputs.
 */
#ifndef TEST_INCOMING_H
#define TEST_INCOMING_H

#include "tests/support/gen.h"

enum { OF_OUT, OF_LSE, OF_WEIGHTS, OF_KEY_SUMS, INCOMING };

/* Sets of them: bit 1 << OF_OUT and so on. */
enum { ONLY_OF_OUT = 1, ALL_INCOMING = (1 << INCOMING) - 1 };

struct test_incoming {
    attn_tensor tensor[INCOMING]; /* rank 0: not given */
    void *block[INCOMING];
};

void incoming_open(struct test_incoming *incoming, const struct test_problem *problem,
                   unsigned given);
void incoming_close(struct test_incoming *incoming);

const char *incoming_name(int which);

/* An element, or 0 if this one is not given. (Those of rank 3 do not look at i0.) */
double incoming_at(const struct test_incoming *incoming, int which, int64_t i0,
                   int64_t i1, int64_t i2, int64_t i3);

/* As members of args. */
void incoming_give(const struct test_incoming *incoming, attn_backward_args *args);

#endif
