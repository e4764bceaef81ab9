/*
 * What the machine allows: multiply-adds per second and bytes read per second, by
 * one thread or several.
 */
#ifndef BENCH_LIMITS_H
#define BENCH_LIMITS_H

#include <stdint.h>

#include "bench/stats.h"

struct limits {
    int32_t threads;
    struct samples fma;  /* FLOP/s, one a round */
    struct samples read; /* bytes/s, one a round */
};

/* Memory that is read to measure the bandwidth; thread counts share it. */
struct read_buffer {
    char *data;
    int64_t bytes;
};

/* A buffer fit for as many threads. */
void read_buffer_open(struct read_buffer *buffer, int32_t threads);
void read_buffer_close(struct read_buffer *buffer);

/* Adds one sample of both; takes about 50 milliseconds. */
void limits_measure(struct limits *limits, const struct read_buffer *buffer);
void limits_close(struct limits *limits);

#endif
