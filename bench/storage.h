/*
 * Query, key, value and out as the types of a problem store them: 16 bits, or bytes
 * with a scale for each row.
 */
#ifndef BENCH_STORAGE_H
#define BENCH_STORAGE_H

#include "bench/inputs.h"

/* The ATTN_... of a STORE_... of a problem, and the bytes of a number. */
int32_t storage_dtype(int32_t type);
int64_t storage_bytes(int32_t type);

/*
 * Stores what inputs_make() made in types of fewer bits, and rounds the floats to what
 * is stored, so that whoever checks a result reads the same numbers.
 */
void storage_make(struct inputs *inputs, const struct test_problem *problem);
void storage_free(struct inputs *inputs);

/* Reads out back into its floats, after a call. */
void storage_read_out(struct inputs *inputs, const struct test_problem *problem);

/* The largest error of rounding a result of this size to the type of out. */
double storage_rounding(const struct test_problem *problem, double size);

#endif
