/*
 * The band: causal, prefix and window. They leave each row one interval of keys,
 *
 *     first(i) = p - left,  end(i) = min(max(p + 1, prefix), p + right + 1)
 *
 * with p the row's position, and both ends grow with i: the interval of a range of rows
 * goes from the first of the first row to the end of the last, and a loop over tiles
 * needs to visit no others. Lengths are no matter here: a head's rows and keys end
 * where they do.
 */
#include "core/mask.h"

#include <math.h>

#include "base/arith.h"

/* The first key of the row at position p; positions and window lie within 2^53, so sums
 * fit. */
static int64_t band_first(const struct problem *problem, int64_t p) {
    return problem->left < 0 ? INT64_MIN : p - problem->left;
}

/* The end of its keys. */
static int64_t band_end(const struct problem *problem, int64_t p, int64_t prefix) {
    int64_t end = problem->causal ? max_i64(p + 1, prefix) : INT64_MAX;
    if (problem->right >= 0) {
        end = min_i64(end, p + problem->right + 1);
    }
    return end;
}

/* first(i), from 0 to the number of keys. */
static int64_t first_key(const struct head *head, int64_t i) {
    const int64_t first = band_first(head->problem, i + head->offset);
    return min_i64(head->keys, max_i64(0, first));
}

/* end(i), not beyond the keys; may be below first(i): an empty interval. */
static int64_t end_key(const struct head *head, int64_t i) {
    return min_i64(head->keys, band_end(head->problem, i + head->offset, head->prefix));
}

void attn_band_line(const struct head *head, int64_t row, int64_t *first,
                    int64_t *end) {
    const int64_t p = row + head->offset;
    *first = band_first(head->problem, p);
    *end = band_end(head->problem, p, INT64_MIN);
}

void attn_band_keys(const struct head *head, int64_t row, int64_t rows, int64_t *first,
                    int64_t *end) {
    *first = first_key(head, row);
    *end = max_i64(*first, end_key(head, row + rows - 1));
}

static bool present(const struct problem *problem) {
    return problem->causal || problem->left >= 0 || problem->right >= 0;
}

static enum cover cover(const struct head *head, const struct tile *tile,
                        const struct kernels *kernels) {
    (void)kernels;
    const int64_t last = tile->row + tile->rows - 1, end = tile->key + tile->keys;
    if (first_key(head, tile->row) >= end || end_key(head, last) <= tile->key) {
        return COVER_NONE;
    }
    if (first_key(head, last) <= tile->key && end_key(head, tile->row) >= end) {
        return COVER_ALL;
    }
    return COVER_SOME;
}

static void apply(const struct head *head, const struct tile *tile,
                  const struct kernels *kernels, float *scores, int64_t ld) {
    (void)kernels;
    for (int r = 0; r < tile->rows; r++) {
        float *row = scores + r * ld;
        int64_t first = first_key(head, tile->row + r) - tile->key;
        int64_t end = end_key(head, tile->row + r) - tile->key;
        for (int64_t j = 0; j < min_i64(first, tile->keys); j++) {
            row[j] = -INFINITY;
        }
        for (int64_t j = max_i64(end, 0); j < tile->keys; j++) {
            row[j] = -INFINITY;
        }
    }
}

const struct mask attn_mask_band = {
    .name = "band (causal, prefix, window)",
    .present = present,
    .cover = cover,
    .apply = apply,
};
