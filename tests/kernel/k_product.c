/*
 * The kernels that move and add up rows: product, product_ahead, product_turned,
 * transpose, to_blocks, scale, scale_add, add_columns.
 *
 * A product is compared with float64 within the bound of a sum of k terms, and bit for
 * bit with the one chain that its promise leaves: ascending k, with or without fused
 * arithmetic, but the same for every element. The others have one right result.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "tests/kernel/matrix.h"
#include "tests/kernel/sets.h"
#include "tests/support/check.h"

static const struct kernels *k;

/* How a lies in its matrix: as it is, transposed, or every third column of it. */
enum { PLAIN, TRANSPOSED, SPREAD, LAYOUTS };

struct product {
    struct matrix a, b, c, old; /* old: c before the call */
    ptrdiff_t row_a, column_a, row_b, column_b;
    struct matrix alpha; /* of each row, or one for all */
    int depth;
    bool accumulate;
};

static float a_at(const struct product *p, int i, int l) {
    return p->a.at[i * p->row_a + l * p->column_a];
}

static float b_at(const struct product *p, int l, int j) {
    return p->b.at[l * p->row_b + j * p->column_b];
}

static float alpha_at(const struct product *p, int i) {
    return p->alpha.at[p->alpha.n > 1 ? i : 0];
}

/* An element as a chain of float operations. */
static float chain(const struct product *p, int i, int j, bool fused) {
    float sum = 0.0f;
    for (int l = 0; l < p->depth; l++) {
        const float x = a_at(p, i, l), y = b_at(p, l, j);
        const float xy = x * y;
        sum = fused ? fmaf(x, y, sum) : sum + xy;
    }
    /* with an alpha for each row, 0 for -0 before it is multiplied */
    const float result = alpha_at(p, i) * (p->alpha.n > 1 ? 0.0f + sum : sum);
    return p->accumulate ? matrix_get(&p->old, i, j) + result : result;
}

static void check_product(const struct product *p) {
    bool fused = true, plain = true;
    for (int i = 0; i < p->c.rows; i++) {
        for (int j = 0; j < p->c.n; j++) {
            double sum = 0, size = 0;
            for (int l = 0; l < p->depth; l++) {
                const double x = a_at(p, i, l), y = b_at(p, l, j);
                sum += x * y;
                size += fabs(x * y);
            }
            const double alpha = alpha_at(p, i);
            const double right =
                alpha * sum + (p->accumulate ? matrix_get(&p->old, i, j) : 0);
            const double bound =
                (p->depth + 2) * U * (fabs(alpha) * size + fabs(right)) +
                (p->depth + 2) * 0x1p-149;
            const float got = matrix_get(&p->c, i, j);
            if (!check_number(got, right, isfinite(bound) ? bound : 0)) {
                matrix_fail("product", &p->c, i, j, got, right);
            }
            fused = fused && same_value(got, chain(p, i, j, true));
            plain = plain && same_value(got, chain(p, i, j, false));
        }
    }
    if (!fused && !plain) {
        fail_msg("%s product %d x %d x %d: not one chain of ascending k", sets_name(),
                 p->c.rows, p->c.n, p->depth);
    }
}

static void open_a(struct product *p, int layout, int m, struct shape shape) {
    shape.rows = layout == TRANSPOSED ? p->depth : m;
    shape.n = layout == TRANSPOSED               ? m
              : layout == SPREAD && p->depth > 0 ? 3 * p->depth - 2
                                                 : p->depth;
    matrix_open(&p->a, shape);
    p->row_a = layout == TRANSPOSED ? 1 : p->a.ld;
    p->column_a = layout == TRANSPOSED ? p->a.ld : layout == SPREAD ? 3 : 1;
}

/* One alpha, or one for each of several rows. */
static void open_alpha(struct product *p, int m, int number, struct random *random) {
    static const float alphas[] = {1.0f, 0.125f, -0.7f};
    const bool each = number % 3 == 0 && m > 1;
    matrix_open(&p->alpha, (struct shape){number % PLACES, 1, each ? m : 1, 0});
    matrix_fill(&p->alpha, FILL_RANDOM, random);
    if (!each) {
        p->alpha.at[0] = alphas[number % 7 % 3];
    }
}

