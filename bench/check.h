/*
 * Is what a case computes right? A fast wrong answer is worth no row in a table.
 */
#ifndef BENCH_CHECK_H
#define BENCH_CHECK_H

#include "bench/case.h"

/* Runs the case once and compares up to 64 rows of each of its outputs, spread over the
 * batch, heads and sequence, with a plain loop in float64. Notes the number of rows and
 * the largest error in *c; ends the program with the first wrong number. */
void check_case(struct bench_case *c);

/* The part of it for grad_query, grad_key and grad_value, after the case has run. */
void check_gradients(struct bench_case *c);

/* Compares a number with what it should be. Notes its error, as a part of what is
 * allowed, in *c; ends the program if it is more. */
void check_number(struct bench_case *c, const char *what, int64_t b, int64_t h,
                  int64_t row, int64_t column, double got, double expected,
                  double allowed);

#endif
