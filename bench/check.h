/*
 * Is what a case computes right? A fast wrong answer is worth no row in a table.
 */
#ifndef BENCH_CHECK_H
#define BENCH_CHECK_H

#include "bench/case.h"

/* Runs the case once and compares up to 64 rows of its output, spread over the batch,
 * heads and queries, with a plain loop in float64. Notes the number of rows and the
 * largest error in *c; ends the program with the first wrong number. */
void check_case(struct bench_case *c);

#endif
