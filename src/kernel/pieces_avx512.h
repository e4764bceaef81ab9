/*
 * What makes pieces and what goes with products of them, by AVX-512: all of
 * kernel/pieces.h but the products.
 */
#ifndef ATTN_KERNEL_PIECES_AVX512_H
#define ATTN_KERNEL_PIECES_AVX512_H

#include <immintrin.h>

#include "base/half.h"
#include "kernel/pieces.h"
#include "kernel/vec_avx512.h"

enum { VECTOR = 16, PIECE = 2 * PIECES_TILE };

/* Numbers of a vector that are there, of so many from it on. */
static inline __mmask16 mask_of(int count) {
    return count >= VECTOR ? 0xffff : count > 0 ? (__mmask16)((1u << count) - 1) : 0;
}

/*
 * The pieces of x and y, those of x in the lower halves of words: tiles take pairs of
 * numbers that their sums run over. Each is what is left cut off after 8 bits, but for
 * the second of two, which is rounded.
 */
static inline __attribute__((always_inline)) void put_pieces(uint16_t *to, int count,
                                                             __m512 x, __m512 y) {
    enum { FROM_Y_WHERE_HIGH = 0xd8 };
    const __m512i high = _mm512_set1_epi32((int)0xffff0000u);
    const __m512i half = _mm512_set1_epi32(0x8000);
    UNROLL_LOOP
    for (int piece = 0; piece < count; piece++) {
        __m512i p = _mm512_castps_si512(x), q = _mm512_castps_si512(y);
        if (count == 2 && piece == 1) {
            p = _mm512_add_epi32(p, half);
            q = _mm512_add_epi32(q, half);
        }
        _mm512_storeu_si512(to + (ptrdiff_t)piece * PIECE,
                            _mm512_ternarylogic_epi32(_mm512_srli_epi32(p, 16), q, high,
                                                      FROM_Y_WHERE_HIGH));
        x = _mm512_sub_ps(x, _mm512_castsi512_ps(_mm512_and_si512(p, high)));
        y = _mm512_sub_ps(y, _mm512_castsi512_ps(_mm512_and_si512(q, high)));
    }
}

/* The same of 32 numbers in a row, times a factor. */
static inline __attribute__((always_inline)) void
put_row(uint16_t *to, int count, const float *from, __m512 factor) {
    put_pieces(to, count, _mm512_mul_ps(factor, _mm512_loadu_ps(from)),
               _mm512_mul_ps(factor, _mm512_loadu_ps(from + VECTOR)));
}

/* Where a row starts in a step of a strip. */
static inline uint16_t *row_of(uint16_t *strip, ptrdiff_t row) {
    return strip + row / VECTOR * PIECES_TILE + row % VECTOR * PIECES_SIDE;
}

static inline __attribute__((always_inline)) void put_rows(uint16_t *to, int count,
                                                           const float *from,
                                                           ptrdiff_t ld, int rows,
                                                           int k, float factor) {
    const ptrdiff_t step = pieces_of_step(count == 1);
    const __m512 f = _mm512_set1_ps(factor);
    for (int r = 0; r < rows; r++, from += ld) {
        uint16_t *row = row_of(to, r);
        int l = 0;
        for (; l + PIECES_SIDE <= k; l += PIECES_SIDE, row += step) {
            put_row(row, count, from + l, f);
        }
        if (l < k) {
            const __m512 x = _mm512_maskz_loadu_ps(mask_of(k - l), from + l);
            const __m512 y =
                _mm512_maskz_loadu_ps(mask_of(k - l - VECTOR), from + l + VECTOR);
            put_pieces(row, count, _mm512_mul_ps(f, x), _mm512_mul_ps(f, y));
        }
    }
}

static void put_some_rows(uint16_t *to, int count, const float *from, ptrdiff_t ld,
                          int rows, int k, float factor) {
    if (count == 1) {
        put_rows(to, 1, from, ld, rows, k, factor);
    } else if (count == 2) {
        put_rows(to, 2, from, ld, rows, k, factor);
    } else {
        put_rows(to, 3, from, ld, rows, k, factor);
    }
}

static void split_rows(uint16_t *to, const float *from, ptrdiff_t ld, int rows, int k,
                       float factor, bool single) {
    put_some_rows(to, single ? 1 : 3, from, ld, rows, k, factor);
}

