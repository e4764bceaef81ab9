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
enum { SIDE = PIECES_SIDE, ROWS_MOST = 70, DEPTH_MOST = 200 };

static float from_bf16(uint16_t bits) {
    const uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

/* Where number l of row or column i of a strip has its pieces, 2 tiles apart. */
static const uint16_t *row_at(const uint16_t *strip, int i, int l) {
    return strip + (ptrdiff_t)(l / SIDE) * PIECES_STEP +
           (ptrdiff_t)(i / 16) * PIECES_TILE + (ptrdiff_t)(i % 16) * SIDE +
           (ptrdiff_t)(l % 16) * 2 + l % SIDE / 16;
}

static const uint16_t *column_at(const uint16_t *strip, int l, int j) {
    return strip + (ptrdiff_t)(l / SIDE) * PIECES_STEP +
           (ptrdiff_t)(j / 16) * PIECES_TILE + (ptrdiff_t)(l % 16) * SIDE +
           (ptrdiff_t)(j % 16) * 2 + l % SIDE / 16;
}

static void need_sum(const uint16_t *pieces, float right) {
    const double sum = (double)from_bf16(pieces[0]) + from_bf16(pieces[(size_t)PIECE]) +
                       from_bf16(pieces[2 * (size_t)PIECE]);
    if (sum != (double)right) {
        fail_msg("pieces add up to %a, should be %a", sum, (double)right);
    }
}

static uint16_t *new_pieces(int64_t count) {
    uint16_t *pieces = aligned_alloc(64, (size_t)count * sizeof *pieces);
    assert_non_null(pieces);
    memset(pieces, 0xff, (size_t)count * sizeof *pieces); /* NaN */
    return pieces;
}

/* Every number of 24 bits, and those of fewer, is the sum of three of 8. */
static void pieces_add_up(void **state) {
    (void)state;
    struct random random = random_stream(1, 0);
    static const int depths[] = {1, 15, 16, 17, 31, 32, 33, 63, 64, 100};
    for (int number = 0; number < 10 * SIDE; number++) {
        const int depth = depths[number / SIDE], rows = number % SIDE + 1;
        const int whole = (int)round_up(depth, SIDE);
        uint16_t *strip = new_pieces(pieces_of_strip(depth));
        struct matrix a, b;
        matrix_open(&a, (struct shape){number % PLACES, rows, depth, number % 2 * 3});
        matrix_open(&b, (struct shape){number % PLACES, depth, rows, number % 2 * 3});
        matrix_fill(&a, FILL_RANDOM, &random);
        matrix_fill(&b, FILL_RANDOM, &random);
        k->split_rows(strip, a.at, a.ld, rows, depth, 0x1p40f);
        for (int i = 0; i < rows; i++) {
            for (int l = 0; l < whole; l++) {
                need_sum(row_at(strip, i, l),
                         l < depth ? 0x1p40f * matrix_get(&a, i, l) : 0.0f);
            }
        }
        k->split_columns(strip, b.at, b.ld, depth, rows);
        for (int l = 0; l < whole; l++) {
            for (int j = 0; j < SIDE; j++) {
                need_sum(column_at(strip, l, j),
                         l < depth && j < rows ? matrix_get(&b, l, j) : 0.0f);
            }
        }
        matrix_close(&a);
        matrix_close(&b);
        free(strip);
    }
}

/* A NaN has a piece that is one, and what is 0 has none. */
static void odd_numbers_stay(void **state) {
    (void)state;
    uint16_t *strip = new_pieces(PIECES_STEP);
    const float odd[] = {NAN, -NAN, 0.0f, -0.0f};
    k->split_rows(strip, odd, 0, 1, 4, 1.0f);
    assert_true(isnan(from_bf16(*row_at(strip, 0, 0))));
    assert_true(isnan(from_bf16(*row_at(strip, 0, 1))));
    need_sum(row_at(strip, 0, 2), 0.0f);
    need_sum(row_at(strip, 0, 3), 0.0f);
    free(strip);
}

struct product {
    struct matrix a, b;
    uint16_t *rows, *columns;
    int64_t step; /* of a strip of either */
    struct matrix c;
};

static void open_product(struct product *p, int m, int n, int depth, int number,
                         struct random *random) {
    const int place = number % PLACES, gap = number % 2 * 5;
    p->step = pieces_of_strip(depth);
    matrix_open(&p->a, (struct shape){place, m, depth, gap});
    matrix_open(&p->b, (struct shape){place, depth, n, gap});
    matrix_open(&p->c,
                (struct shape){place, (int)round_up(m, 16), (int)round_up(n, 16), gap});
    matrix_fill(&p->a, FILL_RANDOM, random);
    matrix_fill(&p->b, FILL_RANDOM, random);
    p->rows = new_pieces(ceil_div(m, SIDE) * p->step);
    p->columns = new_pieces(ceil_div(n, SIDE) * p->step);
    for (int i = 0; i < m; i += SIDE) {
        k->split_rows(p->rows + i / SIDE * p->step, p->a.at + i * p->a.ld, p->a.ld,
                      m - i < SIDE ? m - i : SIDE, depth, 0.25f);
    }
    for (int j = 0; j < n; j += SIDE) {
        k->split_columns(p->columns + j / SIDE * p->step, p->b.at + j, p->b.ld, depth,
                         n - j < SIDE ? n - j : SIDE);
    }
}

static void close_product(struct product *p) {
    matrix_close(&p->a);
    matrix_close(&p->b);
    matrix_close(&p->c);
    free(p->rows);
    free(p->columns);
}

static void check_product(const struct product *p) {
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
            if (!check_number(got, sum, (p->a.n + 10) * U * size)) {
                matrix_fail("product of pieces", &p->c, i, j, got, sum);
            }
        }
    }
}

