/*
 * Products of pieces by AMX. Exports one constant: nothing here may run where the
 * system has not allowed tiles.
 */
#include <immintrin.h>

#include "kernel/kernel.h"
#include "kernel/pieces_avx512.h"

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

/* A block of one or two tiles of rows by as many of columns. All but where its factors
 * are is known when it is compiled. */
struct block {
    const uint16_t *a, *b;
    bool two_rows, two_columns, single_b;
    int count_a; /* pieces: 1 or 3, with single_b also 2 */
};

static inline __attribute__((always_inline)) void load_a(const struct block *at,
                                                         int piece) {
    _tile_loadd(4, at->a + piece, LINE);
    if (at->two_rows) {
        _tile_loadd(5, at->a + piece + PIECES_TILE, LINE);
    }
}

static inline __attribute__((always_inline)) void load_b(const struct block *at,
                                                         int piece) {
    _tile_loadd(6, at->b + piece, LINE);
    if (at->two_columns) {
        _tile_loadd(7, at->b + piece + PIECES_TILE, LINE);
    }
}

/* Splits the rows that come after product `done` of so many, each of four tiles. */
static inline __attribute__((always_inline)) void put_part(const struct block *at,
                                                           const struct ahead *ahead,
                                                           int done, int products,
                                                           int tile) {
    const int parts = 4 * products, part = 4 * done + tile;
    if (ahead == NULL) {
        return;
    }
    const int end = (VECTOR * (part + 1) + parts - 1) / parts;
    UNROLL_LOOP
    for (int r = (VECTOR * part + parts - 1) / parts; r < end; r++) {
        put_row(row_of(ahead->to, r), at->count_a, ahead->from + r * ahead->ld,
                ahead->factor);
    }
}

/* A product of pieces, of so many of a step, and rows that are split while tiles
 * multiply. */
static inline __attribute__((always_inline)) void
multiply(const struct block *at, const struct ahead *ahead, int done, int products) {
    _tile_dpbf16ps(0, 4, 6);
    put_part(at, ahead, done, products, 0);
    if (at->two_columns) {
        _tile_dpbf16ps(1, 4, 7);
    }
    put_part(at, ahead, done, products, 1);
    if (at->two_rows) {
        _tile_dpbf16ps(2, 5, 6);
    }
    put_part(at, ahead, done, products, 2);
    if (at->two_rows && at->two_columns) {
        _tile_dpbf16ps(3, 5, 7);
    }
    put_part(at, ahead, done, products, 3);
}

/* One step: up to six products of pieces, in an order in which one factor stays. With
 * ahead, a has two or three pieces. */
static inline __attribute__((always_inline)) void step(const struct block *at,
                                                       const struct ahead *ahead) {
    const int products = at->single_b ? at->count_a : at->count_a == 1 ? 3 : 6;
    int done = 0;
    load_b(at, HIGH);
    if (at->count_a == 3) {
        load_a(at, LOW);
        multiply(at, ahead, done++, products);
    }
    load_a(at, HIGH);
    multiply(at, ahead, done++, products);
    if (!at->single_b) {
        load_b(at, LOW);
        multiply(at, ahead, done++, products);
        load_b(at, MIDDLE);
        multiply(at, ahead, done++, products);
    }
    if (at->count_a > 1) {
        load_a(at, MIDDLE);
        if (!at->single_b) {
            multiply(at, ahead, done++, products);
            load_b(at, HIGH);
        }
        multiply(at, ahead, done++, products);
    }
}

/* Sums of a block, from 0 or c, and back. */
static inline __attribute__((always_inline)) void
open_sums(const struct block *at, bool accumulate, const float *c, ptrdiff_t ldc) {
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
    if (at->two_columns) {
        _tile_loadd(1, c + VECTOR, row);
    }
    if (at->two_rows) {
        _tile_loadd(2, below, row);
    }
    if (at->two_rows && at->two_columns) {
        _tile_loadd(3, below + VECTOR, row);
    }
}

static inline __attribute__((always_inline)) void close_sums(const struct block *at,
                                                             float *c, ptrdiff_t ldc) {
    const ptrdiff_t row = ldc * (ptrdiff_t)sizeof *c;
    float *below = c + VECTOR * ldc;
    _tile_stored(0, c, row);
    if (at->two_columns) {
        _tile_stored(1, c + VECTOR, row);
    }
    if (at->two_rows) {
        _tile_stored(2, below, row);
    }
    if (at->two_rows && at->two_columns) {
        _tile_stored(3, below + VECTOR, row);
    }
}

/* A chunk of a that is to be split: at most 32 rows. */
struct chunk {
    const float *from;
    int row, l; /* of a */
    int rows, k;
};

