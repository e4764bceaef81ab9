/*
 * Compares the outputs of a call with the oracle.
 */
#ifndef TEST_CHECK_H
#define TEST_CHECK_H

#include "tests/support/gen.h"
#include "tests/support/outputs.h"

/*
 * Every element of every output that was asked for, and that nothing beside them was
 * written. Prints the problem and, for each output that is wrong, the first bad index
 * and both values. Returns the number of outputs that are wrong.
 */
int check_outputs(const struct test_inputs *inputs, const struct test_outputs *outputs);

/* One number: equal if infinite, NaN for NaN, else within the bound. */
int check_number(double got, double expected, double bound);

/* The same for a number that was rounded to a type in the end. */
int check_stored_number(int32_t dtype, double got, double expected, double bound);

/* Prints the text of a problem, its data and seed after a title. */
void check_print_problem(const char *title, const struct test_inputs *inputs);

#endif
