/*
 * The vector vocabulary (see vec_scalar.h) for 64-bit ARM: four lanes.
 */
#ifndef ATTN_KERNEL_VEC_H
#define ATTN_KERNEL_VEC_H

#include <arm_neon.h>
#include <string.h>

#include "base/compiler.h"

enum { WIDTH = 4 };
typedef float32x4_t vec;
typedef uint32x4_t vec_mask;

static inline vec vec_set(float x) {
    return vdupq_n_f32(x);
}
static inline vec vec_load(const float *p) {
    return vld1q_f32(p);
}
static inline vec vec_iota(void) {
    static const float lane[4] = {0, 1, 2, 3};
    return vld1q_f32(lane);
}
static inline vec vec_held(vec a) {
    __asm__("" : "+w"(a));
    return a;
}
static inline void vec_store(float *p, vec a) {
    vst1q_f32(p, a);
}
static inline vec vec_load_part(const float *p, int n, float fill) {
    float lane[4] = {fill, fill, fill, fill};
    memcpy(lane, p, (size_t)n * sizeof *p);
    return vld1q_f32(lane);
}
static inline void vec_store_part(float *p, int n, vec a) {
    float lane[4];
    vst1q_f32(lane, a);
    memcpy(p, lane, (size_t)n * sizeof *p);
}
static inline vec vec_from_bf16(uint16x4_t halves) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(halves), 16));
}
/* The upper halves, to nearest even; NaN quiet and never rounded to infinity */
static inline uint16x4_t vec_to_bf16(vec a) {
    const uint32x4_t bits = vreinterpretq_u32_f32(a), upper = vshrq_n_u32(bits, 16);
    const uint32x4_t odd = vandq_u32(upper, vdupq_n_u32(1));
    uint32x4_t near = vaddq_u32(bits, vdupq_n_u32(0x7fff));
    near = vshrq_n_u32(vaddq_u32(near, odd), 16);
    const uint32x4_t quiet = vorrq_u32(upper, vdupq_n_u32(0x40));
    return vmovn_u32(vbslq_u32(vceqq_f32(a, a), near, quiet));
}
/*
 * Neither FZ nor FZ16 touches halves in a conversion. AHP, DN and the rounding mode
 * would: they are as a C program starts.
 */
