/*
 * Products of pieces: that pieces add up to the number, products within the bound of
 * floats, and that their bits depend on a row and a column alone. Of tiles, where there
 * are any, and of their model.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cpu.h"
#include "kernel/kernel.h"
#include "tests/kernel/matrix.h"
#include "tests/kernel/sets.h"
#include "tests/support/check.h"
#include "tests/support/test.h"

static const struct piece_kernels *k;

enum { PIECE = 2 * PIECES_TILE };
enum { SIDE = PIECES_SIDE, ROWS_MOST = 70, WIDE_MOST = 250, DEPTH_MOST = 200 };

static float from_bf16(uint16_t bits) {
    const uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

/* Where number l of row or column i of a strip has its pieces, 2 tiles apart. */
static const uint16_t *row_at(const uint16_t *strip, bool single, int i, int l) {
    return strip + l / SIDE * pieces_of_step(single) +
           (ptrdiff_t)(i / 16) * PIECES_TILE + (ptrdiff_t)(i % 16) * SIDE +
           (ptrdiff_t)(l % 16) * 2 + l % SIDE / 16;
}

static const uint16_t *column_at(const uint16_t *strip, bool single, int l, int j) {
    return strip + l / SIDE * pieces_of_step(single) +
           (ptrdiff_t)(j / 16) * PIECES_TILE + (ptrdiff_t)(l % 16) * SIDE +
           (ptrdiff_t)(j % 16) * 2 + l % SIDE / 16;
}

static void need_sum(const uint16_t *pieces, bool single, float right) {
    double sum = (double)from_bf16(pieces[0]);
    if (!single) {
        sum += (double)from_bf16(pieces[(size_t)PIECE]) +
               from_bf16(pieces[2 * (size_t)PIECE]);
    }
    if (sum != (double)right) {
        fail_msg("pieces add up to %a, should be %a", sum, (double)right);
    }
}

/* Cuts numbers to those that are bfloat16. */
static void shorten(struct matrix *matrix) {
    for (int i = 0; i < matrix->rows; i++) {
        for (int j = 0; j < matrix->n; j++) {
            float *at = matrix->at + i * matrix->ld + j;
            uint32_t bits;
            memcpy(&bits, at, sizeof bits);
            *at = from_bf16((uint16_t)(bits >> 16));
        }
    }
}

static uint16_t *new_pieces(int64_t count) {
    uint16_t *pieces = aligned_alloc(64, (size_t)count * sizeof *pieces);
    assert_non_null(pieces);
    memset(pieces, 0xff, (size_t)count * sizeof *pieces); /* NaN */
    return pieces;
}

/* Every number of 24 bits, and those of fewer, is the sum of three of 8, and a bfloat16
 * the first of them. */
static void pieces_add_up(void **state) {
    (void)state;
    struct random random = random_stream(1, 0);
    static const int depths[] = {1, 15, 16, 17, 31, 32, 33, 63, 64, 100};
    for (int number = 0; number < 20 * SIDE; number++) {
        const int depth = depths[number / SIDE / 2], rows = number / 2 % SIDE + 1;
        const int whole = (int)round_up(depth, SIDE);
        const bool single = number % 2;
        uint16_t *strip = new_pieces(pieces_of_strip(depth, single));
        struct matrix a, b;
        matrix_open(&a, (struct shape){number % PLACES, rows, depth, number % 2 * 3});
        matrix_open(&b, (struct shape){number % PLACES, depth, rows, number % 2 * 3});
        matrix_fill(&a, FILL_RANDOM, &random);
        matrix_fill(&b, FILL_RANDOM, &random);
        if (single) {
            shorten(&a);
            shorten(&b);
        }
        k->split_rows(strip, a.at, a.ld, rows, depth, 0x1p40f, single);
        for (int i = 0; i < rows; i++) {
            for (int l = 0; l < whole; l++) {
                need_sum(row_at(strip, single, i, l), single,
                         l < depth ? 0x1p40f * matrix_get(&a, i, l) : 0.0f);
            }
        }
        k->split_columns(strip, b.at, b.ld, depth, rows, single);
        for (int l = 0; l < whole; l++) {
            for (int j = 0; j < SIDE; j++) {
                need_sum(column_at(strip, single, l, j), single,
                         l < depth && j < rows ? matrix_get(&b, l, j) : 0.0f);
            }
        }
        matrix_close(&a);
        matrix_close(&b);
        free(strip);
    }
}

