/*
 * Rows of f32 to signed bytes with a scale each: scale and bytes as the contract says,
 * bit for bit, and what it promises of them, the error above all. Rows of all sizes
 * from FLT_TRUE_MIN to FLT_MAX, zeros, infinities and NaN, and numbers half-way.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "tests/kernel/cells.h"
#include "tests/kernel/sets.h"
#include "tests/support/test.h"

static const struct kernels *k;

/* The scale by its definition; no quotient is so near a float that float64 misleads. */
static float scale_of(const struct matrix *from, int r) {
    double largest = 0;
    for (int c = 0; c < from->n; c++) {
        const float x = matrix_get(from, r, c);
        if (!isfinite(x)) {
            return NAN;
        }
        largest = fmax(largest, fabs((double)x));
    }
    return largest == 0 ? 0.0f : (float)fmax(largest / 127, 0x1p-126);
}

/* A row of `to`, from row `own` of `from`: every byte, the bound of its error, and that
 * the scale is no larger than it must be. */
static void check_row(const struct matrix *from, int own, const struct cells *to, int r,
                      float scale) {
    const float expected = scale_of(from, own);
    int largest = 0;
    if (!same_value(scale, expected)) {
        matrix_fail("quantize, scale", from, r, 0, (double)scale, (double)expected);
    }
    for (int c = 0; c < from->n; c++) {
        const float x = matrix_get(from, own, c);
        const int q = (int8_t)cells_get(to, r, c);
        const double quotient = (double)x / (double)scale;
        const double right = scale > 0 ? nearbyint((double)(float)quotient) : 0;
        largest = abs(q) > largest ? abs(q) : largest;
        if (q != (int)right) {
            matrix_fail("quantize", from, r, c, q, right);
        }
        const double error = fabs((double)x - (double)scale * q);
        if (error > (double)scale / 2 * (1 + 256 * U)) {
            matrix_fail("quantize, error", from, r, c, error, (double)scale / 2);
        }
    }
    if (largest > 127 || (largest < 127 && scale > 0x1p-126f)) {
        matrix_fail("quantize, largest", from, r, 0, largest, 127);
    }
}

/* Each row is `factor` times as large as the one before. */
static void check(struct shape shape, int fill, float factor, struct random *random) {
    struct matrix from, scales;
    struct cells to;
    const bool repeat = random_percent(random, 20);
    matrix_open(&from, shape);
    matrix_fill(&from, fill, random);
    float size = 1;
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            from.at[r * from.ld + c] *= size;
        }
        size *= factor;
    }
    matrix_open(&scales, (struct shape){shape.place, shape.rows, 1, 2});
    shape.gap = 4 - shape.gap;
    cells_open(&to, shape, 1);
    k->quantize((int8_t *)to.at, to.ld, scales.at, scales.ld, from.at,
                repeat ? 0 : from.ld, shape.rows, shape.n);
    for (int r = 0; r < shape.rows; r++) {
        check_row(&from, repeat ? 0 : r, &to, r, matrix_get(&scales, r, 0));
    }
    matrix_close(&from);
    matrix_close(&scales);
    cells_close(&to);
}

static void shapes(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(94, 0);
    for (int number = 0; number < SHAPES; number++) {
        for (int fill = 0; fill < FILLS; fill++) {
            check(shape_number(number, k->width), fill, 1, &random);
        }
    }
    for (int n = 0; n <= 3 * k->width + 1; n++) {
        for (int place = 0; place < PLACES; place++) {
            check((struct shape){place, 3, n, 1}, FILL_RANDOM, 1, &random);
        }
    }
}

/* Rows from one to the smallest and the largest floats. */
static void all_sizes(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(95, 0);
    for (int place = 0; place < PLACES; place++) {
        check((struct shape){place, 151, 37, 0}, FILL_RANDOM, 0.5f, &random);
        check((struct shape){place, 128, 37, 0}, FILL_RANDOM, 2.0f, &random);
    }
}

/* Quantizes one row of `n` and fails unless it becomes this. */
static void check_one(const float *from, int n, float scale, const int *bytes) {
    int8_t to[64];
    float got = -1;
    assert_true(n <= (int)COUNT_OF(to));
    k->quantize(to, n, &got, 0, from, n, 1, n);
    assert_true(same_value(got, scale));
    for (int i = 0; i < n; i++) {
        assert_int_equal(to[i], bytes[i]);
    }
}

/* Numbers half-way go to the even byte. */
static void ties(void **state) {
    (void)state;
    k = sets_begin();
    float from[64];
    int bytes[64];
    for (int i = 0; i < 63; i++) {
        from[i] = (float)(2 * i - 63) + 0.5f; /* above an odd number */
        bytes[i] = 2 * i - 62;
    }
    from[63] = -127;
    bytes[63] = -127;
    check_one(from, 64, 1, bytes);
    for (int i = 0; i < 63; i++) {
        from[i] = (float)(2 * i - 62) + 0.5f; /* above an even number */
        bytes[i] = 2 * i - 62;
    }
    check_one(from, 64, 1, bytes);
}

static void extremes(void **state) {
    (void)state;
    k = sets_begin();
    const float tiny = FLT_TRUE_MIN, most = FLT_MAX, nan = NAN, inf = INFINITY;
    check_one((float[]){0, -0.0f, 0}, 3, 0, (int[]){0, 0, 0});
    check_one((float[]){tiny, -tiny}, 2, 0x1p-126f, (int[]){0, 0});
    check_one((float[]){0x1p-126f, -0x3p-127f, 0x1p-127f}, 3, 0x1p-126f,
              (int[]){1, -2, 0});
    check_one((float[]){127 * 0x1p-126f, 0x1p-126f}, 2, 0x1p-126f, (int[]){127, 1});
    /* the largest number is read as a finite one */
    const float scale = nextafterf(most / 127, 0);
    assert_true(127 * scale < inf && 127 * (most / 127) == inf);
    check_one((float[]){most, -most, scale}, 3, scale, (int[]){127, -127, 1});
    const float next = nextafterf(most, 0);
    check_one((float[]){next, 1}, 2, next / 127, (int[]){127, 0});
    check_one((float[]){1, nan, 2}, 3, nan, (int[]){0, 0, 0});
    check_one((float[]){nan, 1, 2}, 3, nan, (int[]){0, 0, 0});
    check_one((float[]){1, 2, -inf}, 3, nan, (int[]){0, 0, 0});
    check_one((float[]){1}, 0, 0, (int[]){0});
}

int main(void) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(all_sizes),
        cmocka_unit_test(ties),
        cmocka_unit_test(extremes),
    };
    int failed = 0;
    while (sets_next()) {
        failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
    }
    return sets_finish(failed, COUNT_OF(checks));
}
