/*
 * Signed feature hashing.
 *
 * A head's seed gives every term a few of dim places, each with a sign, and a bag
 * becomes the sum of its signed weights. Dot products survive this: terms that share a
 * place have random signs, so what they add to a product is zero on average (Weinberger
 * et al., "Feature Hashing for Large Scale Multitask Learning", 2009). With a single
 * place for each term those errors are rare but as large as a true match; with a few
 * they are frequent and small, which a softmax forgives (Kane and Nelson, "Sparser
 * Johnson-Lindenstrauss Transforms", 2012). Heads with other seeds make other mistakes,
 * so several agree where one may be wrong.
 *
 * The same structure read backwards is the count sketch (Charikar, Chen and
 * Farach-Colton, 2002): what stands in a term's places is an estimate of its weight in
 * the bag, or in a sum of bags; the median over the heads is a good one.
 */
#include "hashing.h"

#include <math.h>
#include <stdlib.h>

#include "fail.h"
#include "options.h"
#include "progress.h"

enum { PLACES = 4 }; /* of a term in a vector */

struct place {
    int index;
    float sign;
};

/* The finaliser of splitmix64, which spreads every bit over all others. */
static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void find_places(struct place place[PLACES], const struct hashing *hashing,
                        int head, uint64_t hash) {
    uint64_t state = hash ^ mix((hashing->seed + (uint64_t)head) * 0x9e3779b97f4a7c15u);
    for (int i = 0; i < PLACES; i++) {
        uint64_t bits = mix(state += 0x9e3779b97f4a7c15u);
        uint64_t fraction = bits >> 32; /* of 2^32 */
        place[i].index = (int)((fraction * (uint64_t)hashing->dim) >> 32);
        place[i].sign = (bits & 1) != 0 ? 1.0f : -1.0f;
    }
}

static void normalise(float *vector, int dim) {
    float sum = 0;
    for (int i = 0; i < dim; i++) {
        sum += vector[i] * vector[i];
    }
    /* Terms can cancel each other, and a passage of common words has none. */
    float factor = sum > 0 ? 1 / sqrtf(sum) : 0;
    for (int i = 0; i < dim; i++) {
        vector[i] *= factor;
    }
}

float *hashing_vectors(const struct hashing *hashing,
                       const struct vocabulary *vocabulary, const struct bag *bags,
                       int count) {
    size_t vectors = (size_t)hashing->heads * (size_t)count;
    float *all = memory_get(vectors * (size_t)hashing->dim, sizeof *all);
    float *vector = all;
    for (int head = 0; head < hashing->heads; head++) {
        for (int i = 0; i < count; i++, vector += hashing->dim) {
            for (int j = 0; j < bags[i].count; j++) {
                const struct weighted_term *item = &bags[i].item[j];
                struct place place[PLACES];
                find_places(place, hashing, head, vocabulary->term[item->term].hash);
                for (int k = 0; k < PLACES; k++) {
                    vector[place[k].index] += place[k].sign * item->weight;
                }
            }
            normalise(vector, hashing->dim);
        }
        progress_tick(head, hashing->heads);
    }
    return all;
}

static int compare(const void *a, const void *b) {
    float left = *(const float *)a;
    float right = *(const float *)b;
    return (left > right) - (left < right);
}

float hashing_read(const struct hashing *hashing, const struct term *term,
                   const float *vector, size_t stride) {
    float reading[MOST_HEADS] = {0};
    int heads = hashing->heads;
    for (int head = 0; head < heads; head++) {
        const float *image = vector + (size_t)head * stride;
        struct place place[PLACES];
        find_places(place, hashing, head, term->hash);
        for (int k = 0; k < PLACES; k++) {
            reading[head] += place[k].sign * image[place[k].index];
        }
    }
    qsort(reading, (size_t)heads, sizeof *reading, compare);
    return (reading[(heads - 1) / 2] + reading[heads / 2]) / 2;
}