/* Rows of bfloat16 have the pieces of the same floats, which lie as columns here. */
static void need_rows(const struct matrix *columns, const uint16_t *stored,
                      ptrdiff_t ld) {
    const int depth = columns->rows, n = columns->n;
    const int64_t size = pieces_of_strip(depth, true);
    uint16_t *right = new_pieces(size), *got = new_pieces(size);
    struct matrix rows;
    matrix_open(&rows, (struct shape){0, n, depth, 0});
    for (int i = 0; i < n; i++) {
        for (int l = 0; l < depth; l++) {
            rows.at[i * rows.ld + l] = matrix_get(columns, l, i);
        }
    }
    k->split_rows(right, rows.at, rows.ld, n, depth, 0x1p-3f, true);
    k->take_rows(got, stored, ld, n, depth, 0x1p-3f);
    assert_memory_equal(got, right, (size_t)size * sizeof *got);
    matrix_close(&rows);
    free(right);
    free(got);
}

/* bfloat16 where it lies has the pieces of the same floats. */
static void bf16_is_taken(void **state) {
    (void)state;
    struct random random = random_stream(5, 0);
    uint16_t stored[(SIDE + 3) * 100], turned[100 * (SIDE + 3)];
    for (int number = 0; number < 300; number++) {
        const int depth = 1 + number % 100, n = 1 + (int)random_between(&random, 0, 31);
        const int64_t size = pieces_of_strip(depth, true);
        uint16_t *right = new_pieces(size), *got = new_pieces(size);
        struct matrix b;
        matrix_open(&b, (struct shape){number % PLACES, depth, n, number % 2 * 3});
        matrix_fill(&b, FILL_RANDOM, &random);
        shorten(&b);
        memset(stored, 0xff, sizeof stored); /* NaN */
        memset(turned, 0xff, sizeof turned);
        for (int l = 0; l < depth; l++) {
            for (int j = 0; j < n; j++) {
                uint32_t bits;
                const float x = matrix_get(&b, l, j);
                memcpy(&bits, &x, sizeof bits);
                stored[l * (SIDE + 3) + j] = turned[j * 100 + l] =
                    (uint16_t)(bits >> 16);
            }
        }
        k->split_columns(right, b.at, b.ld, depth, n, true);
        k->take_columns(got, stored, SIDE + 3, depth, n);
        assert_memory_equal(got, right, (size_t)size * sizeof *got);
        memset(got, 0xff, (size_t)size * sizeof *got);
        k->take_turned(got, turned, 100, depth, n);
        assert_memory_equal(got, right, (size_t)size * sizeof *got);
        need_rows(&b, turned, 100);
        matrix_close(&b);
        free(right);
        free(got);
    }
}

/* A NaN has a piece that is one, and what is 0 has none. */
static void odd_numbers_stay(void **state) {
    (void)state;
    uint16_t *strip = new_pieces(PIECES_STEP);
    const float odd[] = {NAN, -NAN, 0.0f, -0.0f};
    k->split_rows(strip, odd, 0, 1, 4, 1.0f, false);
    assert_true(isnan(from_bf16(*row_at(strip, false, 0, 0))));
    assert_true(isnan(from_bf16(*row_at(strip, false, 0, 1))));
    need_sum(row_at(strip, false, 0, 2), false, 0.0f);
    need_sum(row_at(strip, false, 0, 3), false, 0.0f);
    free(strip);
}

struct product {
    struct matrix a, b;
    uint16_t *row_pieces, *column_pieces;
    struct strips rows, columns;
    struct matrix c;
};

/* The pieces of 0.25 a, or of another part, and of b. */
static void split_product(struct product *p, float factor, bool single_a,
                          bool single_b) {
    const int m = p->a.rows, n = p->b.n, depth = p->a.n;
    p->rows =
        (struct strips){p->row_pieces, pieces_of_strip(depth, single_a), single_a};
    p->columns =
        (struct strips){p->column_pieces, pieces_of_strip(depth, single_b), single_b};
    for (int i = 0; i < m; i += SIDE) {
        k->split_rows(p->row_pieces + i / SIDE * p->rows.step, p->a.at + i * p->a.ld,
                      p->a.ld, m - i < SIDE ? m - i : SIDE, depth, factor, single_a);
    }
    for (int j = 0; j < n; j += SIDE) {
        k->split_columns(p->column_pieces + j / SIDE * p->columns.step, p->b.at + j,
                         p->b.ld, depth, n - j < SIDE ? n - j : SIDE, single_b);
    }
}

