/*
 * Compares the outputs and gradients of a layer's calls with the oracle, and with each
 * other.
 */
#ifndef TEST_LAYER_CHECK_H
#define TEST_LAYER_CHECK_H

#include "tests/support/layer_oracle.h"

/* Output, weights and the like: each element, and that nothing beside them was
 * written. Fails the test, with the problem's number. */
void layer_check(struct layer_oracle *oracle, const struct layer_call *call);

/* All gradients. The first goes back on the tape. */
void layer_check_gradients(struct layer_oracle *oracle, const struct layer_call *call);

/* A problem, forwards and backwards, against the oracle. */
void layer_run_and_check(const struct layer_problem *problem);

#endif
