/*
 * How the tensors of a test lie in memory: strides with gaps, and blocks that start a
 * few elements after a multiple of 64.
 */
#ifndef TEST_LAYOUT_H
#define TEST_LAYOUT_H

#include "tests/support/random.h"
#include "tests/support/test.h"

/* Strides for the shape of a tensor, with gaps in half of the cases. With bshd
 * dimension 2 is outside of dimension 1. */
void layout_strides(attn_tensor *tensor, int bshd, struct random *random);

/* Points a tensor whose shape and strides are set into a new block of memory filled
 * with ones: NaN, -1 or "attend". Release the block with free(). */
void *layout_place(attn_tensor *tensor, struct random *random);

#endif