/* A vector of row l of k rows; 0 beyond them. */
static inline __m512 load_row(const float *from, ptrdiff_t ld, int l, int k,
                              __mmask16 mask) {
    return _mm512_maskz_loadu_ps(l < k ? mask : 0, from + l * ld);
}

static inline __attribute__((always_inline)) void
put_columns(uint16_t *to, bool single, const float *from, ptrdiff_t ld, int k, int n) {
    for (int l = 0; l < k; l += PIECES_SIDE, to += pieces_of_step(single)) {
        for (int r = 0; r < VECTOR; r++) {
            for (int half = 0; half < 2; half++) {
                const float *part = from + (ptrdiff_t)half * VECTOR;
                const __mmask16 mask = mask_of(n - half * VECTOR);
                put_pieces(to + (ptrdiff_t)half * PIECES_TILE +
                               (ptrdiff_t)r * PIECES_SIDE,
                           single ? 1 : 3, load_row(part, ld, l + r, k, mask),
                           load_row(part, ld, l + r + VECTOR, k, mask));
            }
        }
    }
}

static void split_columns(uint16_t *to, const float *from, ptrdiff_t ld, int k, int n,
                          bool single) {
    if (single) {
        put_columns(to, true, from, ld, k, n);
    } else {
        put_columns(to, false, from, ld, k, n);
    }
}

static void scale_rows(float *to, ptrdiff_t ld_to, const float *from, ptrdiff_t ld_from,
                       int rows, int n, float alpha, const float *factor,
                       const float *rescale, const float *more, ptrdiff_t ld_more) {
    const __m512 f = _mm512_set1_ps(alpha);
    for (int r = 0; r < rows; r++, to += ld_to, from += ld_from) {
        const __m512 g = _mm512_set1_ps(factor != NULL ? factor[r] : 1.0f);
        const __m512 h = _mm512_set1_ps(rescale != NULL ? rescale[r] : 1.0f);
        for (int j = 0; j < n; j += VECTOR) {
            const __mmask16 mask = mask_of(n - j);
            const __m512 x = _mm512_mul_ps(f, _mm512_maskz_loadu_ps(mask, from + j));
            const __m512 y = more != NULL
                                 ? _mm512_maskz_loadu_ps(mask, more + r * ld_more + j)
                                 : _mm512_setzero_ps();
            const __m512 sum = _mm512_add_ps(_mm512_mul_ps(h, y), x);
            _mm512_mask_storeu_ps(to + j, mask, _mm512_mul_ps(g, sum));
        }
    }
}

/* Which numbers of a vector are outside, for bits of |x| from low on, so many. */
static inline __mmask16 outside(__m512 x, __m512i low, __m512i count) {
    const __m512i bits = _mm512_castps_si512(_mm512_abs_ps(x));
    return _mm512_mask_cmp_epu32_mask(_mm512_test_epi32_mask(bits, bits),
                                      _mm512_sub_epi32(bits, low), count,
                                      _MM_CMPINT_NLT);
}

static bool within(const float *x, ptrdiff_t ld, int rows, int n, float low,
                   float high) {
    const __m512i least = _mm512_castps_si512(_mm512_set1_ps(low));
    const __m512i count =
        _mm512_sub_epi32(_mm512_castps_si512(_mm512_set1_ps(high)), least);
    __mmask16 out = 0;
    for (int r = 0; r < rows && out == 0; r++, x += ld) {
        int j = 0;
        for (; j + 2 * VECTOR <= n; j += 2 * VECTOR) {
            out |= outside(_mm512_loadu_ps(x + j), least, count) |
                   outside(_mm512_loadu_ps(x + j + VECTOR), least, count);
        }
        for (; j < n; j += VECTOR) {
            out |= outside(_mm512_maskz_loadu_ps(mask_of(n - j), x + j), least, count);
        }
    }
    return out == 0;
}

/* The same of words of 32. */
static inline __mmask32 words_of(int count) {
    return count >= PIECES_SIDE ? 0xffffffff : (1u << count) - 1;
}

/* Numbers of bfloat16 as floats. */
static inline __m512 widen_words(__m256i words) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
}

