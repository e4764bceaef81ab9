/*
 * The kernels that change a tile of scores before the softmax. All but softcap and
 * add_alibi have one right result, which is compared bit for bit (NaN with NaN where
 * there is arithmetic), so that all sets agree.
 */
#include <math.h>

#include "tests/kernel/matrix.h"
#include "tests/kernel/sets.h"
#include "tests/support/check.h"

static const struct kernels *k;

/* How a bias repeats: not, the same row for all, one value a row, one value. */
enum { WHOLE, SAME_ROW, SAME_COLUMN, ONE_VALUE, LAYOUTS };

struct scores {
    struct matrix s, old, bias; /* old: s before the call */
    int column_step;
};

static void scores_open(struct scores *scores, struct shape shape, int layout,
                        struct random *random) {
    matrix_open(&scores->s, shape);
    matrix_open(&scores->old, shape);
    scores->column_step = layout == SAME_COLUMN || layout == ONE_VALUE ? 0 : 1;
    const bool same_row = layout == SAME_ROW || layout == ONE_VALUE;
    shape.rows = same_row && shape.rows > 1 ? 1 : shape.rows;
    shape.n = scores->column_step == 0 && shape.n > 1 ? 1 : shape.n;
    matrix_open(&scores->bias, shape);
    scores->bias.ld = same_row ? 0 : scores->bias.ld;
    matrix_fill(&scores->old, (int)(random_bits(random) % FILLS), random);
    matrix_copy(&scores->s, &scores->old);
}

static void scores_close(struct scores *scores) {
    /* with its true stride, which a matrix of one row needs no more than any other */
    scores->bias.ld = scores->bias.ld == 0 ? scores->bias.n + 1 : scores->bias.ld;
    matrix_close(&scores->s);
    matrix_close(&scores->old);
    matrix_close(&scores->bias);
}

static float bias_of(const struct scores *scores, int r, int c) {
    return matrix_get(&scores->bias, r, c * scores->column_step);
}

static void check_biases(struct shape shape, int layout, int fill,
                         struct random *random) {
    struct scores scores;
    scores_open(&scores, shape, layout, random);
    matrix_fill(&scores.bias, fill, random);
    for (int mask = 0; mask < 2; mask++) {
        matrix_copy(&scores.s, &scores.old);
        (mask ? k->mask_bias : k->add_bias)(scores.s.at, scores.s.ld, shape.rows,
                                            shape.n, scores.bias.at, scores.bias.ld,
                                            scores.column_step);
        for (int r = 0; r < shape.rows; r++) {
            for (int c = 0; c < shape.n; c++) {
                const float s = matrix_get(&scores.old, r, c);
                const float b = bias_of(&scores, r, c);
                const float right = !mask ? s + b : b == -INFINITY ? -INFINITY : s;
                const float got = matrix_get(&scores.s, r, c);
                if (mask ? !same_bits(got, right) : !same_value(got, right)) {
                    matrix_fail(mask ? "mask_bias" : "add_bias", &scores.s, r, c, got,
                                right);
                }
            }
        }
    }
    scores_close(&scores);
}

static void biases(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(11, 0);
    for (int number = 0; number < SHAPES * LAYOUTS; number++) {
        for (int fill = 0; fill < FILLS; fill++) {
            check_biases(shape_number(number / LAYOUTS, k->width), number % LAYOUTS,
                         fill, &random);
        }
    }
}

/* Rows of bytes with a gap, or the same row for all, beside a page without access. */
static void check_bytes(struct shape shape, bool same_row, struct random *random) {
    static const uint8_t values[] = {0, 0, 1, 2, 0x80, 0xff};
    const ptrdiff_t ld = same_row ? 0 : shape.n + shape.gap;
    const size_t extent =
        shape.rows == 0 ? 0 : (size_t)((shape.rows - 1) * ld + shape.n);
    struct scores scores;
    struct guard guard;
    scores_open(&scores, shape, WHOLE, random);
    uint8_t *bytes = shape.place == PLACE_BEFORE ? guard_before(&guard, extent)
                                                 : guard_after(&guard, extent + 1);
    bytes += shape.place == PLACE_ODD ? 1 : 0;
    for (size_t i = 0; i < extent; i++) {
        bytes[i] = values[random_bits(random) % COUNT_OF(values)];
    }
    k->mask_bytes(scores.s.at, scores.s.ld, shape.rows, shape.n, bytes, ld);
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            const float s = matrix_get(&scores.old, r, c);
            const float right = bytes[r * ld + c] == 0 ? -INFINITY : s;
            if (!same_bits(matrix_get(&scores.s, r, c), right)) {
                matrix_fail("mask_bytes", &scores.s, r, c, matrix_get(&scores.s, r, c),
                            right);
            }
        }
    }
    guard_free(&guard);
    scores_close(&scores);
}

