/*
 * The vector vocabulary (see vec_scalar.h) for AVX2, FMA and F16C: eight lanes.
 */
#ifndef ATTN_KERNEL_VEC_H
#define ATTN_KERNEL_VEC_H

#include <immintrin.h>
#include <string.h>

#include "base/compiler.h"

enum { WIDTH = 8 };
typedef __m256 vec;
typedef __m256 vec_mask;

static inline vec vec_set(float x) {
    return _mm256_set1_ps(x);
}
static inline vec vec_iota(void) {
    return _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
}
static inline vec vec_load(const float *p) {
    return _mm256_loadu_ps(p);
}
static inline vec vec_held(vec a) {
    __asm__("" : "+x"(a));
    return a;
}
static inline void vec_store(float *p, vec a) {
    _mm256_storeu_ps(p, a);
}
/* All ones in the first n lanes */
static inline __m256i first_lanes(int n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane);
}
static inline vec vec_load_part(const float *p, int n, float fill) {
    __m256i lanes = first_lanes(n);
    return _mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(p, lanes),
                            _mm256_castsi256_ps(lanes));
}
static inline void vec_store_part(float *p, int n, vec a) {
    _mm256_maskstore_ps(p, first_lanes(n), a);
}
static inline vec vec_from_bf16(__m128i halves) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
/* The upper halves, to nearest even; NaN quiet and never rounded to infinity */
static inline __m128i vec_to_bf16(vec a) {
    const __m256i bits = _mm256_castps_si256(a), upper = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    __m256i near = _mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff));
    near = _mm256_srli_epi32(_mm256_add_epi32(near, odd), 16);
    const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    const __m256i halves = _mm256_blendv_epi8(near, quiet, nan);
    return _mm_packus_epi32(_mm256_castsi256_si128(halves),
                            _mm256_extracti128_si256(halves, 1));
}
/* The instructions of F16C heed neither FTZ nor DAZ for halves. */
static inline __m128i vec_to_f16(vec a) {
    return _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT);
}
static inline vec vec_from_i8(__m128i bytes) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}
static inline __m128i vec_to_i8(vec a) {
    const __m256i whole = _mm256_cvtps_epi32(a);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(whole),
                                          _mm256_extracti128_si256(whole, 1));
    return _mm_packs_epi16(words, words);
}
/* n elements of `size` bytes, 16 bytes at most, and zeros */
static inline __m128i load_elements(const void *p, size_t size, int n) {
    uint8_t bytes[16] = {0};
    memcpy(bytes, p, size * (size_t)n);
    return _mm_loadu_si128((const __m128i *)(const void *)bytes);
}
static inline void store_elements(void *p, size_t size, int n, __m128i elements) {
    uint8_t bytes[16];
    _mm_storeu_si128((__m128i *)(void *)bytes, elements);
    memcpy(p, bytes, size * (size_t)n);
}
static inline vec vec_load_bf16(const uint16_t *p) {
    return vec_from_bf16(_mm_loadu_si128((const __m128i *)(const void *)p));
}
static inline vec vec_load_bf16_part(const uint16_t *p, int n) {
    return vec_from_bf16(load_elements(p, sizeof *p, n));
}
static inline void vec_store_bf16(uint16_t *p, vec a) {
    _mm_storeu_si128((__m128i *)(void *)p, vec_to_bf16(a));
}
static inline void vec_store_bf16_part(uint16_t *p, int n, vec a) {
    store_elements(p, sizeof *p, n, vec_to_bf16(a));
}
static inline vec vec_load_f16(const uint16_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
static inline vec vec_load_f16_part(const uint16_t *p, int n) {
    return _mm256_cvtph_ps(load_elements(p, sizeof *p, n));
}
static inline void vec_store_f16(uint16_t *p, vec a) {
    _mm_storeu_si128((__m128i *)(void *)p, vec_to_f16(a));
}
static inline void vec_store_f16_part(uint16_t *p, int n, vec a) {
    store_elements(p, sizeof *p, n, vec_to_f16(a));
}
static inline vec vec_load_i8(const int8_t *p) {
    return vec_from_i8(_mm_loadl_epi64((const __m128i *)(const void *)p));
}
static inline vec vec_load_i8_part(const int8_t *p, int n) {
    return vec_from_i8(load_elements(p, sizeof *p, n));
}
static inline void vec_store_i8(int8_t *p, vec a) {
    _mm_storel_epi64((__m128i *)(void *)p, vec_to_i8(a));
}
static inline void vec_store_i8_part(int8_t *p, int n, vec a) {
    store_elements(p, sizeof *p, n, vec_to_i8(a));
}
/* Quarters 0, 2, 1, 3 */
static inline vec swap_middle(vec a) {
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(a), 0xd8));
}
static inline void vec_load_pairs(const float *p, vec *even, vec *odd) {
    const vec a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + 8);
    *even = swap_middle(_mm256_shuffle_ps(a, b, 0x88));
    *odd = swap_middle(_mm256_shuffle_ps(a, b, 0xdd));
}
static inline void vec_store_pairs(float *p, vec even, vec odd) {
    const vec a = swap_middle(even), b = swap_middle(odd);
    _mm256_storeu_ps(p, _mm256_unpacklo_ps(a, b));
    _mm256_storeu_ps(p + 8, _mm256_unpackhi_ps(a, b));
}
static inline vec vec_add(vec a, vec b) {
    return _mm256_add_ps(a, b);
}
static inline vec vec_sub(vec a, vec b) {
    return _mm256_sub_ps(a, b);
}
static inline vec vec_mul(vec a, vec b) {
    return _mm256_mul_ps(a, b);
}
static inline vec vec_div(vec a, vec b) {
    return _mm256_div_ps(a, b);
}
static inline vec vec_inverse(vec a) {
    return vec_div(vec_set(1.0f), a);
}
static inline vec vec_mulsub(vec a, vec b, vec c) {
    return _mm256_fmsub_ps(a, b, c);
}
static inline vec vec_muladd(vec a, vec b, vec c) {
    return _mm256_fmadd_ps(a, b, c);
}
static inline vec vec_max(vec a, vec b) {
    return _mm256_max_ps(a, b);
}
static inline vec vec_abs(vec a) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
static inline vec vec_copysign(vec a, vec b) {
    const vec sign = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, b));
}
enum { ROOTS = 8 };
static inline vec vec_root_power(vec z) {
    /* bits of 2^(j / 8), less what j adds when it is shifted into them */
    const __m256i roots =
        _mm256_setr_epi32(0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7, 0x3f7504f3,
                          0x3f75672a, 0x3f7744fd, 0x3f7ac0c7);
    const __m256i bits = _mm256_castps_si256(z);
    return _mm256_castsi256_ps(_mm256_add_epi32(
        _mm256_permutevar8x32_epi32(roots, bits), _mm256_slli_epi32(bits, 20)));
}
static inline vec vec_zero_below(vec x, vec least, vec a) {
    return _mm256_and_ps(_mm256_cmp_ps(x, least, _CMP_NLT_UQ), a);
}
static inline vec_mask vec_less(vec a, vec b) {
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}
static inline vec_mask vec_equal(vec a, vec b) {
    return _mm256_cmp_ps(a, b, _CMP_EQ_OQ);
}
static inline vec vec_select(vec_mask mask, vec yes, vec no) {
    return _mm256_blendv_ps(no, yes, mask);
}
static inline bool vec_any(vec_mask mask) {
    return _mm256_movemask_ps(mask) != 0;
}
static inline bool vec_all(vec_mask mask) {
    return _mm256_movemask_ps(mask) == 0xff;
}
static inline vec_mask mask_from_bytes(__m128i bytes) {
    __m256i zero =
        _mm256_cmpeq_epi32(_mm256_cvtepu8_epi32(bytes), _mm256_setzero_si256());
    return _mm256_castsi256_ps(_mm256_xor_si256(zero, _mm256_set1_epi32(-1)));
}
static inline vec_mask vec_bytes(const uint8_t *p) {
    return mask_from_bytes(_mm_loadl_epi64((const __m128i *)(const void *)p));
}
static inline vec_mask vec_bytes_part(const uint8_t *p, int n) {
    uint8_t bytes[16] = {0};
    memcpy(bytes, p, (size_t)n);
    return mask_from_bytes(_mm_loadu_si128((const __m128i *)(const void *)bytes));
}
static inline float vec_hmax(vec a) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    x = _mm_max_ss(x, _mm_movehdup_ps(x));
    return _mm_cvtss_f32(x);
}
static inline float vec_hsum(vec a) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    x = _mm_add_ss(x, _mm_movehdup_ps(x));
    return _mm_cvtss_f32(x);
}
enum { SPREAD = WIDTH };
/* The halves of a and of b added up, side by side */
static inline void vec_spread(float *to, vec a, vec b) {
    _mm256_storeu_ps(to, _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20),
                                       _mm256_permute2f128_ps(a, b, 0x31)));
}
/* The sums of four places, a and b side by side */
static inline vec four_sums(const float *from) {
    vec place[4];
    for (ptrdiff_t i = 0; i < 4; i++) {
        place[i] = vec_load(from + i * WIDTH);
    }
    return _mm256_hadd_ps(_mm256_hadd_ps(place[0], place[1]),
                          _mm256_hadd_ps(place[2], place[3]));
}
static inline void vec_gather(const float *from, vec *a, vec *b) {
    const ptrdiff_t half = (ptrdiff_t)4 * WIDTH;
    const vec low = four_sums(from), high = four_sums(from + half);
    *a = _mm256_permute2f128_ps(low, high, 0x20);
    *b = _mm256_permute2f128_ps(low, high, 0x31);
}
static inline void vec_fold(vec a, vec b, int distance, vec *low, vec *high) {
    const __m256d x = _mm256_castps_pd(a), y = _mm256_castps_pd(b);
    switch (distance) {
    case 4:
        *low = _mm256_permute2f128_ps(a, b, 0x20);
        *high = _mm256_permute2f128_ps(a, b, 0x31);
        break;
    case 2:
        *low = _mm256_castpd_ps(_mm256_unpacklo_pd(x, y));
        *high = _mm256_castpd_ps(_mm256_unpackhi_pd(x, y));
        break;
    default:
        *low = _mm256_shuffle_ps(a, b, 0x88);
        *high = _mm256_shuffle_ps(a, b, 0xdd);
    }
}
static inline void vec_transpose(vec row[WIDTH]) {
    vec pair[WIDTH], quad[WIDTH];
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
        pair[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        quad[i] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0x44);
        quad[i + 1] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0xee);
        quad[i + 2] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0x44);
        quad[i + 3] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        row[i] = _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x20);
        row[i + 4] = _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x31);
    }
}

#endif
