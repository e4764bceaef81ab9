/*
 * Single elements of a tensor of rank 1 to 4, by the broadcasting rule of numpy:
 * dimensions are aligned at the last, and a dimension of size 1 repeats.
 */
#ifndef TEST_ELEMENT_H
#define TEST_ELEMENT_H

#include "tests/support/test.h"

/* Bytes of one. */
size_t element_size(int32_t dtype);

void *element_at(const attn_tensor *tensor, int64_t i0, int64_t i1, int64_t i2,
                 int64_t i3);
float element_float(const attn_tensor *tensor, int64_t i0, int64_t i1, int64_t i2,
                    int64_t i3);

/* The number of elements, and the place of the n-th of them, the last index fastest.
 * Dimensions that the tensor lacks have index 0. */
int64_t element_count(const attn_tensor *tensor);
void element_index(const attn_tensor *tensor, int64_t n, int64_t index[4]);
void *element_nth(const attn_tensor *tensor, int64_t n);

/* Integers have rank 1 or 2. */
int64_t element_int(const attn_tensor *tensor, int64_t i0, int64_t i1);
void element_set_int(const attn_tensor *tensor, int64_t i0, int64_t i1, int64_t value);

/* Elements from the first to the last in memory, gaps included; 0 if there is none. */
int64_t element_extent(const attn_tensor *tensor);

#endif