static void close_product(struct product *p) {
    matrix_close(&p->alpha);
    matrix_close(&p->a);
    matrix_close(&p->b);
    matrix_close(&p->c);
    matrix_close(&p->old);
}

/* Fills, strides, layout, alpha and the place all change with `number`. */
static void run_product(int m, int n, int depth, int number, struct random *random) {
    static const int fills[] = {FILL_RANDOM, FILL_RANDOM, FILL_TINY, FILL_NAN,
                                FILL_ZEROS};
    const int place = number % PLACES, gap = number % 2 * 3;
    struct product p = {.depth = depth, .accumulate = number % 5 < 2};
    open_alpha(&p, m, number, random);
    open_a(&p, number / PLACES % LAYOUTS, m, (struct shape){place, m, depth, gap});
    matrix_open(&p.b, (struct shape){place, depth, n, 2 * gap});
    matrix_open(&p.c, (struct shape){place, m, n, gap});
    matrix_open(&p.old, (struct shape){place, m, n, 0});
    matrix_fill(&p.a, fills[number % 11 % 5], random);
    matrix_fill(&p.b, fills[number % 13 % 5], random);
    /* without accumulate, c is not read: it holds NaN */
    if (p.accumulate) {
        matrix_fill(&p.old, FILL_RANDOM, random);
    }
    matrix_copy(&p.c, &p.old);
    p.row_b = p.b.ld;
    p.column_b = 1;
    if (number % 17 == 0 && m > 0 && depth > 0) {
        p.row_a = p.row_b = 0; /* one row for all */
    }
    k->product(m, n, depth, p.alpha.at, p.alpha.n > 1, p.a.at, p.row_a, p.column_a,
               p.b.at, p.row_b, p.accumulate, p.c.at, p.c.ld);
    check_product(&p);
    close_product(&p);
}

/* With a block of columns, of which n count, or the transpose of n rows. What lies
 * ahead is not read: no memory is there. */
static void run_ahead(int m, int n, int depth, bool turned, int number,
                      struct random *random) {
    const int place = number % PLACES, columns = PRODUCT_VECS(k->width) * k->width;
    const float *nowhere = (const float *)(uintptr_t)64;
    struct product p = {.depth = depth, .accumulate = number % 5 < 2};
    matrix_open(&p.alpha, (struct shape){place, 1, 1, 0});
    p.alpha.at[0] = 1.0f;
    open_a(&p, PLAIN, m, (struct shape){place, m, depth, number % 2 * 3});
    matrix_open(&p.b, turned ? (struct shape){place, n, depth, number % 4}
                             : (struct shape){place, depth, columns, 0});
    matrix_open(&p.c, (struct shape){place, m, n, number % 3});
    matrix_open(&p.old, (struct shape){place, m, n, 0});
    matrix_fill(&p.a, number % 7 == 0 ? FILL_NAN : FILL_RANDOM, random);
    matrix_fill(&p.b, number % 11 == 0 ? FILL_TINY : FILL_RANDOM, random);
    if (p.accumulate) {
        matrix_fill(&p.old, FILL_RANDOM, random);
    }
    matrix_copy(&p.c, &p.old);
    p.row_b = turned ? 1 : columns;
    p.column_b = turned ? p.b.ld : 1;
    if (turned) {
        k->product_turned(m, n, depth, p.a.at, p.row_a, p.b.at, p.b.ld, nowhere,
                          p.accumulate, p.c.at, p.c.ld);
    } else {
        k->product_ahead(m, n, depth, p.a.at, p.row_a, p.b.at, nowhere, p.accumulate,
                         p.c.at, p.c.ld);
    }
    check_product(&p);
    close_product(&p);
}

static void products(void **state) {
    (void)state;
    k = sets_begin();
    const int w = k->width;
    const int sizes[] = {0, 1,     2,         3,     4,         5, w - 1,
                         w, w + 1, 2 * w - 1, 2 * w, 2 * w + 3, 9};
    const int count = COUNT_OF(sizes);
    struct random random = random_stream(21, 0);
    for (int number = 0; number < count * count * count; number++) {
        run_product(sizes[number / count / count], sizes[number / count % count],
                    sizes[number % count], number, &random);
    }
    for (int layout = 0; layout < LAYOUTS; layout++) {
        run_product(7, 4 * w + 3, 257, 1 + layout * PLACES, &random);
    }
}

