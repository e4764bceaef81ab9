/*
 * Single elements of a tensor of rank 1 to 4, by the broadcasting rule of numpy:
 * dimensions are aligned at the last, and a dimension of size 1 repeats.
 */
#ifndef TEST_ELEMENT_H
#define TEST_ELEMENT_H

#include "tests/support/stored.h"
#include "tests/support/test.h"

/* Bytes of one. */
size_t element_size(int32_t dtype);

void *element_at(const attn_tensor *tensor, int64_t i0, int64_t i1, int64_t i2,
                 int64_t i3);

/* A number of f32, or of a storage type: f16, bf16, i8 without its scale. */
float element_float(const attn_tensor *tensor, int64_t i0, int64_t i1, int64_t i2,
                    int64_t i3);

/* Puts the nearest number that the type has, of i8 from -128 to 127, in a place. */
void element_put(int32_t dtype, void *element, double x);

/* Numbers one after the other, of any such type; bytes times their row's scale. */
struct element_row {
    const void *data;
    int32_t dtype;
    double scale;
};

static inline double element_in(const struct element_row *row, int64_t c) {
    switch (row->dtype) {
    case ATTN_F32:
        return ((const float *)row->data)[c];
    case ATTN_I8:
        return row->scale * ((const int8_t *)row->data)[c];
    default:
        return stored_float(row->dtype, ((const uint16_t *)row->data)[c]);
    }
}

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