/* Numbers of a and b are bfloat16 where bits of `single` say it. */
static void open_product(struct product *p, int m, int n, int depth, int number,
                         int single, struct random *random) {
    const int place = number % PLACES, gap = number % 2 * 5;
    matrix_open(&p->a, (struct shape){place, m, depth, gap});
    matrix_open(&p->b, (struct shape){place, depth, n, gap});
    matrix_open(&p->c,
                (struct shape){place, (int)round_up(m, 16), (int)round_up(n, 16), gap});
    matrix_fill(&p->a, FILL_RANDOM, random);
    matrix_fill(&p->b, FILL_RANDOM, random);
    if (single & 1) {
        shorten(&p->a);
    }
    if (single & 2) {
        shorten(&p->b);
    }
    p->row_pieces = new_pieces(ceil_div(m, SIDE) * pieces_of_strip(depth, false));
    p->column_pieces = new_pieces(ceil_div(n, SIDE) * pieces_of_strip(depth, false));
    split_product(p, 0.25f, single & 1, single & 2);
}

static void close_product(struct product *p) {
    matrix_close(&p->a);
    matrix_close(&p->b);
    matrix_close(&p->c);
    free(p->row_pieces);
    free(p->column_pieces);
}

/* Sums are off by no more than this of their parts together. */
static void check_product(const struct product *p, double bound) {
    for (int i = 0; i < p->a.rows; i++) {
        for (int j = 0; j < p->b.n; j++) {
            double sum = 0, size = 0;
            for (int l = 0; l < p->a.n; l++) {
                const double xy =
                    0.25 * matrix_get(&p->a, i, l) * (double)matrix_get(&p->b, l, j);
                sum += xy;
                size += fabs(xy);
            }
            const float got = matrix_get(&p->c, i, j);
            if (!check_number(got, sum, bound * size)) {
                matrix_fail("product of pieces", &p->c, i, j, got, sum);
            }
        }
    }
}

/* One number by itself has the same bits. */
static void check_alone(const struct product *p, int i, int j, float *scratch_c,
                        uint16_t *scratch) {
    uint16_t *row = new_pieces(p->rows.step), *column = new_pieces(p->columns.step);
    const struct strips rows = {row, p->rows.step, p->rows.single},
                        columns = {column, p->columns.step, p->columns.single};
    k->split_rows(row, p->a.at + i * p->a.ld, p->a.ld, 1, p->a.n, 0.25f, rows.single);
    k->split_columns(column, p->b.at + j, p->b.ld, p->b.rows, 1, columns.single);
    k->product(1, 1, p->a.n, 1.0f, &rows, &columns, scratch_c, 16);
    assert_memory_equal(scratch_c, p->c.at + i * p->c.ld + j, sizeof *scratch_c);
    k->product_split(1, 1, p->a.n, 0.25f, p->a.at + i * p->a.ld, p->a.ld, false,
                     &columns, scratch, scratch_c, 16);
    assert_memory_equal(scratch_c, p->c.at + i * p->c.ld + j, sizeof *scratch_c);
    free(row);
    free(column);
}

/* Every number of c times a factor. */
static void need_same(const struct product *p, const struct matrix *c, float factor) {
    for (int i = 0; i < p->a.rows; i++) {
        for (int j = 0; j < p->b.n; j++) {
            const float right = factor * matrix_get(&p->c, i, j);
            assert_memory_equal(c->at + i * c->ld + j, &right, sizeof right);
        }
    }
}

/* Rows that are split on the way, sums that are scaled, and bfloat16 in three pieces
 * of which two are 0 make the same bits. */
static void check_other_ways(struct product *p, int number, uint16_t *scratch) {
    const int m = p->a.rows, n = p->b.n, depth = p->a.n;
    struct matrix other;
    matrix_open(&other, (struct shape){number % PLACES, p->c.rows, p->c.n, 1});
    k->product_split(m, n, depth, 0.25f, p->a.at, p->a.ld, false, &p->columns, scratch,
                     other.at, other.ld);
    need_same(p, &other, 1.0f);
    k->product(m, n, depth, 0.7f, &p->rows, &p->columns, other.at, other.ld);
    need_same(p, &other, 0.7f);
    split_product(p, 0.25f, false, false);
    k->product(m, n, depth, 1.0f, &p->rows, &p->columns, other.at, other.ld);
    need_same(p, &other, 1.0f);
    matrix_close(&other);
}

