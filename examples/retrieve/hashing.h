/*
 * Bags of terms as vectors of a fixed length, by signed feature hashing.
 */
#ifndef RETRIEVE_HASHING_H
#define RETRIEVE_HASHING_H

#include <stdint.h>

#include "tfidf.h"

/* One head for each of heads hash seeds, seed and those after it. */
struct hashing {
    int heads;
    int dim;
    uint64_t seed;
};

/* Vectors of count bags, each of length 1, as an array (heads, count, dim). */
float *hashing_vectors(const struct hashing *hashing,
                       const struct vocabulary *vocabulary, const struct bag *bags,
                       int count);

/* How much of a term is in a vector that the heads hold their images of, head h at
 * vector + h * stride. */
float hashing_read(const struct hashing *hashing, const struct term *term,
                   const float *vector, size_t stride);

#endif