static inline vec vec_from_f16(uint16x4_t halves) {
    return vcvt_f32_f16(vreinterpret_f16_u16(halves));
}
static inline uint16x4_t vec_to_f16(vec a) {
    return vreinterpret_u16_f16(vcvt_f16_f32(a));
}
static inline vec vec_load_bf16(const uint16_t *p) {
    return vec_from_bf16(vld1_u16(p));
}
static inline uint16x4_t load_halves(const uint16_t *p, int n) {
    uint16_t lane[4] = {0};
    memcpy(lane, p, (size_t)n * sizeof *p);
    return vld1_u16(lane);
}
static inline void store_halves(uint16_t *p, int n, uint16x4_t halves) {
    uint16_t lane[4];
    vst1_u16(lane, halves);
    memcpy(p, lane, (size_t)n * sizeof *p);
}
static inline vec vec_load_bf16_part(const uint16_t *p, int n) {
    return vec_from_bf16(load_halves(p, n));
}
static inline void vec_store_bf16(uint16_t *p, vec a) {
    vst1_u16(p, vec_to_bf16(a));
}
static inline void vec_store_bf16_part(uint16_t *p, int n, vec a) {
    store_halves(p, n, vec_to_bf16(a));
}
static inline vec vec_load_f16(const uint16_t *p) {
    return vec_from_f16(vld1_u16(p));
}
static inline vec vec_load_f16_part(const uint16_t *p, int n) {
    return vec_from_f16(load_halves(p, n));
}
static inline void vec_store_f16(uint16_t *p, vec a) {
    vst1_u16(p, vec_to_f16(a));
}
static inline void vec_store_f16_part(uint16_t *p, int n, vec a) {
    store_halves(p, n, vec_to_f16(a));
}
static inline vec vec_load_i8_part(const int8_t *p, int n) {
    int8_t bytes[8] = {0};
    memcpy(bytes, p, (size_t)n);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vld1_s8(bytes)))));
}
static inline vec vec_load_i8(const int8_t *p) {
    return vec_load_i8_part(p, WIDTH);
}
static inline void vec_store_i8_part(int8_t *p, int n, vec a) {
    const int16x4_t words = vmovn_s32(vcvtq_s32_f32(a));
    int8_t bytes[8];
    vst1_s8(bytes, vmovn_s16(vcombine_s16(words, words)));
    memcpy(p, bytes, (size_t)n);
}
static inline void vec_store_i8(int8_t *p, vec a) {
    vec_store_i8_part(p, WIDTH, a);
}
static inline void vec_load_pairs(const float *p, vec *even, vec *odd) {
    const float32x4x2_t both = vld2q_f32(p);
    *even = both.val[0];
    *odd = both.val[1];
}
static inline void vec_store_pairs(float *p, vec even, vec odd) {
    vst2q_f32(p, (float32x4x2_t){{even, odd}});
}
static inline vec vec_add(vec a, vec b) {
    return vaddq_f32(a, b);
}
static inline vec vec_sub(vec a, vec b) {
    return vsubq_f32(a, b);
}
static inline vec vec_mul(vec a, vec b) {
    return vmulq_f32(a, b);
}
static inline vec vec_div(vec a, vec b) {
    return vdivq_f32(a, b);
}
static inline vec vec_inverse(vec a) {
    return vec_div(vec_set(1.0f), a);
}
static inline vec vec_mulsub(vec a, vec b, vec c) {
    return vnegq_f32(vfmsq_f32(c, a, b));
}
static inline vec vec_muladd(vec a, vec b, vec c) {
    return vfmaq_f32(c, a, b);
}
static inline vec vec_max(vec a, vec b) {
    /* by comparison: vmaxq would return NaN where one is NaN */
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
static inline vec vec_abs(vec a) {
    return vabsq_f32(a);
}
static inline vec vec_copysign(vec a, vec b) {
    return vbslq_f32(vdupq_n_u32(0x80000000u), b, a);
}
enum { ROOTS = 1 };
static inline vec vec_root_power(vec z) {
    int32x4_t bits = vaddq_s32(vreinterpretq_s32_f32(z), vdupq_n_s32(127));
    return vreinterpretq_f32_s32(vshlq_n_s32(bits, 23));
}
static inline vec vec_zero_below(vec x, vec least, vec a) {
    return vreinterpretq_f32_u32(
        vbicq_u32(vreinterpretq_u32_f32(a), vcltq_f32(x, least)));
}
static inline vec_mask vec_less(vec a, vec b) {
    return vcltq_f32(a, b);
}
static inline vec_mask vec_equal(vec a, vec b) {
    return vceqq_f32(a, b);
}
static inline vec vec_select(vec_mask mask, vec yes, vec no) {
    return vbslq_f32(mask, yes, no);
}
static inline bool vec_any(vec_mask mask) {
    return vmaxvq_u32(mask) != 0;
}
static inline bool vec_all(vec_mask mask) {
    return vminvq_u32(mask) != 0;
}
static inline vec_mask vec_bytes_part(const uint8_t *p, int n) {
    uint8_t bytes[8] = {0};
    memcpy(bytes, p, (size_t)n);
    uint32x4_t wide = vmovl_u16(vget_low_u16(vmovl_u8(vld1_u8(bytes))));
    return vtstq_u32(wide, wide);
}
static inline vec_mask vec_bytes(const uint8_t *p) {
    return vec_bytes_part(p, WIDTH);
}
/* Both take halves first, as with wider vectors, and max the second of equal ones: a
 * zero keeps its sign. */
static inline float vec_hmax(vec a) {
    float lane[4];
    vst1q_f32(lane, a);
    const float x = lane[0] > lane[2] ? lane[0] : lane[2];
    const float y = lane[1] > lane[3] ? lane[1] : lane[3];
    return x > y ? x : y;
}
static inline float vec_hsum(vec a) {
    float32x2_t half = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(vpadd_f32(half, half), 0);
}
enum { SPREAD = WIDTH };
/* The halves of a and of b added up, side by side */
static inline void vec_spread(float *to, vec a, vec b) {
    vst1q_f32(to, vaddq_f32(vcombine_f32(vget_low_f32(a), vget_low_f32(b)),
                            vcombine_f32(vget_high_f32(a), vget_high_f32(b))));
}
static inline void vec_gather(const float *from, vec *a, vec *b) {
    const vec x = vpaddq_f32(vld1q_f32(from), vld1q_f32(from + 4));
    const vec y = vpaddq_f32(vld1q_f32(from + 8), vld1q_f32(from + 12));
    *a = vuzp1q_f32(x, y);
    *b = vuzp2q_f32(x, y);
}
static inline void vec_fold(vec a, vec b, int distance, vec *low, vec *high) {
    if (distance == 2) {
        *low = vcombine_f32(vget_low_f32(a), vget_low_f32(b));
        *high = vcombine_f32(vget_high_f32(a), vget_high_f32(b));
    } else {
        *low = vuzp1q_f32(a, b);
        *high = vuzp2q_f32(a, b);
    }
}
static inline void vec_transpose(vec row[WIDTH]) {
    float32x4x2_t low = vzipq_f32(row[0], row[2]);
    float32x4x2_t high = vzipq_f32(row[1], row[3]);
    float32x4x2_t first = vzipq_f32(low.val[0], high.val[0]);
    float32x4x2_t last = vzipq_f32(low.val[1], high.val[1]);
    row[0] = first.val[0];
    row[1] = first.val[1];
    row[2] = last.val[0];
    row[3] = last.val[1];
}

#endif
