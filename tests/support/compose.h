/*
 * Random problems over all features.
 */
#ifndef TEST_COMPOSE_H
#define TEST_COMPOSE_H

#include "tests/support/test.h"

/* Problem number `number` of an endless list: sizes, features and seed all follow from
 * it. *data is a DATA_... that goes with it. Never of more than about 200 000 pairs. */
struct test_problem compose_problem(uint64_t number, int *data);

/* The same without what has no backward pass. */
struct test_problem compose_differentiable(uint64_t number, int *data);

#endif
