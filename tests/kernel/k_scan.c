/*
 * The two scans, which decide whether a step is needed at all: one element that differs
 * must be found wherever it is, and nothing in the gaps between rows may be; and which
 * integers stand in a relation to one.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "tests/kernel/matrix.h"
#include "tests/kernel/sets.h"
#include "tests/support/test.h"

static const struct kernels *k;

/* Both scans over rows that are ld floats apart. */
static void check_scans(const struct matrix *x, ptrdiff_t ld, int rows) {
    int found = 0;
    bool finite = true;
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < x->n; c++) {
            const float value = x->at[r * ld + c];
            found |= value == -INFINITY ? SCAN_MASKED : SCAN_ATTENDED;
            finite = finite && isfinite(value);
        }
    }
    const int got = k->scan_bias(x->at, ld, rows, x->n);
    if (got != found) {
        matrix_fail("scan_bias", x, 0, 0, got, found);
    }
    if (k->all_finite(x->at, ld, rows, x->n) != finite) {
        matrix_fail("all_finite", x, 0, 0, !finite, finite);
    }
}

/* Rows of `common`, and then `odd` in each place in turn. */
static void check_places(struct shape shape, float common, float odd) {
    struct matrix x;
    matrix_open(&x, shape);
    matrix_set(&x, common);
    check_scans(&x, x.ld, shape.rows);
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            x.at[r * x.ld + c] = odd;
            check_scans(&x, x.ld, shape.rows);
            check_scans(&x, 0, 7);
            x.at[r * x.ld + c] = common;
        }
    }
    matrix_close(&x);
}

static void one_element_is_found_everywhere(void **state) {
    (void)state;
    static const float pairs[][2] = {
        {0.0f, -INFINITY},     {-INFINITY, 1.0f},     {-INFINITY, NAN},
        {-INFINITY, INFINITY}, {1.0f, NAN},           {FLT_MAX, INFINITY},
        {-FLT_MAX, 0x1p-149f}, {NAN, -INFINITY},      {-0.0f, FLT_MAX},
        {INFINITY, -INFINITY}, {-INFINITY, -FLT_MAX}, {-INFINITY, -INFINITY},
    };
    k = sets_begin();
    for (int number = 0; number < SHAPES; number++) {
        const struct shape shape = shape_number(number, k->width);
        for (size_t i = 0; i < COUNT_OF(pairs) && shape.n < 100; i++) {
            check_places(shape, pairs[i][0], pairs[i][1]);
        }
    }
}

static void mixtures(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(41, 0);
    for (int number = 0; number < SHAPES; number++) {
        for (int fill = 0; fill < FILLS; fill++) {
            struct matrix x;
            matrix_open(&x, shape_number(number, k->width));
            matrix_fill(&x, fill, &random);
            check_scans(&x, x.ld, x.rows);
            matrix_close(&x);
        }
    }
}

static int stand(enum relation relation, int64_t a, int64_t b) {
    return relation == RELATION_EQUAL   ? a == b
           : relation == RELATION_UP_TO ? a <= b
                                        : a < b;
}

/* Numbers around the value, of 4 or 8 bytes. */
static void check_relation(enum relation relation, bool wide, int n, int64_t value,
                           struct random *random) {
    enum { MOST = 70 };
    int64_t numbers[MOST];
    int32_t narrow[MOST];
    uint8_t keep[MOST + 1];
    for (int j = 0; j < MOST; j++) {
        const int64_t far = random_percent(random, 20) ? INT64_C(1) << 32 : 0;
        narrow[j] = (int32_t)random_between(random, -3, 3);
        narrow[j] = random_percent(random, 10) ? INT32_MIN : narrow[j];
        narrow[j] = random_percent(random, 10) ? INT32_MAX : narrow[j];
        numbers[j] = wide ? random_between(random, -3, 3) + far : narrow[j];
    }
    memset(keep, 9, sizeof keep);
    k->relate(keep, relation, wide ? (const void *)numbers : narrow, wide, n, value);
    for (int j = 0; j < n; j++) {
        assert_int_equal(keep[j], stand(relation, numbers[j], value));
    }
    assert_int_equal(keep[n], 9);
}

static void relations(void **state) {
    (void)state;
    static const int64_t values[] = {0,         -2,        3,
                                     INT32_MAX, INT32_MIN, (INT64_C(1) << 32) + 1,
                                     INT64_MAX, INT64_MIN, -(INT64_C(1) << 32)};
    k = sets_begin();
    struct random random = random_stream(42, 0);
    for (int n = 0; n <= 70; n++) {
        for (size_t i = 0; i < COUNT_OF(values) * 6; i++) {
            const enum relation relation = (enum relation)(i % 3);
            check_relation(relation, i / 3 % 2 == 0, n, values[i / 6], &random);
        }
    }
}

int main(void) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(one_element_is_found_everywhere),
        cmocka_unit_test(mixtures),
        cmocka_unit_test(relations),
    };
    int failed = 0;
    while (sets_next()) {
        failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
    }
    return sets_finish(failed, COUNT_OF(checks));
}
