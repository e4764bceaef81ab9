/*
 * What a run prints and writes.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdio.h>

#include "bench/result.h"

/* The library, the machine's limits and a row for each case, for people. */
void report_table(const struct run *run, FILE *file);

/* A row for each case that says where its time went. */
void report_profile(const struct run *run, FILE *file);

/* Everything measured, as one JSON object. */
void report_json(const struct run *run, FILE *file);

#endif
