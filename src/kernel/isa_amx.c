/*
 * Products of pieces by AMX, and what makes the pieces, by AVX-512. Exports one
 * constant: nothing here may run where the system has not allowed tiles.
 */
#include <immintrin.h>

#include "kernel/kernel.h"
#include "kernel/pieces.h"

enum { VECTOR = 16, PIECE = 2 * PIECES_TILE };

/* Numbers of a vector that are there, of so many from it on. */
static inline __mmask16 mask_of(int count) {
    return count >= VECTOR ? 0xffff : count > 0 ? (__mmask16)((1u << count) - 1) : 0;
}

/*
 * The pieces of x and y, those of x in the lower halves of words: tiles take pairs of
 * numbers that their sums run over. Each is what is left cut off after 8 bits.
 */
static inline __attribute__((always_inline)) void put_pieces(uint16_t *to, __m512 x,
                                                             __m512 y) {
    enum { FROM_Y_WHERE_HIGH = 0xd8 };
    const __m512i high = _mm512_set1_epi32((int)0xffff0000u);
    UNROLL_LOOP
    for (int piece = 0; piece < 3; piece++) {
        const __m512i p = _mm512_castps_si512(x), q = _mm512_castps_si512(y);
        _mm512_storeu_si512(to + (ptrdiff_t)piece * PIECE,
                            _mm512_ternarylogic_epi32(_mm512_srli_epi32(p, 16), q, high,
                                                      FROM_Y_WHERE_HIGH));
        x = _mm512_sub_ps(x, _mm512_castsi512_ps(_mm512_and_si512(p, high)));
        y = _mm512_sub_ps(y, _mm512_castsi512_ps(_mm512_and_si512(q, high)));
    }
}

/* The same of 32 numbers in a row, times a factor. */
static inline __attribute__((always_inline)) void
put_row(uint16_t *to, const float *from, __m512 factor) {
    put_pieces(to, _mm512_mul_ps(factor, _mm512_loadu_ps(from)),
               _mm512_mul_ps(factor, _mm512_loadu_ps(from + VECTOR)));
}

/* Where a row starts in a step of a strip. */
static inline uint16_t *row_of(uint16_t *strip, ptrdiff_t row) {
    return strip + row / VECTOR * PIECES_TILE + row % VECTOR * PIECES_SIDE;
}

static void split_rows(uint16_t *to, const float *from, ptrdiff_t ld, int rows, int k,
                       float factor) {
    const __m512 f = _mm512_set1_ps(factor);
    for (int r = 0; r < rows; r++, from += ld) {
        uint16_t *row = row_of(to, r);
        int l = 0;
        for (; l + PIECES_SIDE <= k; l += PIECES_SIDE, row += PIECES_STEP) {
            put_row(row, from + l, f);
        }
        if (l < k) {
            const __m512 x = _mm512_maskz_loadu_ps(mask_of(k - l), from + l);
            const __m512 y =
                _mm512_maskz_loadu_ps(mask_of(k - l - VECTOR), from + l + VECTOR);
            put_pieces(row, _mm512_mul_ps(f, x), _mm512_mul_ps(f, y));
        }
    }
}

/* A vector of row l of k rows; 0 beyond them. */
static inline __m512 load_row(const float *from, ptrdiff_t ld, int l, int k,
                              __mmask16 mask) {
    return _mm512_maskz_loadu_ps(l < k ? mask : 0, from + l * ld);
}

static void split_columns(uint16_t *to, const float *from, ptrdiff_t ld, int k, int n) {
    for (int l = 0; l < k; l += PIECES_SIDE, to += PIECES_STEP) {
        for (int r = 0; r < VECTOR; r++) {
            for (int half = 0; half < 2; half++) {
                const float *part = from + (ptrdiff_t)half * VECTOR;
                const __mmask16 mask = mask_of(n - half * VECTOR);
                put_pieces(to + (ptrdiff_t)half * PIECES_TILE +
                               (ptrdiff_t)r * PIECES_SIDE,
                           load_row(part, ld, l + r, k, mask),
                           load_row(part, ld, l + r + VECTOR, k, mask));
            }
        }
    }
}

/* Tiles 0 to 3 hold sums, 4 and 5 rows of a, 6 and 7 columns of b. */
static const struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tiles = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {16, 16, 16, 16, 16, 16, 16, 16},
};

/* Where the pieces of a step start: the second tile is half a piece further. */
enum { HIGH = 0, MIDDLE = PIECE, LOW = 2 * PIECE };

enum { LINE = 64 };

/* What a block has to split meanwhile: a step of 16 rows, or nothing. */
struct ahead {
    uint16_t *to;
    const float *from;
    ptrdiff_t ld;
    __m512 factor;
};

