/*
 * Takes the samples: rounds in which the machine's limits and every case have a turn.
 */
#ifndef BENCH_TIMING_H
#define BENCH_TIMING_H

#include "bench/result.h"

/* Warms up, then runs whole rounds, at least one, as long as another one that takes as
 * long as the last would end within seconds. Fills the samples of run's cases and
 * limits, its rounds and its seconds. */
void timing_run(struct run *run, double seconds);

/* Takes one more sample of each case, with a profile. */
void timing_profile(struct run *run);

#endif
