/*
 * One measurement of what the machine allows, for callers in other languages.
 */
#ifndef BENCH_LIMITS_SHARED_H
#define BENCH_LIMITS_SHARED_H

#include <stdint.h>

/* FLOP/s and bytes read per second, by as many threads, at least one. Takes about 150
 * milliseconds, and longer where the number of threads is the largest so far. Not for
 * several threads at once; without memory it ends the program. */
__attribute__((visibility("default"))) void
attn_limits_measure(int32_t threads, double *flops, double *bytes);

#endif