static void products_are_right(void **state) {
    (void)state;
    struct random random = random_stream(2, 0);
    uint16_t *scratch = new_pieces(PIECES_SCRATCH);
    float *tile = aligned_alloc(64, 256 * sizeof *tile);
    for (int number = 0; number < 400; number++) {
        const int m = 1 + (int)random_between(&random, 0, ROWS_MOST - 1),
                  n = 1 + (int)random_between(
                              &random, 0, number % 3 == 0 ? WIDE_MOST : ROWS_MOST - 1),
                  depth = number % 5 == 0
                              ? SIDE * (1 + number % 7)
                              : 1 + (int)random_between(&random, 0, DEPTH_MOST - 1);
        struct product p;
        open_product(&p, m, n, depth, number, number / 2 % 4, &random);
        k->product(m, n, depth, 1.0f, &p.rows, &p.columns, p.c.at, p.c.ld);
        check_product(&p, (depth + 10) * U);
        check_alone(&p, m - 1, n - 1, tile, scratch);
        check_alone(&p, 0, n / 2, tile, scratch);
        check_other_ways(&p, number, scratch);
        close_product(&p);
    }
    free(scratch);
    free(tile);
}

/* Numbers of which one makes each sum lose no more than 2^-16 in two pieces; larger
 * sums as much of their parts; and the model makes the same bits. */
static void two_pieces_are_near(void **state) {
    (void)state;
    const struct piece_kernels *model = attn_kernels(ATTN_ISA_PIECES)->pieces;
    struct random random = random_stream(6, 0);
    uint16_t *scratch = new_pieces(PIECES_SCRATCH);
    for (int number = 0; number < 200; number++) {
        const int m = 1 + (int)random_between(&random, 0, ROWS_MOST - 1),
                  n = 1 + (int)random_between(&random, 0, ROWS_MOST - 1),
                  depth = number % 3 == 0
                              ? SIDE * (1 + number % 7)
                              : 1 + (int)random_between(&random, 0, DEPTH_MOST - 1);
        struct product p;
        struct matrix other;
        open_product(&p, m, n, depth, number, 2, &random);
        if (number % 2 == 0) {
            for (int l = 0; l < depth; l++) {
                for (int j = 0; j < n; j++) {
                    p.b.at[l * p.b.ld + j] = l == (3 * j + number) % depth ? 1.0f : 0;
                }
            }
            split_product(&p, 0.25f, false, true);
        }
        k->product_split(m, n, depth, 0.25f, p.a.at, p.a.ld, true, &p.columns, scratch,
                         p.c.at, p.c.ld);
        check_product(&p, 0x1p-16 + (number % 2 == 0 ? 0 : (depth + 10) * U));
        matrix_open(&other, (struct shape){number % PLACES, p.c.rows, p.c.n, 1});
        model->product_split(m, n, depth, 0.25f, p.a.at, p.a.ld, true, &p.columns,
                             scratch, other.at, other.ld);
        need_same(&p, &other, 1.0f);
        matrix_close(&other);
        close_product(&p);
    }
    free(scratch);
}

/* Tiles and their model make the same bits, also of what makes them subnormal, or
 * infinite. */
static void model_is_exact(void **state) {
    (void)state;
    const struct piece_kernels *model = attn_kernels(ATTN_ISA_PIECES)->pieces;
    static const float factors[] = {1.0f, 0x1p-90f, 0x1p-126f, 0x1p100f, 0x1p40f};
    struct random random = random_stream(4, 0);
    for (int number = 0; number < 200; number++) {
        const int m = 1 + number % 40, n = 1 + (int)random_between(&random, 0, 39),
                  depth = 1 + (int)random_between(&random, 0, DEPTH_MOST - 1);
        struct product p;
        struct matrix right;
        const int single = number / 5 % 4;
        open_product(&p, m, n, depth, number, single, &random);
        split_product(&p, factors[number % (int)COUNT_OF(factors)], single & 1,
                      single & 2);
        matrix_open(&right, (struct shape){number % PLACES, p.c.rows, p.c.n, 1});
        k->product(m, n, depth, 0.7f, &p.rows, &p.columns, p.c.at, p.c.ld);
        model->product(m, n, depth, 0.7f, &p.rows, &p.columns, right.at, right.ld);
        for (int i = 0; i < m; i++) {
            for (int j = 0; j < n; j++) {
                const float got = matrix_get(&p.c, i, j),
                            wanted = matrix_get(&right, i, j);
                if (!(isnan(got) && isnan(wanted)) &&
                    memcmp(&got, &wanted, sizeof got) != 0) {
                    matrix_fail("product of pieces", &p.c, i, j, got, wanted);
                }
            }
        }
        matrix_close(&right);
        close_product(&p);
    }
}

static int run_set(const struct piece_kernels *kernels, const char *name) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_add_up),    cmocka_unit_test(bf16_is_taken),
        cmocka_unit_test(odd_numbers_stay), cmocka_unit_test(products_are_right),
        cmocka_unit_test(model_is_exact),   cmocka_unit_test(two_pieces_are_near),
    };
    k = kernels;
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void) {
    return sets_run_pieces(run_set);
}