static void take_rows(uint16_t *to, const uint16_t *from, ptrdiff_t ld, int rows, int k,
                      float power) {
    const __m512 f = _mm512_set1_ps(power);
    for (int r = 0; r < rows; r++, from += ld) {
        uint16_t *row = row_of(to, r);
        for (int l = 0; l < k; l += PIECES_SIDE, row += pieces_of_step(true)) {
            const __m512i words = _mm512_maskz_loadu_epi16(words_of(k - l), from + l);
            put_pieces(
                row, 1, _mm512_mul_ps(f, widen_words(_mm512_castsi512_si256(words))),
                _mm512_mul_ps(f, widen_words(_mm512_extracti64x4_epi64(words, 1))));
        }
    }
}

/* Half a row of 32 numbers of bfloat16 from row l of k rows on, each in a word. */
static inline __m512i load_words(const uint16_t *from, ptrdiff_t ld, int l, int k,
                                 __mmask16 mask) {
    return _mm512_cvtepu16_epi32(
        _mm256_maskz_loadu_epi16(l < k ? mask : 0, from + l * ld));
}

static void take_columns(uint16_t *to, const uint16_t *from, ptrdiff_t ld, int k,
                         int n) {
    for (int l = 0; l < k; l += PIECES_SIDE, to += pieces_of_step(true)) {
        for (int half = 0; half < 2; half++) {
            const uint16_t *part = from + (ptrdiff_t)half * VECTOR;
            const __mmask16 mask = mask_of(n - half * VECTOR);
            uint16_t *tile = to + (ptrdiff_t)half * PIECES_TILE;
            for (int r = 0; r < VECTOR; r++, tile += PIECES_SIDE) {
                const __m512i x = load_words(part, ld, l + r, k, mask),
                              y = load_words(part, ld, l + r + VECTOR, k, mask);
                _mm512_storeu_si512(tile, _mm512_or_si512(x, _mm512_slli_epi32(y, 16)));
            }
        }
    }
}

/* A tile of a row for each of up to 16 columns, transposed. */
static inline void take_tile(uint16_t *to, const uint16_t *from, ptrdiff_t ld, int k,
                             int n) {
    const __mmask32 mask = words_of(k);
    const __m512i high = _mm512_set1_epi32(VECTOR << 16);
    const __m512i pairs = _mm512_add_epi32(
        _mm512_mullo_epi32(
            _mm512_set1_epi32(0x10001),
            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)),
        high);
    vec row[VECTOR];
    for (int r = 0; r < VECTOR; r++) {
        const __m512i numbers =
            _mm512_maskz_loadu_epi16(r < n ? mask : 0, from + r * ld);
        row[r] = _mm512_castsi512_ps(_mm512_permutexvar_epi16(pairs, numbers));
    }
    vec_transpose(row);
    for (int r = 0; r < VECTOR; r++) {
        _mm512_storeu_ps((void *)(to + (ptrdiff_t)r * PIECES_SIDE), row[r]);
    }
}

static void take_turned(uint16_t *to, const uint16_t *from, ptrdiff_t ld, int k,
                        int n) {
    for (int l = 0; l < k; l += PIECES_SIDE, to += pieces_of_step(true)) {
        take_tile(to, from + l, ld, k - l, n);
        take_tile(to + PIECES_TILE, from + VECTOR * ld + l, ld, k - l, n - VECTOR);
    }
}

static bool within_bf16(const uint16_t *x, ptrdiff_t ld, int rows, int n, float low,
                        float high) {
    const int least = (int)(bits_of_f32(low) >> 16);
    const __m512i from = _mm512_set1_epi16((short)least);
    const __m512i count =
        _mm512_set1_epi16((short)((int)(bits_of_f32(high) >> 16) - least));
    const __m512i size = _mm512_set1_epi16(0x7fff);
    __mmask32 out = 0;
    for (int r = 0; r < rows && out == 0; r++, x += ld) {
        for (int j = 0; j < n; j += PIECES_SIDE) {
            const __m512i bits = _mm512_and_si512(
                size, _mm512_maskz_loadu_epi16(words_of(n - j), x + j));
            out |= _mm512_mask_cmp_epu16_mask(_mm512_test_epi16_mask(bits, bits),
                                              _mm512_sub_epi16(bits, from), count,
                                              _MM_CMPINT_NLT);
        }
    }
    return out == 0;
}

#endif
