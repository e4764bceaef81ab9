/*
 * The relative position bias of T5 (Raffel et al. 2020): each distance falls into a
 * bucket, each bucket has a number for each head.
 *
 * Buckets of distances back, p - j, are wider the farther they are; where each starts
 * is found once for a call. A tile has one number for each of its rows + keys - 1
 * distances, its band, from that of the last row and first key on: row r of scores gets
 * the numbers from rows - 1 - r on.
 */
#include <math.h>
#include <string.h>

#include "core/work.h"

static bool present(const struct problem *problem) {
    return problem->relative_buckets > 0;
}

/* Buckets for one side. */
static int side(const struct problem *problem) {
    return problem->relative_both ? problem->relative_buckets / 2
                                  : problem->relative_buckets;
}

static bool book(struct layout *layout, const struct toolbox *tools) {
    const int64_t band = (int64_t)tools->recipe.tile_q + tools->recipe.tile_k;
    return attn_layout_book(layout, REGION_BAND, band, 1, sizeof(float));
}

/*
 * The bucket of a distance by the formula of attn/desc.h. Where the logarithms would
 * give a whole number, rounding must not decide which side of it they fall on.
 */
static int64_t bucket_by_formula(const struct problem *problem, int64_t distance) {
    const int64_t n = side(problem), exact = n / 2;
    if (distance < exact) {
        return distance;
    }
    const double e = (double)exact;
    const double all = log((double)problem->relative_distance / e);
    const double steps = log((double)distance / e) / all * (double)(n - exact);
    const double whole = nearbyint(steps);
    const double floor_of_steps = fabs(steps - whole) < 1e-9 ? whole : floor(steps);
    return floor_of_steps < (double)(n - exact) ? exact + (int64_t)floor_of_steps
                                                : n - 1;
}

/* The least distance whose bucket is at least this one: one guess, then steps. */
static int64_t start_of_bucket(const struct problem *problem, int64_t bucket) {
    const int64_t n = side(problem), exact = n / 2;
    if (bucket <= exact) {
        return bucket;
    }
    const double share = (double)(bucket - exact) / (double)(n - exact);
    const double ratio = (double)problem->relative_distance / (double)exact;
    int64_t distance = (int64_t)((double)exact * pow(ratio, share));
    while (bucket_by_formula(problem, distance) >= bucket) {
        distance--;
    }
    while (bucket_by_formula(problem, distance) < bucket) {
        distance++;
    }
    return distance;
}

int64_t attn_relative_bias_buckets(const struct problem *problem) {
    return problem->relative_buckets > 0 ? side(problem) : 0;
}

void attn_relative_bias_starts(const struct problem *problem, int64_t *starts) {
    for (int k = 0; k < side(problem); k++) {
        starts[k] = start_of_bucket(problem, k);
    }
}

/* A bucket, and where it is likely that the next distance falls: close by. */
struct finder {
    const int64_t *starts;
    int64_t buckets, last;
    bool both;
};

static struct finder finder_of(const struct work *work) {
    const struct problem *problem = work->tools->problem;
    const int buckets = side(problem);
    return (struct finder){work->tools->bucket_starts, buckets, buckets - 1,
                           problem->relative_both};
}

/* The bucket of j - p. */
static int64_t find(struct finder *finder, int64_t distance) {
    const bool after = distance > 0;
    const int64_t size = !after ? -distance : finder->both ? distance : 0;
    while (finder->starts[finder->last] > size) {
        finder->last--;
    }
    while (finder->last + 1 < finder->buckets &&
           finder->starts[finder->last + 1] <= size) {
        finder->last++;
    }
    return finder->last + (after && finder->both ? finder->buckets : 0);
}

static void apply(struct work *work, const struct head *head, const struct tile *tile,
                  float *scores, int64_t ld) {
    const struct view *table = &head->call->tables[TABLE_RELATIVE_BIAS];
    const int distances = tile->rows + tile->keys - 1;
    const int64_t first = tile_distance(head, tile) - (tile->rows - 1);
    struct finder finder = finder_of(work);
    float *band = work_floats(work, REGION_BAND);
    for (int t = 0; t < distances; t++) {
        band[t] = *view_at(table, 0, head->h, find(&finder, first + t), 0);
    }
    work->tools->kernels->add_bias(scores, ld, tile->rows, tile->keys,
                                   band + tile->rows - 1, -1, 1);
}

/* The gradients of a bucket are summed before they meet the total. */
static void gradient(struct work *work, const struct head *head,
                     const struct tile *tile, float *gradients, int64_t ld) {
    const struct view *total = &head->call->grad_tables[TABLE_RELATIVE_BIAS];
    const int distances = tile->rows + tile->keys - 1;
    const int64_t first = tile_distance(head, tile) - (tile->rows - 1);
    float *band = work_floats(work, REGION_BAND);
    if (total->data == NULL) {
        return;
    }
    attn_band_sums(work, tile, gradients, ld, band);
    struct finder finder = finder_of(work);
    int64_t bucket = find(&finder, first);
    float sum = 0.0f;
    for (int t = 0; t < distances; t++) {
        const int64_t next = find(&finder, first + t);
        if (next != bucket) {
            *view_at(total, 0, head->h, bucket, 0) += sum;
            bucket = next;
            sum = 0.0f;
        }
        sum += band[t];
    }
    *view_at(total, 0, head->h, bucket, 0) += sum;
}

const struct term attn_term_relative_bias = {
    .name = "relative bias",
    .present = present,
    .book = book,
    .apply = apply,
    .gradient = gradient,
};