/* One number by itself, and rows that are split on the way, have the same bits. */
static void check_alone(const struct product *p, int i, int j, float *scratch_c,
                        uint16_t *scratch) {
    uint16_t *row = new_pieces(p->step), *column = new_pieces(p->step);
    k->split_rows(row, p->a.at + i * p->a.ld, p->a.ld, 1, p->a.n, 0.25f);
    k->split_columns(column, p->b.at + j, p->b.ld, p->b.rows, 1);
    k->product(1, 1, p->a.n, row, p->step, column, p->step, scratch_c, 16);
    assert_memory_equal(scratch_c, p->c.at + i * p->c.ld + j, sizeof *scratch_c);
    k->product_split(1, 1, p->a.n, 0.25f, p->a.at + i * p->a.ld, p->a.ld, column,
                     p->step, scratch, scratch_c, 16);
    assert_memory_equal(scratch_c, p->c.at + i * p->c.ld + j, sizeof *scratch_c);
    free(row);
    free(column);
}

static void products_are_right(void **state) {
    (void)state;
    struct random random = random_stream(2, 0);
    uint16_t *scratch = new_pieces(PIECES_SCRATCH);
    float *tile = aligned_alloc(64, 256 * sizeof *tile);
    for (int number = 0; number < 400; number++) {
        const int m = 1 + (int)random_between(&random, 0, ROWS_MOST - 1),
                  n = 1 + (int)random_between(&random, 0, ROWS_MOST - 1),
                  depth = number % 5 == 0
                              ? SIDE * (1 + number % 7)
                              : 1 + (int)random_between(&random, 0, DEPTH_MOST - 1);
        struct product p;
        open_product(&p, m, n, depth, number, &random);
        k->product(m, n, depth, p.rows, p.step, p.columns, p.step, p.c.at, p.c.ld);
        check_product(&p);
        check_alone(&p, m - 1, n - 1, tile, scratch);
        check_alone(&p, 0, n / 2, tile, scratch);
        struct matrix split;
        matrix_open(&split, (struct shape){number % PLACES, p.c.rows, p.c.n, 1});
        k->product_split(m, n, depth, 0.25f, p.a.at, p.a.ld, p.columns, p.step, scratch,
                         split.at, split.ld);
        for (int i = 0; i < m; i++) {
            assert_memory_equal(split.at + i * split.ld, p.c.at + i * p.c.ld,
                                (size_t)n * sizeof(float));
        }
        matrix_close(&split);
        close_product(&p);
    }
    free(scratch);
    free(tile);
}