static void bytes(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(12, 0);
    for (int number = 0; number < SHAPES * 4; number++) {
        check_bytes(shape_number(number / 4, k->width), number % 2 == 0, &random);
    }
}

/*
 * The product and the difference are rounded; a distance of 2^23 or more twice. With
 * fused arithmetic the first error is missing.
 */
static void check_alibi(struct shape shape, float slope, int64_t distance,
                        struct random *random) {
    struct scores scores;
    scores_open(&scores, shape, WHOLE, random);
    k->add_alibi(scores.s.at, scores.s.ld, shape.rows, shape.n, slope, distance);
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            const double d = fabs((double)(distance + r - c)),
                         s = matrix_get(&scores.old, r, c);
            const double right = s - slope * d, got = matrix_get(&scores.s, r, c);
            const double bound =
                (d < 0x1p23 ? 1 : 3) * U * fabs(slope * d) + U * fabs(right) + 0x1p-149;
            if (!check_number(got, right, isfinite(right) ? 1.0001 * bound : 0)) {
                matrix_fail("add_alibi", &scores.s, r, c, got, right);
            }
        }
    }
    scores_close(&scores);
}

static void check_alibi_distances(const int64_t *distances, size_t count) {
    static const float slopes[] = {0.5f, 0.00390625f, 0.7071068f, 0.0f, -1.3f};
    struct random random = random_stream(13, 0);
    for (int number = 0; number < SHAPES; number++) {
        for (size_t i = 0; i < count; i++) {
            check_alibi(shape_number(number, k->width), slopes[i % COUNT_OF(slopes)],
                        distances[i], &random);
        }
    }
}

static void alibi(void **state) {
    (void)state;
    static const int64_t distances[] = {0,      1,      -1,          5,       12,
                                        100,    -100,   256,         -260,    4095,
                                        -70000, 999999, 8388608 - 5, -8388351};
    k = sets_begin();
    check_alibi_distances(distances, COUNT_OF(distances));
}

static void alibi_of_large_distances(void **state) {
    (void)state;
    static const int64_t distances[] = {
        16777216 + 300, -16777216 + 20,  1 << 26,        (1 << 27) + 300,
        -(1 << 27),     (1 << 28) + 300, (1 << 30) + 300};
    k = sets_begin();
    check_alibi_distances(distances, COUNT_OF(distances));
}

/*
 * tanh within 4u; dividing by cap and multiplying by it adds another 3u, and the part
 * of a subnormal quotient that is lost.
 */
static void check_softcap(struct shape shape, float cap, struct random *random) {
    struct scores scores;
    scores_open(&scores, shape, WHOLE, random);
    k->softcap(scores.s.at, scores.s.ld, shape.rows, shape.n, cap);
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            const double right =
                cap * tanh((double)matrix_get(&scores.old, r, c) / cap);
            const double got = matrix_get(&scores.s, r, c);
            if (!check_number(got, right, 7 * U * fabs(right) + (1 + cap) * 0x1p-149)) {
                matrix_fail("softcap", &scores.s, r, c, got, right);
            }
        }
    }
    scores_close(&scores);
}

static void softcap(void **state) {
    (void)state;
    static const float caps[] = {1.0f, 30.0f, 0.5f, 50.0f, 3e4f, 1e-3f};
    k = sets_begin();
    struct random random = random_stream(14, 0);
    for (int number = 0; number < SHAPES * 6; number++) {
        check_softcap(shape_number(number / 6, k->width), caps[number % COUNT_OF(caps)],
                      &random);
    }
}

int main(void) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(biases),  cmocka_unit_test(bytes),
        cmocka_unit_test(alibi),   cmocka_unit_test(alibi_of_large_distances),
        cmocka_unit_test(softcap),
    };
    int failed = 0;
    while (sets_next()) {
        failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
    }
    return sets_finish(failed, COUNT_OF(checks));
}
