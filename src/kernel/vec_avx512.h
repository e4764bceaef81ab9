/*
 * The vector vocabulary (see vec_scalar.h) for AVX-512 F, BW, DQ and VL: sixteen
 * lanes.
 */
#ifndef ATTN_KERNEL_VEC_H
#define ATTN_KERNEL_VEC_H

#include <immintrin.h>

#include "base/compiler.h"

enum { WIDTH = 16 };
typedef __m512 vec;
typedef __mmask16 vec_mask;

static inline vec vec_set(float x) {
    return _mm512_set1_ps(x);
}
static inline vec vec_iota(void) {
    return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
static inline vec vec_load(const float *p) {
    return _mm512_loadu_ps(p);
}
static inline vec vec_held(vec a) {
    __asm__("" : "+v"(a));
    return a;
}
static inline void vec_store(float *p, vec a) {
    _mm512_storeu_ps(p, a);
}
static inline __mmask16 first_lanes(int n) {
    return (__mmask16)((1u << n) - 1);
}
static inline vec vec_load_part(const float *p, int n, float fill) {
    return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), first_lanes(n), p);
}
static inline void vec_store_part(float *p, int n, vec a) {
    _mm512_mask_storeu_ps(p, first_lanes(n), a);
}
static inline vec vec_from_bf16(__m256i halves) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
/* The upper halves, to nearest even; NaN quiet and never rounded to infinity.
 * VCVTNEPS2BF16 would make zeros of subnormals. */