static void rows_are_scaled(void **state) {
    (void)state;
    struct random random = random_stream(3, 0);
    for (int number = 0; number < 200; number++) {
        const int rows = number % 7, n = 1 + number % 67;
        const struct shape shape = {number % PLACES, rows, n, number % 3};
        struct matrix from, to, old, factor, rescale, row;
        matrix_open(&from, shape);
        matrix_open(&to, shape);
        matrix_open(&old, shape);
        matrix_open(&row, shape_of_columns(shape));
        matrix_fill(&row, FILL_RANDOM, &random);
        matrix_open(&factor, (struct shape){number % PLACES, 1, rows, 0});
        matrix_fill(&from, FILL_RANDOM, &random);
        matrix_fill(&old, FILL_RANDOM, &random);
        if (rows > 0) {
            from.at[0] =
                -0x1p-149f; /* an eighth of it is -0, which is not to be left */
        }
        matrix_fill(&factor, FILL_RANDOM, &random);
        matrix_open(&rescale, (struct shape){number % PLACES, 1, rows, 0});
        matrix_fill(&rescale, FILL_RANDOM, &random);
        matrix_copy(&to, &old);
        const bool factors = number % 2 == 0, rescales = number % 3 == 0,
                   accumulate = number % 5 < 2;
        k->scale_rows(to.at, to.ld, from.at, from.ld, rows, n, 0.125f,
                      factors ? factor.at : NULL, rescales ? rescale.at : NULL,
                      accumulate       ? to.at
                      : number % 4 < 2 ? row.at
                                       : NULL,
                      accumulate ? to.ld : 0);
        for (int i = 0; i < rows; i++) {
            for (int j = 0; j < n; j++) {
                const float product = 0.125f * matrix_get(&from, i, j);
                const float more = accumulate       ? matrix_get(&old, i, j)
                                   : number % 4 < 2 ? row.at[j]
                                                    : 0.0f;
                const float sum = (rescales ? rescale.at[i] * more : more) + product;
                const float right = factors ? factor.at[i] * sum : sum;
                assert_memory_equal(to.at + i * to.ld + j, &right, sizeof right);
            }
        }
        matrix_close(&from);
        matrix_close(&to);
        matrix_close(&old);
        matrix_close(&factor);
        matrix_close(&rescale);
        matrix_close(&row);
    }
}

/* Each number is looked at, wherever it is, and both limits are where they should be.
 */
static void limits_are_found(void **state) {
    (void)state;
    static const struct {
        float x;
        bool within, above; /* with low and high, with high alone */
    } cases[] = {
        {0.0f, true, true},
        {-0.0f, true, true},
        {0x1p-100f, true, true},
        {-0x1p-100f, true, true},
        {0x1.fffffep-101f, false, true},
        {0x1p-149f, false, true},
        {0x1.fffffep39f, true, true},
        {0x1p40f, false, false},
        {-0x1p40f, false, false},
        {INFINITY, false, false},
        {-INFINITY, false, false},
        {NAN, false, false},
    };
    for (int n = 1; n <= 67; n++) {
        struct matrix x;
        matrix_open(&x, (struct shape){n % PLACES, 3, n, n % 2 * 3});
        for (int i = 0; i < 3 * n; i++) {
            x.at[i / n * x.ld + i % n] = 1.0f;
        }
        for (int i = 0; i < 3 * n; i++) {
            float *at = x.at + i / n * x.ld + i % n;
            for (size_t c = 0; c < COUNT_OF(cases); c++) {
                *at = cases[c].x;
                assert_int_equal(k->within(x.at, x.ld, 3, n, 0x1p-100f, 0x1p40f),
                                 cases[c].within);
                assert_int_equal(k->within(x.at, x.ld, 3, n, 0.0f, 0x1p40f),
                                 cases[c].above);
            }
            *at = 1.0f;
        }
        assert_true(k->within(x.at, x.ld, 0, n, 0.0f, 1.0f));
        matrix_close(&x);
    }
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
        open_product(&p, m, n, depth, number, &random);
        matrix_open(&right, (struct shape){number % PLACES, p.c.rows, p.c.n, 1});
        for (int i = 0; i < m; i += SIDE) {
            k->split_rows(p.rows + i / SIDE * p.step, p.a.at + i * p.a.ld, p.a.ld,
                          m - i < SIDE ? m - i : SIDE, depth,
                          factors[number % (int)COUNT_OF(factors)]);
        }
        k->product(m, n, depth, p.rows, p.step, p.columns, p.step, p.c.at, p.c.ld);
        model->product(m, n, depth, p.rows, p.step, p.columns, p.step, right.at,
                       right.ld);
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

static int run_set(int32_t isa) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_add_up),      cmocka_unit_test(odd_numbers_stay),
        cmocka_unit_test(products_are_right), cmocka_unit_test(rows_are_scaled),
        cmocka_unit_test(limits_are_found),   cmocka_unit_test(model_is_exact),
    };
    if (attn_kernels(isa) == NULL || !attn_cpu_allows(isa)) {
        printf("%s does not run here\n", attn_cpu_isa_name(isa));
        return 0;
    }
    k = attn_kernels(isa)->pieces;
    return cmocka_run_group_tests_name(attn_cpu_isa_name(isa), tests, NULL, NULL);
}

int main(void) {
    return run_set(ATTN_ISA_PIECES) + run_set(ATTN_ISA_AMX);
}
