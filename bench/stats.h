/*
 * A list of measured numbers, one a round, and what is said about them.
 */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

struct samples {
    double *value;
    int count, capacity;
};

void samples_add(struct samples *samples, double value);
void samples_free(struct samples *samples);

/* NaN where there are none. */
double samples_median(const struct samples *samples);
double samples_min(const struct samples *samples);
double samples_max(const struct samples *samples);

/* Median of a / b, taken round by round: what drifts with the machine drifts in
 * both and cancels. NaN where there are none. */
double samples_median_ratio(const struct samples *a, const struct samples *b);

#endif