static inline __m256i vec_to_bf16(vec a) {
    const __m512i bits = _mm512_castps_si512(a), upper = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    __m512i halves = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
    halves = _mm512_srli_epi32(_mm512_add_epi32(halves, odd), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    halves = _mm512_mask_or_epi32(halves, nan, upper, _mm512_set1_epi32(0x40));
    return _mm512_cvtepi32_epi16(halves);
}
/* The instructions for f16 heed neither FTZ nor DAZ for halves. */
static inline __m256i vec_to_f16(vec a) {
    return _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT);
}
static inline vec vec_from_i8(__m128i bytes) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}
static inline __m128i vec_to_i8(vec a) {
    return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a));
}
static inline vec vec_load_bf16(const uint16_t *p) {
    return vec_from_bf16(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static inline vec vec_load_bf16_part(const uint16_t *p, int n) {
    return vec_from_bf16(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}
static inline void vec_store_bf16(uint16_t *p, vec a) {
    _mm256_storeu_si256((__m256i *)(void *)p, vec_to_bf16(a));
}
static inline void vec_store_bf16_part(uint16_t *p, int n, vec a) {
    _mm256_mask_storeu_epi16(p, first_lanes(n), vec_to_bf16(a));
}
static inline vec vec_load_f16(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static inline vec vec_load_f16_part(const uint16_t *p, int n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}
static inline void vec_store_f16(uint16_t *p, vec a) {
    _mm256_storeu_si256((__m256i *)(void *)p, vec_to_f16(a));
}
static inline void vec_store_f16_part(uint16_t *p, int n, vec a) {
    _mm256_mask_storeu_epi16(p, first_lanes(n), vec_to_f16(a));
}
static inline vec vec_load_i8(const int8_t *p) {
    return vec_from_i8(_mm_loadu_si128((const __m128i *)(const void *)p));
}
static inline vec vec_load_i8_part(const int8_t *p, int n) {
    return vec_from_i8(_mm_maskz_loadu_epi8(first_lanes(n), p));
}
static inline void vec_store_i8(int8_t *p, vec a) {
    _mm_storeu_si128((__m128i *)(void *)p, vec_to_i8(a));
}
static inline void vec_store_i8_part(int8_t *p, int n, vec a) {
    _mm_mask_storeu_epi8(p, first_lanes(n), vec_to_i8(a));
}
static inline void vec_load_pairs(const float *p, vec *even, vec *odd) {
    const __m512i evens =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odds = _mm512_or_si512(evens, _mm512_set1_epi32(1));
    const vec a = _mm512_loadu_ps(p), b = _mm512_loadu_ps(p + 16);
    *even = _mm512_permutex2var_ps(a, evens, b);
    *odd = _mm512_permutex2var_ps(a, odds, b);
}
static inline void vec_store_pairs(float *p, vec even, vec odd) {
    const __m512i low =
        _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    _mm512_storeu_ps(p, _mm512_permutex2var_ps(even, low, odd));
    _mm512_storeu_ps(p + 16, _mm512_permutex2var_ps(even, high, odd));
}
static inline vec vec_add(vec a, vec b) {
    return _mm512_add_ps(a, b);
}
static inline vec vec_sub(vec a, vec b) {
    return _mm512_sub_ps(a, b);
}
static inline vec vec_mul(vec a, vec b) {
    return _mm512_mul_ps(a, b);
}
static inline vec vec_div(vec a, vec b) {
    return _mm512_div_ps(a, b);
}
/* An estimate of 14 bits, and one step of Newton's: division takes thrice as long. */
static inline vec vec_inverse(vec a) {
    const vec guess = _mm512_rcp14_ps(a);
    return _mm512_fmadd_ps(_mm512_fnmadd_ps(a, guess, _mm512_set1_ps(1.0f)), guess,
                           guess);
}
static inline vec vec_mulsub(vec a, vec b, vec c) {
    return _mm512_fmsub_ps(a, b, c);
}
static inline vec vec_muladd(vec a, vec b, vec c) {
    return _mm512_fmadd_ps(a, b, c);
}
static inline vec vec_max(vec a, vec b) {
    return _mm512_max_ps(a, b);
}
static inline vec vec_abs(vec a) {
    return _mm512_abs_ps(a);
}
static inline vec vec_copysign(vec a, vec b) {
    /* 0xd8 picks a bit of b where the sign bit is set, of a elsewhere */
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b),
                                  _mm512_set1_epi32((int)0x80000000u), 0xd8));
}
enum { ROOTS = 16 };
static inline vec vec_root_power(vec z) {
    /* bits of 2^(j / 16), less what j adds when it is shifted into them */
    const __m512i roots = _mm512_setr_epi32(
        0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532,
        0x3f75fed7, 0x3f75583f, 0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c,
        0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d);
    const __m512i bits = _mm512_castps_si512(z);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_permutexvar_epi32(bits, roots),
                                                _mm512_slli_epi32(bits, 19)));
}
static inline vec vec_zero_below(vec x, vec least, vec a) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, least, _CMP_NLT_UQ), a);
}
static inline vec_mask vec_less(vec a, vec b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
static inline vec_mask vec_equal(vec a, vec b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
static inline vec vec_select(vec_mask mask, vec yes, vec no) {
    return _mm512_mask_blend_ps(mask, no, yes);
}
static inline bool vec_any(vec_mask mask) {
    return mask != 0;
}
static inline bool vec_all(vec_mask mask) {
    return mask == 0xffff;
}
static inline vec_mask vec_bytes(const uint8_t *p) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm_test_epi8_mask(bytes, bytes);
}
static inline vec_mask vec_bytes_part(const uint8_t *p, int n) {
    __m128i bytes = _mm_maskz_loadu_epi8(first_lanes(n), p);
    return _mm_test_epi8_mask(bytes, bytes);
}
static inline float vec_hmax(vec a) {
    __m256 x = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    y = _mm_max_ss(y, _mm_movehdup_ps(y));
    return _mm_cvtss_f32(y);
}
static inline float vec_hsum(vec a) {
    __m256 x = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    y = _mm_add_ss(y, _mm_movehdup_ps(y));
    return _mm_cvtss_f32(y);
}
enum { SPREAD = WIDTH };
/* The halves of a and of b added up, side by side */
static inline void vec_spread(float *to, vec a, vec b) {
    _mm512_storeu_ps(to, _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44),
                                       _mm512_shuffle_f32x4(a, b, 0xee)));
}
static inline vec add_unpacked(vec x, vec y) {
    return _mm512_add_ps(_mm512_unpacklo_ps(x, y), _mm512_unpackhi_ps(x, y));
}
static inline void vec_gather(const float *from, vec *a, vec *b) {
    vec quarter[8], sum[2];
    for (int i = 0; i < 8; i++) {
        /* places i and i + 4 of the first eight, then of the others */
        const ptrdiff_t place = i < 4 ? i : i + 4;
        const vec x = vec_load(from + place * WIDTH);
        const vec y = vec_load(from + (place + 4) * WIDTH);
        quarter[i] = _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x88),
                                   _mm512_shuffle_f32x4(x, y, 0xdd));
    }
    for (int i = 0; i < 2; i++) {
        const vec *four = i == 0 ? quarter : quarter + 4;
        sum[i] = add_unpacked(add_unpacked(four[0], four[2]),
                              add_unpacked(four[1], four[3]));
    }
    *a = _mm512_shuffle_f32x4(sum[0], sum[1], 0x88);
    *b = _mm512_shuffle_f32x4(sum[0], sum[1], 0xdd);
}
static inline void vec_fold(vec a, vec b, int distance, vec *low, vec *high) {
    const __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
    switch (distance) {
    case 8:
        *low = _mm512_shuffle_f32x4(a, b, 0x44);
        *high = _mm512_shuffle_f32x4(a, b, 0xee);
        break;
    case 4:
        *low = _mm512_shuffle_f32x4(a, b, 0x88);
        *high = _mm512_shuffle_f32x4(a, b, 0xdd);
        break;
    case 2:
        *low = _mm512_castpd_ps(_mm512_unpacklo_pd(x, y));
        *high = _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
        break;
    default:
        *low = _mm512_shuffle_ps(a, b, 0x88);
        *high = _mm512_shuffle_ps(a, b, 0xdd);
    }
}
static inline void vec_transpose(vec row[WIDTH]) {
    vec pair[WIDTH], quad[WIDTH], half[WIDTH];
    for (int i = 0; i < 16; i += 2) {
        pair[i] = _mm512_unpacklo_ps(row[i], row[i + 1]);
        pair[i + 1] = _mm512_unpackhi_ps(row[i], row[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        quad[i] = _mm512_shuffle_ps(pair[i], pair[i + 2], 0x44);
        quad[i + 1] = _mm512_shuffle_ps(pair[i], pair[i + 2], 0xee);
        quad[i + 2] = _mm512_shuffle_ps(pair[i + 1], pair[i + 3], 0x44);
        quad[i + 3] = _mm512_shuffle_ps(pair[i + 1], pair[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        half[i] = _mm512_shuffle_f32x4(quad[i], quad[i + 4], 0x88);
        half[i + 4] = _mm512_shuffle_f32x4(quad[i], quad[i + 4], 0xdd);
        half[i + 8] = _mm512_shuffle_f32x4(quad[i + 8], quad[i + 12], 0x88);
        half[i + 12] = _mm512_shuffle_f32x4(quad[i + 8], quad[i + 12], 0xdd);
    }
    for (int i = 0; i < 8; i++) {
        row[i] = _mm512_shuffle_f32x4(half[i], half[i + 8], 0x88);
        row[i + 8] = _mm512_shuffle_f32x4(half[i], half[i + 8], 0xdd);
    }
}

/* Lanes of 128 bits of rows r, r + 4, r + 8 and r + 12, side by side. */
static inline vec lanes_of_rows(const float *from, ptrdiff_t ld) {
    vec a = _mm512_castps128_ps512(_mm_loadu_ps(from));
    a = _mm512_mask_broadcast_f32x4(a, 0x00f0, _mm_loadu_ps(from + 4 * ld));
    a = _mm512_mask_broadcast_f32x4(a, 0x0f00, _mm_loadu_ps(from + 8 * ld));
    return _mm512_mask_broadcast_f32x4(a, 0xf000, _mm_loadu_ps(from + 12 * ld));
}
/* The columns of a square: loads put lanes where they belong, which leaves half of the
 * shuffles. */
#define VEC_LOAD_TURNED
static inline void vec_load_turned(vec column[WIDTH], const float *from, ptrdiff_t ld) {
    for (int c = 0; c < 16; c += 4) {
        const vec a = lanes_of_rows(from + c, ld), b = lanes_of_rows(from + ld + c, ld);
        const vec d = lanes_of_rows(from + 2 * ld + c, ld);
        const vec e = lanes_of_rows(from + 3 * ld + c, ld);
        const vec ab = _mm512_unpacklo_ps(a, b), ab_high = _mm512_unpackhi_ps(a, b);
        const vec de = _mm512_unpacklo_ps(d, e), de_high = _mm512_unpackhi_ps(d, e);
        column[c] = _mm512_shuffle_ps(ab, de, 0x44);
        column[c + 1] = _mm512_shuffle_ps(ab, de, 0xee);
        column[c + 2] = _mm512_shuffle_ps(ab_high, de_high, 0x44);
        column[c + 3] = _mm512_shuffle_ps(ab_high, de_high, 0xee);
    }
}

#endif
