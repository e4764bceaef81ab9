/*
 * Medians and extremes of measured numbers.
 */
#include "bench/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/memory.h"

void samples_add(struct samples *samples, double value) {
    if (samples->count == samples->capacity) {
        samples->capacity = 2 * samples->capacity + 16;
        samples->value = memory_grow(samples->value, samples->capacity, sizeof(double));
    }
    samples->value[samples->count++] = value;
}

void samples_free(struct samples *samples) {
    free(samples->value);
    *samples = (struct samples){0};
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double samples_median(const struct samples *samples) {
    int count = samples->count;
    if (count == 0) {
        return NAN;
    }

    double *sorted = memory_get(count, sizeof(double));
    memcpy(sorted, samples->value, (size_t)count * sizeof(double));
    qsort(sorted, (size_t)count, sizeof(double), compare);
    double median = 0.5 * (sorted[(count - 1) / 2] + sorted[count / 2]);
    free(sorted);
    return median;
}

double samples_min(const struct samples *samples) {
    double least = NAN;
    for (int i = 0; i < samples->count; i++) {
        least = fmin(least, samples->value[i]);
    }
    return least;
}

double samples_max(const struct samples *samples) {
    double most = NAN;
    for (int i = 0; i < samples->count; i++) {
        most = fmax(most, samples->value[i]);
    }
    return most;
}

double samples_median_ratio(const struct samples *a, const struct samples *b) {
    struct samples ratio = {0};
    for (int i = 0; i < a->count && i < b->count; i++) {
        samples_add(&ratio, a->value[i] / b->value[i]);
    }
    double median = samples_median(&ratio);
    samples_free(&ratio);
    return median;
}
