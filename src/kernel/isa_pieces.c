/*
 * Products of pieces in plain C, to the bit as tiles of AMX make them: for tests, on
 * processors without tiles and under tools that do not know them.
 */
#include <float.h>
#include <string.h>

#include "base/arith.h"
#include "base/half.h"
#include "kernel/kernel.h"
#include "kernel/pieces.h"

enum { TILE = PIECES_SIDE / 2, PIECE = 2 * PIECES_TILE };

/* Where the pieces of a row start in a step of a strip. */
static ptrdiff_t row_at(ptrdiff_t row) {
    return row / TILE * PIECES_TILE + row % TILE * PIECES_SIDE;
}

/* Writes the pieces of x, each what is left cut off after 8 bits, but for the second of
 * two, which is rounded. */
static void put_number(uint16_t *to, int count, float x) {
    for (int piece = 0; piece < count; piece++, to += PIECE) {
        const uint32_t half = count == 2 && piece == 1 ? 0x8000 : 0;
        *to = (uint16_t)((bits_of_f32(x) + half) >> 16);
        x -= f32_of_bf16(*to);
    }
}

/* Number l of a step lies beside that half a step further. */
static ptrdiff_t pair_of(ptrdiff_t l) {
    return l % TILE * 2 + l / TILE;
}

static void put_rows(uint16_t *to, int count, const float *from, ptrdiff_t ld, int rows,
                     int k, float factor) {
    const int64_t depth = round_up(k, PIECES_SIDE);
    for (ptrdiff_t r = 0; r < rows; r++) {
        for (int64_t l = 0; l < depth; l++) {
            uint16_t *step = to + l / PIECES_SIDE * pieces_of_step(count == 1);
            put_number(step + row_at(r) + pair_of(l % PIECES_SIDE), count,
                       l < k ? factor * from[r * ld + l] : 0.0f);
        }
    }
}

static void split_rows(uint16_t *to, const float *from, ptrdiff_t ld, int rows, int k,
                       float factor, bool single) {
    put_rows(to, single ? 1 : 3, from, ld, rows, k, factor);
}

/* Where number l of a step has its place in column j. */
static ptrdiff_t column_at(ptrdiff_t l, ptrdiff_t j) {
    const ptrdiff_t pair = pair_of(l);
    return j / TILE * PIECES_TILE + pair / 2 * PIECES_SIDE + j % TILE * 2 + pair % 2;
}

static void split_columns(uint16_t *to, const float *from, ptrdiff_t ld, int k, int n,
                          bool single) {
    const int64_t depth = round_up(k, PIECES_SIDE);
    for (int64_t l = 0; l < depth; l++) {
        uint16_t *step = to + l / PIECES_SIDE * pieces_of_step(single);
        for (ptrdiff_t j = 0; j < PIECES_SIDE; j++) {
            put_number(step + column_at(l % PIECES_SIDE, j), single ? 1 : 3,
                       l < k && j < n ? from[l * ld + j] : 0.0f);
        }
    }
}

/* Tiles take subnormal numbers for 0, with their sign, and make none. */
static float flushed(float x) {
    return fabsf(x) < FLT_MIN ? copysignf(0.0f, x) : x;
}

/* A step of a tile of columns as numbers: those at even places, and those at odd. */
struct columns {
    double piece[3][TILE][2][TILE];
    int count;
};

static void read_columns(struct columns *columns, const uint16_t *from, bool single) {
    columns->count = single ? 1 : 3;
    for (int piece = 0; piece < columns->count; piece++, from += PIECE) {
        for (int i = 0; i < PIECES_TILE; i++) {
            columns->piece[piece][i / PIECES_SIDE][i % 2][i % PIECES_SIDE / 2] =
                flushed(f32_of_bf16(from[i]));
        }
    }
}

/* Each product is added before it is rounded; in doubles as near as if it were exact.
 */
