/*
 * The limits as a module for programs to load: ./dev peers shows them beside the times
 * of whole libraries.
 */
#include "bench/limits_shared.h"

#include "bench/limits.h"

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
    limits_measure(&limits, &buffer);
    *flops = samples_median(&limits.fma);
    *bytes = samples_median(&limits.read);
    limits_close(&limits);
}