#define LOAD_A(piece)                                                                  \
    do {                                                                               \
        _tile_loadd(4, a + (piece), LINE);                                             \
        if (two_rows) {                                                                \
            _tile_loadd(5, a + (piece) + PIECES_TILE, LINE);                           \
        }                                                                              \
    } while (0)
#define LOAD_B(piece)                                                                  \
    do {                                                                               \
        _tile_loadd(6, b + (piece), LINE);                                             \
        if (two_columns) {                                                             \
            _tile_loadd(7, b + (piece) + PIECES_TILE, LINE);                           \
        }                                                                              \
    } while (0)
#define PUT(row)                                                                       \
    if (ahead != NULL) {                                                               \
        put_row(row_of(ahead->to, row), ahead->from + (row)*ahead->ld, ahead->factor); \
    }
/* A product of pieces, and up to three rows that are split while tiles multiply. */
#define MULTIPLY(row, rows)                                                            \
    do {                                                                               \
        _tile_dpbf16ps(0, 4, 6);                                                       \
        PUT(row)                                                                       \
        if (two_columns) {                                                             \
            _tile_dpbf16ps(1, 4, 7);                                                   \
        }                                                                              \
        PUT((row) + 1)                                                                 \
        if (two_rows) {                                                                \
            _tile_dpbf16ps(2, 5, 6);                                                   \
        }                                                                              \
        if ((rows) > 2) {                                                              \
            PUT((row) + 2)                                                             \
        }                                                                              \
        if (two_rows && two_columns) {                                                 \
            _tile_dpbf16ps(3, 5, 7);                                                   \
        }                                                                              \
    } while (0)

/* One step: six products of pieces, in an order in which one factor stays. */
static inline __attribute__((always_inline)) void step(bool two_rows, bool two_columns,
                                                       const uint16_t *a,
                                                       const uint16_t *b,
                                                       const struct ahead *ahead) {
    LOAD_A(LOW);
    LOAD_B(HIGH);
    MULTIPLY(0, 3);
    LOAD_A(HIGH);
    MULTIPLY(3, 3);
    LOAD_B(LOW);
    MULTIPLY(6, 3);
    LOAD_B(MIDDLE);
    MULTIPLY(9, 3);
    LOAD_A(MIDDLE);
    MULTIPLY(12, 2);
    LOAD_B(HIGH);
    MULTIPLY(14, 2);
}

/* Sums of one or two tiles of rows by as many of columns, from 0 or c, and back. */
static inline __attribute__((always_inline)) void
open_sums(bool two_rows, bool two_columns, bool accumulate, const float *c,
          ptrdiff_t ldc) {
    const ptrdiff_t row = ldc * (ptrdiff_t)sizeof *c;
    const float *below = c + VECTOR * ldc;
    if (!accumulate) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        return;
    }
    _tile_loadd(0, c, row);
    if (two_columns) {
        _tile_loadd(1, c + VECTOR, row);
    }
    if (two_rows) {
        _tile_loadd(2, below, row);
    }
    if (two_rows && two_columns) {
        _tile_loadd(3, below + VECTOR, row);
    }
}

static inline __attribute__((always_inline)) void
close_sums(bool two_rows, bool two_columns, float *c, ptrdiff_t ldc) {
    const ptrdiff_t row = ldc * (ptrdiff_t)sizeof *c;
    float *below = c + VECTOR * ldc;
    _tile_stored(0, c, row);
    if (two_columns) {
        _tile_stored(1, c + VECTOR, row);
    }
    if (two_rows) {
        _tile_stored(2, below, row);
    }
    if (two_rows && two_columns) {
        _tile_stored(3, below + VECTOR, row);
    }
}

static inline __attribute__((always_inline)) void
block(bool two_rows, bool two_columns, int k, const uint16_t *a, const uint16_t *b,
      bool accumulate, float *c, ptrdiff_t ldc) {
    open_sums(two_rows, two_columns, accumulate, c, ldc);
    for (int l = 0; l < k; l += PIECES_SIDE, a += PIECES_STEP, b += PIECES_STEP) {
        step(two_rows, two_columns, a, b, NULL);
    }
    close_sums(two_rows, two_columns, c, ldc);
}

/* A block of up to 32 rows and columns. */
static void some_block(int rows, int columns, int k, const uint16_t *a,
                       const uint16_t *b, bool accumulate, float *c, ptrdiff_t ldc) {
    if (rows > VECTOR && columns > VECTOR) {
        block(true, true, k, a, b, accumulate, c, ldc);
    } else if (rows > VECTOR) {
        block(true, false, k, a, b, accumulate, c, ldc);
    } else if (columns > VECTOR) {
        block(false, true, k, a, b, accumulate, c, ldc);
    } else {
        block(false, false, k, a, b, accumulate, c, ldc);
    }
}