static void add_products(float sums[TILE], double x, const double y[TILE]) {
    for (int j = 0; j < TILE; j++) {
        sums[j] = flushed((float)((double)sums[j] + x * y[j]));
    }
}

/*
 * sums += a b, of one row and a tile of columns, over a step: numbers at even places
 * and at odd ones make a chain each, which start at 0.
 */
static void add_piece(float sums[TILE], const uint16_t *a,
                      const double b[TILE][2][TILE]) {
    float even[TILE] = {0.0f}, odd[TILE] = {0.0f};
    for (int l = 0; l < TILE; l++, a += 2) {
        add_products(even, flushed(f32_of_bf16(a[0])), b[l][0]);
        add_products(odd, flushed(f32_of_bf16(a[1])), b[l][1]);
    }
    for (int j = 0; j < TILE; j++) {
        sums[j] = flushed(sums[j] + flushed(even[j] + odd[j]));
    }
}

/*
 * c = or c += a step of a row times a tile of n columns: all pairs of pieces that
 * count, as isa_amx.c orders them.
 */
static void add_step(int n, bool fresh, const uint16_t *a, int count,
                     const struct columns *columns, float *c) {
    enum { HIGH, MIDDLE, LOW };
    static const int pairs[][2] = {{LOW, HIGH},    {HIGH, HIGH},     {HIGH, LOW},
                                   {HIGH, MIDDLE}, {MIDDLE, MIDDLE}, {MIDDLE, HIGH}};
    const size_t size = (size_t)n * sizeof *c;
    float sums[TILE] = {0.0f};
    if (!fresh) {
        memcpy(sums, c, size);
    }
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        if (pairs[i][0] < count && pairs[i][1] < columns->count) {
            add_piece(sums, a + (ptrdiff_t)PIECE * pairs[i][0],
                      columns->piece[pairs[i][1]]);
        }
    }
    memcpy(c, sums, size);
}

/* Rows in strips, or floats that are split on the way. */
struct rows {
    struct strips strips;
    int count;         /* of pieces */
    const float *from; /* NULL: strips */
    ptrdiff_t ld;
    float factor;
    uint16_t *scratch;
};

/* The pieces of a step of row i, from its number l on. */
static const uint16_t *step_of(const struct rows *rows, ptrdiff_t i, int l, int k) {
    if (rows->from == NULL) {
        return rows->strips.data + i / PIECES_SIDE * rows->strips.step +
               row_at(i % PIECES_SIDE) + pieces_of_strip(l, rows->strips.single);
    }
    put_rows(rows->scratch, rows->count, rows->from + i * rows->ld + l, rows->ld, 1,
             (int)min_i64(PIECES_SIDE, k - l), rows->factor);
    return rows->scratch;
}

static void multiply(int m, int n, int k, const struct rows *rows,
                     const struct strips *b, float *c, ptrdiff_t ldc) {
    struct columns columns;
    for (ptrdiff_t j = 0; j < n; j += TILE) {
        const uint16_t *strip =
            b->data + j / PIECES_SIDE * b->step + j % PIECES_SIDE / TILE * PIECES_TILE;
        for (int l = 0; l < k; l += PIECES_SIDE) {
            read_columns(&columns, strip + pieces_of_strip(l, b->single), b->single);
            for (ptrdiff_t i = 0; i < m; i++) {
                add_step((int)min_i64(TILE, n - j), l == 0, step_of(rows, i, l, k),
                         rows->count, &columns, c + i * ldc + j);
            }
        }
    }
}

static void product(int m, int n, int k, float factor, const struct strips *a,
                    const struct strips *b, float *c, ptrdiff_t ldc) {
    const struct rows rows = {.strips = *a, .count = a->single ? 1 : 3};
    multiply(m, n, k, &rows, b, c, ldc);
    for (ptrdiff_t i = 0; i < m; i++) {
        for (int j = 0; j < n; j++) {
            c[i * ldc + j] *= factor;
        }
    }
}

