/*
 * Seconds on a clock that only moves forward.
 */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

double clock_seconds(void);

#endif
