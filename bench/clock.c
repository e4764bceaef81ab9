/*
 * The monotonic clock. Reading it takes some tens of nanoseconds, nothing beside the
 * 20 milliseconds that a sample lasts.
 */
#include "bench/clock.h"

#include <time.h>

double clock_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