static void product_split(int m, int n, int k, float factor, const float *a,
                          ptrdiff_t ld, bool two, const struct strips *b,
                          uint16_t *scratch, float *c, ptrdiff_t ldc) {
    const struct rows rows = {.count = two ? 2 : 3,
                              .from = a,
                              .ld = ld,
                              .factor = factor,
                              .scratch = scratch};
    multiply(m, n, k, &rows, b, c, ldc);
}

static void scale_rows(float *to, ptrdiff_t ld_to, const float *from, ptrdiff_t ld_from,
                       int rows, int n, float alpha, const float *factor,
                       const float *rescale, const float *more, ptrdiff_t ld_more) {
    for (ptrdiff_t r = 0; r < rows; r++) {
        for (int j = 0; j < n; j++) {
            const float left = more != NULL ? more[r * ld_more + j] : 0.0f;
            const float start = rescale != NULL ? rescale[r] * left : left;
            const float sum = start + alpha * from[r * ld_from + j];
            to[r * ld_to + j] = factor != NULL ? factor[r] * sum : sum;
        }
    }
}

static bool within(const float *x, ptrdiff_t ld, int rows, int n, float low,
                   float high) {
    for (ptrdiff_t r = 0; r < rows; r++) {
        for (int j = 0; j < n; j++) {
            const float size = fabsf(x[r * ld + j]);
            if (!(size == 0.0f || (size >= low && size < high))) {
                return false;
            }
        }
    }
    return true;
}

static void take_rows(uint16_t *to, const uint16_t *from, ptrdiff_t ld, int rows, int k,
                      float power) {
    const int64_t depth = round_up(k, PIECES_SIDE);
    for (ptrdiff_t r = 0; r < rows; r++) {
        for (int64_t l = 0; l < depth; l++) {
            uint16_t *step = to + l / PIECES_SIDE * pieces_of_step(true);
            put_number(step + row_at(r) + pair_of(l % PIECES_SIDE), 1,
                       l < k ? power * f32_of_bf16(from[r * ld + l]) : 0.0f);
        }
    }
}

/* Number (l, j) of k rows and n columns, of which rows and columns lie so far apart. */
static void take(uint16_t *to, const uint16_t *from, ptrdiff_t row, ptrdiff_t column,
                 int k, int n) {
    const int64_t depth = round_up(k, PIECES_SIDE);
    for (int64_t l = 0; l < depth; l++) {
        uint16_t *step = to + l / PIECES_SIDE * pieces_of_step(true);
        for (ptrdiff_t j = 0; j < PIECES_SIDE; j++) {
            step[column_at(l % PIECES_SIDE, j)] =
                l < k && j < n ? from[l * row + j * column] : 0;
        }
    }
}

static void take_columns(uint16_t *to, const uint16_t *from, ptrdiff_t ld, int k,
                         int n) {
    take(to, from, ld, 1, k, n);
}

static void take_turned(uint16_t *to, const uint16_t *from, ptrdiff_t ld, int k,
                        int n) {
    take(to, from, 1, ld, k, n);
}

static bool within_bf16(const uint16_t *x, ptrdiff_t ld, int rows, int n, float low,
                        float high) {
    for (ptrdiff_t r = 0; r < rows; r++) {
        for (int j = 0; j < n; j++) {
            const float number = f32_of_bf16(x[r * ld + j]);
            if (!within(&number, 0, 1, 1, low, high)) {
                return false;
            }
        }
    }
    return true;
}

const struct piece_kernels attn_pieces_plain = {
    .split_rows = split_rows,
    .split_columns = split_columns,
    .product = product,
    .product_split = product_split,
    .scale_rows = scale_rows,
    .within = within,
    .take_rows = take_rows,
    .take_columns = take_columns,
    .take_turned = take_turned,
    .within_bf16 = within_bf16,
};