/* What most of attention's time goes into: blocks that need all registers, with rows of
 * b one after the other. */
static void products_of_whole_blocks(void **state) {
    (void)state;
    k = sets_begin();
    const int rows = PRODUCT_ROWS(k->width), n = PRODUCT_VECS(k->width) * k->width;
    const int depths[] = {4, 5, 6, 33, 64};
    const int count = COUNT_OF(depths);
    struct random random = random_stream(27, 0);
    for (int number = 0; number < 1500; number++) {
        run_product(rows + 1 + number % (2 * rows), n + number / 7 % 2,
                    depths[number / 11 % count], number, &random);
    }
}

/* All numbers of rows and of columns, over one piece of a block and several. */
static void check_ahead(bool turned, uint64_t seed) {
    k = sets_begin();
    const int columns = PRODUCT_VECS(k->width) * k->width;
    const int piece = 4096 / columns, depth = 2 * piece + 3;
    const int depths[] = {0, 1, 5, piece - 1, piece, piece + 1, 2 * piece};
    const int count = COUNT_OF(depths);
    struct random random = random_stream(seed, 0);
    for (int m = 0, number = 0; m <= PRODUCT_AHEAD_ROWS(k->width); m++) {
        for (int d = 0; d < count; d++, number++) {
            run_ahead(m, 1 + number % columns, depths[d], turned, number, &random);
        }
        run_ahead(m, columns, depth, turned, number++, &random);
    }
}

static void products_ahead(void **state) {
    (void)state;
    check_ahead(false, 28);
}

static void products_turned(void **state) {
    (void)state;
    check_ahead(true, 29);
}

static void transposes(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(22, 0);
    for (int number = 0; number < SHAPES * 9; number++) {
        struct shape shape = shape_number(number / 9, k->width);
        shape.rows = shape_number(number % 9 * PLACES * 6, k->width).n;
        const struct shape turned = {shape.place, shape.n, shape.rows, shape.gap / 3};
        struct matrix from, to;
        matrix_open(&from, shape);
        matrix_open(&to, turned);
        matrix_fill(&from, number % 2 ? FILL_RANDOM : FILL_NAN, &random);
        k->transpose(to.at, to.ld, from.at, from.ld, shape.rows, shape.n);
        for (int r = 0; r < shape.rows; r++) {
            for (int c = 0; c < shape.n; c++) {
                if (!same_bits(matrix_get(&to, c, r), matrix_get(&from, r, c))) {
                    matrix_fail("transpose", &to, c, r, matrix_get(&to, c, r),
                                matrix_get(&from, r, c));
                }
            }
        }
        matrix_close(&from);
        matrix_close(&to);
    }
}

/* Each number at its place in its block, and nothing beside it. */
static void blocks_of_columns(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(26, 0);
    const int w = PRODUCT_VECS(k->width) * k->width;
    for (int number = 0; number < SHAPES * 3; number++) {
        struct shape shape = shape_number(number / 3, k->width);
        shape.n += number % 3 * w;
        const int blocks = (shape.n + w - 1) / w, step = shape.rows * w + number % 5;
        const struct shape room = {shape.place, 1, blocks * step + w, 0};
        struct matrix from, to;
        matrix_open(&from, shape);
        matrix_open(&to, room);
        matrix_fill(&from, FILL_RANDOM, &random);
        matrix_fill(&to, FILL_NAN, &random);
        struct matrix expected;
        matrix_open(&expected, room);
        matrix_copy(&expected, &to);
        for (int r = 0; r < shape.rows; r++) {
            for (int c = 0; c < shape.n; c++) {
                expected.at[c / w * step + r * w + c % w] = matrix_get(&from, r, c);
            }
        }
        k->to_blocks(to.at, step, from.at, from.ld, shape.rows, shape.n);
        for (int i = 0; i < room.n; i++) {
            if (!same_bits(matrix_get(&to, 0, i), matrix_get(&expected, 0, i))) {
                matrix_fail("to_blocks", &to, 0, i, matrix_get(&to, 0, i),
                            matrix_get(&expected, 0, i));
            }
        }
        matrix_close(&from);
        matrix_close(&to);
        matrix_close(&expected);
    }
}

