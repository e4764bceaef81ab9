/*
 * What the samples of a case say.
 */
#ifndef BENCH_RESULT_H
#define BENCH_RESULT_H

#include "bench/case.h"
#include "bench/limits.h"

/* All cases of a run and the limits of their thread counts. */
struct run {
    struct bench_case *cases;
    int case_count;
    struct limits *limits; /* in ascending order of threads, 1 among them */
    int limit_count;
    int rounds;
    double seconds; /* that the rounds took together */
};

/* NaN where a number has no meaning for the case. */
struct result {
    double median, least;  /* seconds of a call, or of both */
    double flops, of_peak; /* FLOP/s; part of the FMA peak of as many threads */
    double bytes, of_read; /* bytes/s of key and value, read once; part of what as
                              many threads read. Only for fewer than 16 queries
                              and forward. */
    double of_limit;       /* what multiplying or reading alone would take at least, the
                              larger, over the time; likewise */
    double of_full;        /* time over that of the same case without masks and score
                              terms */
    const struct bench_case *full; /* that case, or NULL if it is not in the run */
    double kept;                   /* part of the pairs that masks leave */
    double of_forward; /* time of the backward over that of the forward call */
};

struct result result_of(const struct run *run, const struct bench_case *c);

const struct limits *limits_of(const struct run *run, int32_t threads);

/* Operations of the products, whether or not a mask lets some be skipped: two forward,
 * and five of the same size backward. */
double case_flops(const struct bench_case *c);

/* Bytes of key and value within the lengths. */
double case_kv_bytes(const struct bench_case *c);

#endif