/* What is left to split of a chunk: jobs of 16 rows of a step. */
struct split {
    struct chunk chunk;
    ptrdiff_t ld;
    float factor;
    uint16_t *to;
    int count;      /* of pieces */
    int done, jobs; /* jobs 0: the chunk is not whole, and not split in jobs */
};

static inline struct ahead next_job(struct split *split) {
    const ptrdiff_t i = split->done++, row = i % 2 * VECTOR, step = i / 2;
    return (struct ahead){row_of(split->to, row) + step * PIECES_STEP,
                          split->chunk.from + row * split->ld + step * PIECES_SIDE,
                          split->ld, _mm512_set1_ps(split->factor)};
}

/* A block, with up to so many jobs of a split, if there is one, beside a step each. */
static inline __attribute__((always_inline)) void
run_block(struct block at, int k, bool accumulate, float *c, ptrdiff_t ldc,
          struct split *split, int jobs) {
    open_sums(&at, accumulate, c, ldc);
    for (int l = 0; l < k; l += PIECES_SIDE) {
        if (split != NULL && jobs-- > 0 && split->done < split->jobs) {
            const struct ahead job = next_job(split);
            step(&at, &job);
        } else {
            step(&at, NULL);
        }
        at.a += pieces_of_step(at.count_a == 1);
        at.b += pieces_of_step(at.single_b);
    }
    close_sums(&at, c, ldc);
}

/* A block of up to 32 rows and columns, compiled for each shape. */
static inline __attribute__((always_inline)) void
shaped_block(struct block at, int rows, int columns, int k, bool accumulate, float *c,
             ptrdiff_t ldc) {
    at.two_rows = at.two_columns = true;
    if (rows > VECTOR && columns > VECTOR) {
        run_block(at, k, accumulate, c, ldc, NULL, 0);
        return;
    }
    if (rows > VECTOR) {
        at.two_columns = false;
        run_block(at, k, accumulate, c, ldc, NULL, 0);
        return;
    }
    at.two_rows = false;
    if (columns > VECTOR) {
        run_block(at, k, accumulate, c, ldc, NULL, 0);
        return;
    }
    at.two_columns = false;
    run_block(at, k, accumulate, c, ldc, NULL, 0);
}

/* ... and for as many pieces of a and b. */
static void some_block(int rows, int columns, int k, const uint16_t *a, int count_a,
                       const uint16_t *b, bool single_b, bool accumulate, float *c,
                       ptrdiff_t ldc) {
    struct block at = {.a = a, .b = b};
    if (count_a == 1 && single_b) {
        at.count_a = 1;
        at.single_b = true;
        shaped_block(at, rows, columns, k, accumulate, c, ldc);
    } else if (count_a == 1) {
        at.count_a = 1;
        at.single_b = false;
        shaped_block(at, rows, columns, k, accumulate, c, ldc);
    } else if (count_a == 2) {
        at.count_a = 2;
        at.single_b = true;
        shaped_block(at, rows, columns, k, accumulate, c, ldc);
    } else if (single_b) {
        at.count_a = 3;
        at.single_b = true;
        shaped_block(at, rows, columns, k, accumulate, c, ldc);
    } else {
        at.count_a = 3;
        at.single_b = false;
        shaped_block(at, rows, columns, k, accumulate, c, ldc);
    }
}

/* The part of c that a block has written. */
struct done {
    float *c;
    int rows, columns;
};

static void scale_block(const struct done *done, ptrdiff_t ldc, float factor) {
    const __m512 f = _mm512_set1_ps(factor);
    float *row = done->c;
    for (int r = 0; r < done->rows && r < PIECES_SIDE; r++, row += ldc) {
        _mm512_storeu_ps(row, _mm512_mul_ps(f, _mm512_loadu_ps(row)));
        if (done->columns > VECTOR) {
            float *more = row + VECTOR;
            _mm512_storeu_ps(more, _mm512_mul_ps(f, _mm512_loadu_ps(more)));
        }
    }
}

static void product(int m, int n, int k, float factor, const struct strips *a,
                    const struct strips *b, float *c, ptrdiff_t ldc) {
    const bool scaled = factor != 1.0f;
    const uint16_t *columns = b->data;
    struct done last = {.rows = 0}; /* scaled while tiles make the next block */
    _tile_loadconfig(&tiles);
    for (int j = 0; j < n; j += PIECES_SIDE, columns += b->step) {
        const uint16_t *rows = a->data;
        for (int i = 0; i < m; i += PIECES_SIDE, rows += a->step) {
            const struct done block = {c + i * ldc + j, m - i, n - j};
            some_block(m - i, n - j, k, rows, a->single ? 1 : 3, columns, b->single,
                       false, block.c, ldc);
            if (scaled) {
                scale_block(&last, ldc, factor);
                last = block;
            }
        }
    }
    _tile_release();
    if (scaled) {
        scale_block(&last, ldc, factor);
    }
}