static void check_scale(struct shape shape, int fill, bool in_place,
                        struct random *random) {
    struct matrix from, old, factor, to;
    matrix_open(&from, shape);
    matrix_open(&old, shape);
    matrix_open(&factor, shape_of_rows(shape));
    shape.gap = 4 - shape.gap;
    matrix_open(&to, shape);
    matrix_fill(&old, fill, random);
    matrix_copy(&from, &old);
    matrix_fill(&factor, shape.n % 2 ? FILL_RANDOM : fill, random);
    const struct matrix *result = in_place ? &from : &to;
    k->scale(result->at, result->ld, from.at, from.ld, shape.rows, shape.n, factor.at);
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            const float right = matrix_get(&old, r, c) * factor.at[r];
            if (!same_value(matrix_get(result, r, c), right)) {
                matrix_fail("scale", result, r, c, matrix_get(result, r, c), right);
            }
        }
    }
    matrix_close(&from);
    matrix_close(&old);
    matrix_close(&factor);
    matrix_close(&to);
}

static void check_scale_add(struct shape shape, int fill, struct random *random) {
    struct matrix from, old, to, factor, other;
    matrix_open(&from, shape);
    matrix_open(&old, shape);
    matrix_open(&to, shape);
    matrix_open(&factor, shape_of_rows(shape));
    matrix_open(&other, shape_of_rows(shape));
    matrix_fill(&from, fill, random);
    matrix_fill(&old, fill, random);
    matrix_copy(&to, &old);
    matrix_fill(&factor, FILL_RANDOM, random);
    matrix_fill(&other, shape.n % 2 ? FILL_RANDOM : fill, random);
    k->scale_add(to.at, from.at, to.ld, shape.rows, shape.n, factor.at, other.at);
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            const float kept = matrix_get(&old, r, c) * factor.at[r];
            const float right = kept + matrix_get(&from, r, c) * other.at[r];
            if (!same_value(matrix_get(&to, r, c), right)) {
                matrix_fail("scale_add", &to, r, c, matrix_get(&to, r, c), right);
            }
        }
    }
    matrix_close(&from);
    matrix_close(&old);
    matrix_close(&to);
    matrix_close(&factor);
    matrix_close(&other);
}

static void check_add_columns(struct shape shape, int fill, struct random *random) {
    struct matrix s, total, old;
    matrix_open(&s, shape);
    matrix_open(&total, shape_of_columns(shape));
    matrix_open(&old, shape_of_columns(shape));
    matrix_fill(&s, fill, random);
    matrix_fill(&old, FILL_RANDOM, random);
    matrix_copy(&total, &old);
    k->add_columns(total.at, s.at, s.ld, shape.rows, shape.n);
    for (int c = 0; c < shape.n; c++) {
        float right = old.at[c];
        for (int r = 0; r < shape.rows; r++) {
            right += matrix_get(&s, r, c);
        }
        if (!same_value(total.at[c], right)) {
            matrix_fail("add_columns", &s, shape.rows, c, total.at[c], right);
        }
    }
    matrix_close(&s);
    matrix_close(&total);
    matrix_close(&old);
}

static void rows(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(23, 0);
    for (int number = 0; number < SHAPES; number++) {
        for (int fill = 0; fill < FILLS; fill++) {
            const struct shape shape = shape_number(number, k->width);
            check_scale(shape, fill, false, &random);
            check_scale(shape, fill, true, &random);
            check_scale_add(shape, fill, &random);
            check_add_columns(shape, fill, &random);
        }
    }
}

int main(void) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(products),       cmocka_unit_test(products_of_whole_blocks),
        cmocka_unit_test(products_ahead), cmocka_unit_test(products_turned),
        cmocka_unit_test(transposes),     cmocka_unit_test(blocks_of_columns),
        cmocka_unit_test(rows),
    };
    int failed = 0;
    while (sets_next()) {
        failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
    }
    return sets_finish(failed, COUNT_OF(checks));
}
