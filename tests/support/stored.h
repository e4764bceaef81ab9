/*
 * The storage types by their definition, in float64: fields of a number and the power
 * of two they stand for. Nothing here is the library's.
 */
#ifndef TEST_STORED_H
#define TEST_STORED_H

#include <stdint.h>

/* Bytes of an element. */
int stored_size(int32_t dtype);

/* The bits of the f32 that an element becomes. */
uint32_t stored_widened(int32_t dtype, uint32_t bits);

/* The bits of the element that the f32 of these bits becomes; not for ATTN_I8. */
uint32_t stored_narrowed(int32_t dtype, uint32_t bits);

/* A 16-bit type: the value of the number of these fields without the sign, which may be
 * infinity's, taken for one more number. */
double stored_size_of(int32_t dtype, uint32_t bits);

/* The number that an element stands for; a byte without its scale. */
float stored_float(int32_t dtype, uint32_t bits);

/* A 16-bit type: the bits of the nearest element to any number, rounded once. */
uint32_t stored_nearest(int32_t dtype, double x);

/* Bits of a float: of any exponent, or of those around f16's; some NaN and infinite. */
uint32_t stored_some_float(uint64_t random_bits);

#endif