/*
 * Rows are split in chunks of 32 rows and so many numbers. The longer, the less often
 * are sums loaded and stored; but beside few columns only short ones stay in the
 * nearest cache.
 */
enum { CHUNK = 2 * PIECES_SIDE, CHUNK_WIDE = 4 * PIECES_SIDE, COLUMNS_WIDE = 160 };

_Static_assert(2 * CHUNK_WIDE / PIECES_SIDE * PIECES_STEP == PIECES_SCRATCH,
               "two chunks at a time");

/* The chunk after this one: along the rows, then the next rows. */
static struct chunk chunk_after(struct chunk chunk, int width, int m, int k,
                                const float *a, ptrdiff_t ld) {
    chunk.l += width;
    if (chunk.l >= k) {
        chunk.l = 0;
        chunk.row += PIECES_SIDE;
    }
    chunk.rows = m - chunk.row < PIECES_SIDE ? m - chunk.row : PIECES_SIDE;
    chunk.k = k - chunk.l < width ? k - chunk.l : width;
    chunk.from = a + chunk.row * ld + chunk.l;
    return chunk;
}

static struct split split_of(struct chunk chunk, int m, ptrdiff_t ld, float factor,
                             int count, uint16_t *to) {
    const bool whole =
        chunk.row < m && chunk.rows == PIECES_SIDE && chunk.k % PIECES_SIDE == 0;
    return (struct split){.chunk = chunk,
                          .ld = ld,
                          .factor = factor,
                          .to = to,
                          .count = count,
                          .jobs = whole ? 2 * chunk.k / PIECES_SIDE : 0};
}

/* Splits what products have left. */
static void finish_split(struct split *split) {
    const struct chunk *chunk = &split->chunk;
    if (split->jobs == 0) {
        put_some_rows(split->to, split->count, chunk->from, split->ld, chunk->rows,
                      chunk->k, split->factor);
    }
    while (split->done < split->jobs) {
        const struct ahead job = next_job(split);
        put_some_rows(job.to, split->count, job.from, job.ld, VECTOR, PIECES_SIDE,
                      split->factor);
    }
}

/* A block of 32 x 32 of several pieces of a. */
static void block_ahead(int k, const uint16_t *a, const uint16_t *b, bool single,
                        bool accumulate, float *c, ptrdiff_t ldc, struct split *split,
                        int jobs) {
    struct block at = {.a = a, .b = b, .two_rows = true, .two_columns = true};
    if (split->count == 2) {
        at.count_a = 2;
        at.single_b = true;
        run_block(at, k, accumulate, c, ldc, split, jobs);
    } else if (single) {
        at.count_a = 3;
        at.single_b = true;
        run_block(at, k, accumulate, c, ldc, split, jobs);
    } else {
        at.count_a = 3;
        at.single_b = false;
        run_block(at, k, accumulate, c, ldc, split, jobs);
    }
}

static void product_split(int m, int n, int k, float factor, const float *a,
                          ptrdiff_t ld, bool two, const struct strips *b,
                          uint16_t *scratch, float *c, ptrdiff_t ldc) {
    const int blocks = (n + PIECES_SIDE - 1) / PIECES_SIDE;
    const int width = n < COLUMNS_WIDE ? CHUNK : CHUNK_WIDE;
    const int count = two ? 2 : 3;
    uint16_t *now = scratch, *later = scratch + PIECES_SCRATCH / 2;
    struct chunk chunk = {.l = k, .row = -PIECES_SIDE};
    chunk = chunk_after(chunk, width, m, k, a, ld);
    put_some_rows(now, count, chunk.from, ld, chunk.rows, chunk.k, factor);
    _tile_loadconfig(&tiles);
    while (chunk.row < m) {
        const struct chunk next = chunk_after(chunk, width, m, k, a, ld);
        const uint16_t *strip = b->data + pieces_of_strip(chunk.l, b->single);
        struct split split = split_of(next, m, ld, factor, count, later);
        const int jobs = (split.jobs + blocks - 1) / blocks; /* of a block */
        float *to = c + chunk.row * ldc;
        for (int j = 0; j < n; j += PIECES_SIDE, strip += b->step, to += PIECES_SIDE) {
            if (jobs > 0 && chunk.rows > VECTOR && n - j > VECTOR) {
                block_ahead(chunk.k, now, strip, b->single, chunk.l > 0, to, ldc,
                            &split, jobs);
            } else {
                some_block(chunk.rows, n - j, chunk.k, now, count, strip, b->single,
                           chunk.l > 0, to, ldc);
            }
        }
        if (next.row < m) {
            finish_split(&split);
        }
        uint16_t *swap = now;
        now = later;
        later = swap;
        chunk = next;
    }
    _tile_release();
}

const struct piece_kernels attn_pieces_amx = {
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
