/*
 * What goes with products of pieces: sums that are scaled and added, and numbers that
 * no pieces can be made of.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernel/kernel.h"
#include "tests/kernel/matrix.h"
#include "tests/kernel/sets.h"
#include "tests/support/test.h"

static const struct piece_kernels *k;

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
        uint16_t short_x[3 * 67];
        for (int i = 0; i < 3 * n; i++) {
            x.at[i / n * x.ld + i % n] = 1.0f;
            short_x[i] = 0x3f80; /* 1 */
        }
        for (int i = 0; i < 3 * n; i++) {
            float *at = x.at + i / n * x.ld + i % n;
            for (size_t c = 0; c < COUNT_OF(cases); c++) {
                *at = cases[c].x;
                assert_int_equal(k->within(x.at, x.ld, 3, n, 0x1p-100f, 0x1p40f),
                                 cases[c].within);
                assert_int_equal(k->within(x.at, x.ld, 3, n, 0.0f, 0x1p40f),
                                 cases[c].above);
                uint32_t bits;
                memcpy(&bits, at, sizeof bits);
                if ((bits & 0xffff) == 0) {
                    short_x[i] = (uint16_t)(bits >> 16);
                    assert_int_equal(
                        k->within_bf16(short_x, n, 3, n, 0x1p-100f, 0x1p40f),
                        cases[c].within);
                }
            }
            *at = 1.0f;
            short_x[i] = 0x3f80;
        }
        assert_true(k->within(x.at, x.ld, 0, n, 0.0f, 1.0f));
        matrix_close(&x);
    }
}

static int run_set(const struct piece_kernels *kernels, const char *name) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_scaled),
        cmocka_unit_test(limits_are_found),
    };
    k = kernels;
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void) {
    return sets_run_pieces(run_set);
}
