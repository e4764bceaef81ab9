/*
 * The vector vocabulary in plain C: a vector of one float. It says what every
 * operation means; the other vec_*.h do the same to more lanes.
 */
#ifndef ATTN_KERNEL_VEC_H
#define ATTN_KERNEL_VEC_H

#include <math.h>
#include <string.h>

#include "base/half.h"

enum { WIDTH = 1 };
typedef float vec;
typedef bool vec_mask;

static inline vec vec_set(float x) {
    return x;
}
/* 0, 1, 2, ... */
static inline vec vec_iota(void) {
    return 0.0f;
}
static inline vec vec_load(const float *p) {
    return *p;
}
/* a, which stays in a register from here on where there are vectors */
static inline vec vec_held(vec a) {
    return a;
}
static inline void vec_store(float *p, vec a) {
    *p = a;
}
/* The first n lanes (0 < n < WIDTH) from memory, fill in the others */
static inline vec vec_load_part(const float *p, int n, float fill) {
    (void)p, (void)n;
    return fill;
}
/* The first n lanes (0 < n < WIDTH) to memory */
static inline void vec_store_part(float *p, int n, vec a) {
    (void)p, (void)n, (void)a;
}
/*
 * The storage types: bf16 and f16 with the bits that base/half.h gives, and signed
 * bytes, of which a is a whole number each to store. Missing lanes are 0.
 */
static inline vec vec_load_bf16(const uint16_t *p) {
    return f32_of_bf16(*p);
}
static inline vec vec_load_bf16_part(const uint16_t *p, int n) {
    (void)p, (void)n;
    return 0.0f;
}
static inline void vec_store_bf16(uint16_t *p, vec a) {
    *p = bf16_of_f32(a);
}
static inline void vec_store_bf16_part(uint16_t *p, int n, vec a) {
    (void)p, (void)n, (void)a;
}
static inline vec vec_load_f16(const uint16_t *p) {
    return f32_of_f16(*p);
}
static inline vec vec_load_f16_part(const uint16_t *p, int n) {
    (void)p, (void)n;
    return 0.0f;
}
static inline void vec_store_f16(uint16_t *p, vec a) {
    *p = f16_of_f32(a);
}
static inline void vec_store_f16_part(uint16_t *p, int n, vec a) {
    (void)p, (void)n, (void)a;
}
static inline vec vec_load_i8(const int8_t *p) {
    return (float)*p;
}
static inline vec vec_load_i8_part(const int8_t *p, int n) {
    (void)p, (void)n;
    return 0.0f;
}
static inline void vec_store_i8(int8_t *p, vec a) {
    *p = (int8_t)a;
}
static inline void vec_store_i8_part(int8_t *p, int n, vec a) {
    (void)p, (void)n, (void)a;
}
/* Elements 0, 2, 4 ... and 1, 3, 5 ... of 2 WIDTH in memory */
static inline void vec_load_pairs(const float *p, vec *even, vec *odd) {
    *even = p[0];
    *odd = p[1];
}
static inline void vec_store_pairs(float *p, vec even, vec odd) {
    p[0] = even;
    p[1] = odd;
}
static inline vec vec_add(vec a, vec b) {
    return a + b;
}
static inline vec vec_sub(vec a, vec b) {
    return a - b;
}
static inline vec vec_mul(vec a, vec b) {
    return a * b;
}
static inline vec vec_div(vec a, vec b) {
    return a / b;
}
/* 1 / a within 2u, for 2^-126 < |a| < 2^126 */
static inline vec vec_inverse(vec a) {
    return vec_div(vec_set(1.0f), a);
}
/* a b - c, rounded once */
static inline vec vec_mulsub(vec a, vec b, vec c) {
    return fmaf(a, b, -c);
}
/* a b + c, rounded once or twice, whichever is faster */
static inline vec vec_muladd(vec a, vec b, vec c) {
    return a * b + c;
}
/* The larger; b if one of them is NaN */
static inline vec vec_max(vec a, vec b) {
    return a > b ? a : b;
}
static inline vec vec_abs(vec a) {
    return fabsf(a);
}
/* |a| with the sign of b */
static inline vec vec_copysign(vec a, vec b) {
    return copysignf(a, b);
}
/*
 * 2^n for z = n + 1.5 2^23 / ROOTS, where n is a multiple of 1 / ROOTS from -126 to 0;
 * anything for other z. Where registers are wide enough to look up roots of 2 there are
 * as many as lanes, each rounded once.
 */
enum { ROOTS = 1 };
static inline vec vec_root_power(vec z) {
    union {
        float value;
        uint32_t bits;
    } power = {z};
    power.bits = (power.bits + 127) << 23;
    return power.value;
}
/* a, but 0 where x < least */
static inline vec vec_zero_below(vec x, vec least, vec a) {
    return x < least ? 0.0f : a;
}
/* False where one is NaN */
static inline vec_mask vec_less(vec a, vec b) {
    return a < b;
}
static inline vec_mask vec_equal(vec a, vec b) {
    return a == b;
}
static inline vec vec_select(vec_mask mask, vec yes, vec no) {
    return mask ? yes : no;
}
static inline bool vec_any(vec_mask mask) {
    return mask;
}
static inline bool vec_all(vec_mask mask) {
    return mask;
}
/* Lanes whose byte is not 0 */
static inline vec_mask vec_bytes(const uint8_t *p) {
    return *p != 0;
}
static inline vec_mask vec_bytes_part(const uint8_t *p, int n) {
    (void)p, (void)n;
    return false;
}
/* Over all lanes; the order is fixed */
static inline float vec_hmax(vec a) {
    return a;
}
static inline float vec_hsum(vec a) {
    return a;
}
/*
 * Sums of many vectors, by pairs: vec_spread() keeps those of a and b in SPREAD floats,
 * and vec_gather() makes of WIDTH such places, one after the other, the sums of every a
 * and of every b, a lane for each. The order is fixed, and the same for a and b.
 */
enum { SPREAD = 2 };
static inline void vec_spread(float *to, vec a, vec b) {
    to[0] = a;
    to[1] = b;
}
static inline void vec_gather(const float *from, vec *a, vec *b) {
    *a = from[0];
    *b = from[1];
}
/*
 * The lanes of a and b in pairs that are `distance` apart, one of each pair in low and
 * one in high: added up, each vector takes half as many lanes, side by side
 */
static inline void vec_fold(vec a, vec b, int distance, vec *low, vec *high) {
    (void)distance; /* one lane has no halves: never asked for */
    *low = a;
    *high = b;
}
/* Transposes a square of WIDTH rows in place. Where loads can do a part of that,
 * VEC_LOAD_TURNED says that there is a vec_load_turned(), see tmpl_product.h */
static inline void vec_transpose(vec row[WIDTH]) {
    (void)row;
}

#endif
