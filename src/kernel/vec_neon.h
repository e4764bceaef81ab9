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
static inline vec vec_scale2(vec a, vec n, vec z) {
    int32x4_t bits = vaddq_s32(vreinterpretq_s32_f32(z), vdupq_n_s32(127));
    (void)n;
    return vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32(bits, 23)));
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
static inline float vec_hmax(vec a) {
    return vmaxnmvq_f32(a);
}
static inline float vec_hsum(vec a) {
    return vaddvq_f32(a);
}
static inline float vec_first(vec a) {
    return vgetq_lane_f32(a, 0);
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
