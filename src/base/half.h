/*
 * The 16-bit floating-point types: IEEE binary16 (f16) and bfloat16, the upper half of
 * an f32. By integer arithmetic, which no mode of the processor changes.
 *
 * From 16 bit everything is exact; a signalling NaN of f16 becomes quiet, as in
 * hardware, that of bf16 stays. To 16 bit rounds to nearest, ties to even, with
 * subnormals, and to infinity from half a unit above the largest number on. NaN becomes
 * a quiet NaN with its sign and the upper bits of its payload.
 */
#ifndef ATTN_BASE_HALF_H
#define ATTN_BASE_HALF_H

#include <string.h>

#include "base/compiler.h"

static inline uint32_t bits_of_f32(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float f32_of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* x / 2^shift rounded to nearest, ties to even, for 0 < shift < 32 and x < 2^31 */
static inline uint32_t shift_to_nearest(uint32_t x, uint32_t shift) {
    const uint32_t below_half = (UINT32_C(1) << (shift - 1)) - 1;
    return (x + below_half + (x >> shift & 1)) >> shift;
}

static inline float f32_of_bf16(uint16_t half) {
    return f32_of_bits((uint32_t)half << 16);
}

static inline uint16_t bf16_of_f32(float x) {
    const uint32_t bits = bits_of_f32(x), sign = bits >> 16 & 0x8000;
    const uint32_t size = bits & 0x7fffffff;
    const bool nan = size > 0x7f800000;
    return (uint16_t)(sign | (nan ? size >> 16 | 0x40 : shift_to_nearest(size, 16)));
}

static inline float f32_of_f16(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, size = half & 0x7fff;
    if (size < 0x400) { /* a multiple of 2^-24, which is no subnormal of f32 */
        return f32_of_bits(sign | bits_of_f32((float)size * 0x1p-24f));
    }
    if (size >= 0x7c00) {
        const uint32_t quiet = size > 0x7c00 ? 0x400000 : 0;
        return f32_of_bits(sign | 0x7f800000 | quiet | size << 13);
    }
    return f32_of_bits(sign | ((size << 13) + ((127 - 15) << 23)));
}

static inline uint16_t f16_of_f32(float x) {
    const uint32_t bits = bits_of_f32(x), sign = bits >> 16 & 0x8000;
    const uint32_t size = bits & 0x7fffffff, exponent = size >> 23;
    uint32_t half;
    if (size > 0x7f800000) {
        half = 0x7e00 | (size >> 13 & 0x3ff);
    } else if (exponent >= 127 + 16) {
        half = 0x7c00;
    } else if (exponent > 127 - 15) { /* rounding up may carry into the exponent */
        half = shift_to_nearest(size - ((127 - 15) << 23), 13);
    } else if (exponent >= 127 - 25) { /* to a multiple of 2^-24 */
        half = shift_to_nearest((size & 0x7fffff) | 0x800000, 126 - exponent);
    } else {
        half = 0;
    }
    return (uint16_t)(sign | half);
}

#endif