static void product(int m, int n, int k, const uint16_t *a, ptrdiff_t step_a,
                    const uint16_t *b, ptrdiff_t step_b, float *c, ptrdiff_t ldc) {
    _tile_loadconfig(&tiles);
    for (int j = 0; j < n; j += PIECES_SIDE, b += step_b) {
        const uint16_t *strip = a;
        for (int i = 0; i < m; i += PIECES_SIDE, strip += step_a) {
            some_block(m - i, n - j, k, strip, b, false, c + i * ldc + j, ldc);
        }
    }
    _tile_release();
}

/* Numbers of a row that are split at a time: 32 rows of two steps. */
enum { CHUNK = 2 * PIECES_SIDE, JOBS = 4 };

/* A chunk of a that is to be split: at most 32 rows of CHUNK numbers. */
struct chunk {
    const float *from;
    int row, l; /* of a */
    int rows, k;
};

/* The chunk after this one: along the rows, then the next rows. */
static struct chunk chunk_after(struct chunk chunk, int m, int k, const float *a,
                                ptrdiff_t ld) {
    chunk.l += CHUNK;
    if (chunk.l >= k) {
        chunk.l = 0;
        chunk.row += PIECES_SIDE;
    }
    chunk.rows = m - chunk.row < PIECES_SIDE ? m - chunk.row : PIECES_SIDE;
    chunk.k = k - chunk.l < CHUNK ? k - chunk.l : CHUNK;
    chunk.from = a + chunk.row * ld + chunk.l;
    return chunk;
}

/* Job number i of a chunk: 16 rows of a step. */
static inline struct ahead job_of(const struct chunk *chunk, int i, ptrdiff_t ld,
                                  __m512 factor, uint16_t *to) {
    const ptrdiff_t step = i % 2, row = i / 2 * (ptrdiff_t)VECTOR;
    return (struct ahead){row_of(to, row) + step * PIECES_STEP,
                          chunk->from + row * ld + step * PIECES_SIDE, ld, factor};
}

/* A block of 32 x 32 over two steps, which splits a job beside each. */
static void block_ahead(const uint16_t *a, const uint16_t *b, bool accumulate, float *c,
                        ptrdiff_t ldc, const struct ahead *first,
                        const struct ahead *second) {
    open_sums(true, true, accumulate, c, ldc);
    step(true, true, a, b, first);
    step(true, true, a + PIECES_STEP, b + PIECES_STEP, second);
    close_sums(true, true, c, ldc);
}

static void product_split(int m, int n, int k, float factor, const float *a,
                          ptrdiff_t ld, const uint16_t *b, ptrdiff_t step_b,
                          uint16_t *scratch, float *c, ptrdiff_t ldc) {
    const __m512 f = _mm512_set1_ps(factor);
    uint16_t *now = scratch, *later = scratch + PIECES_SCRATCH / 2;
    struct chunk chunk = {.l = k, .row = -PIECES_SIDE};
    chunk = chunk_after(chunk, m, k, a, ld);
    split_rows(now, chunk.from, ld, chunk.rows, chunk.k, factor);
    _tile_loadconfig(&tiles);
    while (chunk.row < m) {
        const struct chunk next = chunk_after(chunk, m, k, a, ld);
        const bool whole = next.rows == PIECES_SIDE && next.k == CHUNK;
        const bool wide = chunk.rows > VECTOR && chunk.k > PIECES_SIDE;
        const uint16_t *strip = b + pieces_of_strip(chunk.l);
        float *to = c + chunk.row * ldc;
        int done = 0;
        for (int j = 0; j < n; j += PIECES_SIDE, strip += step_b, to += PIECES_SIDE) {
            if (whole && wide && n - j > VECTOR && done < JOBS) {
                const struct ahead first = job_of(&next, done, ld, f, later),
                                   second = job_of(&next, done + 1, ld, f, later);
                block_ahead(now, strip, chunk.l > 0, to, ldc, &first, &second);
                done += 2;
            } else {
                some_block(chunk.rows, n - j, chunk.k, now, strip, chunk.l > 0, to,
                           ldc);
            }
        }
        if (done < JOBS && next.row < m) {
            const int row = done / 2 * VECTOR;
            split_rows(row_of(later, row), next.from + row * ld, ld, next.rows - row,
                       next.k, factor);
        }
        uint16_t *swap = now;
        now = later;
        later = swap;
        chunk = next;
    }
    _tile_release();
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

const struct piece_kernels attn_pieces_amx = {
    .split_rows = split_rows,
    .split_columns = split_columns,
    .product = product,
    .product_split = product_split,
    .scale_rows = scale_rows,
    .within = within,
};
