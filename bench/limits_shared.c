/*
 * The limits as a module for programs to load: ./dev peers shows them beside the times
 * of whole libraries.
 */
#include "bench/limits_shared.h"

#include "bench/limits.h"

/* The best of so many: what ran before may still be falling asleep. */
enum { TRIES = 3 };

/* Kept between calls: to write it takes longer than to measure. */
static struct read_buffer buffer;
static int32_t buffer_threads;

void attn_limits_measure(int32_t threads, double *flops, double *bytes) {
    if (threads > buffer_threads) {
        read_buffer_close(&buffer);
        read_buffer_open(&buffer, threads);
        buffer_threads = threads;
    }
    struct limits limits = {.threads = threads};
    for (int i = 0; i < TRIES; i++) {
        limits_measure(&limits, &buffer);
    }
    *flops = samples_max(&limits.fma);
    *bytes = samples_max(&limits.read);
    limits_close(&limits);
}
