/*
 * The kernels softmax and weights against their formulas in float64, row by row:
 *
 *     x = s - M,  exp(x) within (4 + 1.1 |x|) u,  0 where exp(x) is under 2^-126
 *
 * and that neither loses a NaN, counts a masked score, or touches anything beside the
 * rows.
 */
#include <math.h>

#include "tests/kernel/matrix.h"
#include "tests/kernel/sets.h"
#include "tests/support/check.h"

static const struct kernels *k;

/* A row's maximum before the step; the sum is 0 with -inf, else positive. */
static const float before[] = {-INFINITY, 0.0f, -3.5f, 50.0f, -1e30f, 1e30f};

/* Whether got is exp(x) factor, x = -inf being a masked score or an empty past. */
static bool right_weight(double got, double x, double factor) {
    const double limit = (4 + 1.1 * fabs(x)) * U;
    /* A product with factor may be subnormal: rounded to a multiple of 2^-149. */
    const double least = factor == 1 ? 0 : 0x1p-149;
    const double e = exp(x), exact = (e < 0x1p-126 ? 0 : e) * factor;
    if (isfinite(x) && fabs(e * 0x1p126 - 1) < 2 * limit) {
        /* so close to 2^-126 that both sides of it are right */
        return got == 0 || check_number(got, e * factor, e * factor * limit + least);
    }
    const double bound = isfinite(exact) ? fabs(exact) * limit + least : 0;
    return check_number(got, exact, exact == 0 ? 0 : bound);
}

struct step {
    struct matrix s, scores, maximum, sum, rescale; /* scores: s before the step */
    struct matrix old_maximum, old_sum;
};

static void step_open(struct step *step, struct shape shape, int fill,
                      struct random *random) {
    struct matrix *rows[] = {&step->maximum, &step->sum, &step->rescale,
                             &step->old_maximum, &step->old_sum};
    matrix_open(&step->s, shape);
    matrix_open(&step->scores, shape);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        matrix_open(rows[i], shape_of_rows(shape));
    }
    matrix_fill(&step->scores, fill, random);
    matrix_copy(&step->s, &step->scores);
    for (int r = 0; r < shape.rows; r++) {
        const float m = before[random_bits(random) % COUNT_OF(before)];
        step->old_maximum.at[r] = m;
        step->old_sum.at[r] =
            m == -INFINITY ? 0.0f : 1.0f + fabsf(random_float(random));
    }
    matrix_copy(&step->maximum, &step->old_maximum);
    matrix_copy(&step->sum, &step->old_sum);
}

static void step_close(struct step *step) {
    struct matrix *all[] = {&step->s,      &step->scores,  &step->maximum,
                            &step->sum,    &step->rescale, &step->old_maximum,
                            &step->old_sum};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        matrix_close(all[i]);
    }
}

/* The maximum of a row and its past; NaN is left out. */
static float row_maximum(const struct step *step, int r) {
    float m = step->old_maximum.at[r];
    for (int c = 0; c < step->s.n; c++) {
        m = fmaxf(m, matrix_get(&step->scores, r, c));
    }
    return m;
}

static bool row_has_nan(const struct step *step, int r) {
    bool found = false;
    for (int c = 0; c < step->s.n; c++) {
        found = found || isnan(matrix_get(&step->scores, r, c));
    }
    return found;
}

static void check_row(const struct step *step, int r) {
    const double m = row_maximum(step, r), got_m = step->maximum.at[r];
    const double past = step->old_maximum.at[r], sum = step->sum.at[r];
    if (isnan(got_m) && row_has_nan(step, r)) {
        /* allowed: NaN entered the maximum, and with it all that follows */
        for (int c = 0; c < step->s.n; c++) {
            if (matrix_get(&step->scores, r, c) != -INFINITY) {
                assert_true(isnan(matrix_get(&step->s, r, c)));
            }
        }
        assert_true(isnan(sum));
        return;
    }
    if (got_m != m) {
        matrix_fail("softmax, maximum", &step->maximum, 0, r, got_m, m);
    }
    double total = 0;
    for (int c = 0; c < step->s.n; c++) {
        const float s = matrix_get(&step->scores, r, c);
        const float got = matrix_get(&step->s, r, c);
        /* -inf is masked even where M is -inf */
        const double x = s == -INFINITY ? -INFINITY : s - m;
        if (!right_weight(got, x, 1)) {
            matrix_fail("softmax", &step->s, r, c, got, exp(x));
        }
        total += got;
    }
    const double shift = past == m ? 0 : past - m;
    if (!right_weight(step->rescale.at[r], shift, 1)) {
        matrix_fail("softmax, rescale", &step->rescale, 0, r, step->rescale.at[r],
                    exp(shift));
    }
    const double kept = past == -INFINITY ? 0 : step->old_sum.at[r] * exp(shift);
    const double bound = (step->s.n + 4) * U * (total + kept) +
                         (kept > 0 ? kept * (4 + 1.1 * fabs(shift)) * U : 0);
    /* what a rescale under 2^-126 would have kept of the past */
    if (!check_number(sum, total + kept, bound + 0x1p-124)) {
        matrix_fail("softmax, sum", &step->sum, 0, r, sum, total + kept);
    }
}

/* A row by itself, or with the next one, has the bits that it has among all. */
static void check_alone(struct step *step, int r, int rows) {
    float maximum[2], sum[2], rescale[2];
    struct matrix s;
    matrix_open(&s, (struct shape){PLACE_ODD, rows, step->s.n, 1});
    for (int i = 0; i < rows; i++) {
        maximum[i] = step->old_maximum.at[r + i];
        sum[i] = step->old_sum.at[r + i];
        for (int c = 0; c < step->s.n; c++) {
            s.at[i * s.ld + c] = matrix_get(&step->scores, r + i, c);
        }
    }
    (void)k->softmax(s.at, s.ld, rows, s.n, maximum, sum, rescale);
    for (int i = 0; i < rows; i++) {
        if (!same_value(maximum[i], step->maximum.at[r + i]) ||
            !same_value(sum[i], step->sum.at[r + i]) ||
            !same_value(rescale[i], step->rescale.at[r + i])) {
            matrix_fail("softmax, alone", &step->sum, 0, r + i, sum[i],
                        step->sum.at[r + i]);
        }
        for (int c = 0; c < s.n; c++) {
            if (!same_value(matrix_get(&s, i, c), matrix_get(&step->s, r + i, c))) {
                matrix_fail("softmax, alone", &step->s, r + i, c, matrix_get(&s, i, c),
                            matrix_get(&step->s, r + i, c));
            }
        }
    }
    matrix_close(&s);
}

static void check_step(struct shape shape, int fill, struct random *random) {
    struct step step;
    step_open(&step, shape, fill, random);
    const bool moved = k->softmax(step.s.at, step.s.ld, shape.rows, shape.n,
                                  step.maximum.at, step.sum.at, step.rescale.at);
    bool changed = false, rescaled = false;
    for (int r = 0; r < shape.rows; r++) {
        check_row(&step, r);
        changed = changed || step.maximum.at[r] != step.old_maximum.at[r];
        rescaled = rescaled || step.rescale.at[r] != 1.0f;
        check_alone(&step, r, r % 2 == 0 && r + 1 < shape.rows ? 2 : 1);
    }
    assert_true(moved || !rescaled);
    assert_true(changed || !moved);
    step_close(&step);
}

static void softmax_follows_its_formula(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(1, 0);
    for (int number = 0; number < SHAPES; number++) {
        for (int fill = 0; fill < FILLS; fill++) {
            check_step(shape_number(number, k->width), fill, &random);
        }
    }
}

/* All masked so far: maximum -inf, sum 0, nothing to rescale, and the next step starts
 * as if it were the first. */
static void empty_rows_stay_empty(void **state) {
    (void)state;
    k = sets_begin();
    float s[40], maximum = -INFINITY, sum = 0.0f, rescale = NAN;
    for (int times = 0; times < 2; times++) {
        for (int c = 0; c < 40; c++) {
            s[c] = -INFINITY;
        }
        assert_false(k->softmax(s, 40, 1, 40, &maximum, &sum, &rescale));
        assert_true(maximum == -INFINITY && sum == 0.0f && rescale == 1.0f);
        for (int c = 0; c < 40; c++) {
            assert_true(s[c] == 0.0f);
        }
    }
    s[7] = -2.0f;
    assert_true(k->softmax(s + 7, 40, 1, 1, &maximum, &sum, &rescale));
    assert_true(maximum == -2.0f && sum == 1.0f && rescale == 0.0f && s[7] == 1.0f);
}

/*
 * One NaN, at each place of a row that has every kind of vector in it, among the rows
 * that a kernel takes at once and in the rest.
 */
static void no_nan_is_lost(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(2, 0);
    const struct shape shape = {PLACE_BEFORE, 5, 6 * k->width + k->width - 1, 2};
    for (int c = 0; c < shape.n; c++) {
        for (int fill = 0; fill < FILLS; fill++) {
            struct step step;
            step_open(&step, shape, fill, &random);
            for (int r = 1; r < 5; r += 3) {
                step.scores.at[r * step.scores.ld + c] = some_nan(&random);
            }
            matrix_copy(&step.s, &step.scores);
            k->softmax(step.s.at, step.s.ld, shape.rows, shape.n, step.maximum.at,
                       step.sum.at, step.rescale.at);
            for (int r = 0; r < shape.rows; r++) {
                check_row(&step, r);
            }
            step_close(&step);
        }
    }
}

static void check_weights(struct shape shape, int fill, struct random *random) {
    static const float factors[] = {1.0f, 0.37f, 1e-3f, 5.0f, 0.0f, INFINITY, NAN};
    struct step step;
    step_open(&step, shape, fill, random);
    for (int r = 0; r < shape.rows; r++) {
        const bool lost = random_percent(random, 10);
        step.maximum.at[r] = lost ? NAN : row_maximum(&step, r);
        step.sum.at[r] = factors[random_bits(random) % COUNT_OF(factors)];
    }
    k->weights(step.s.at, step.s.ld, shape.rows, shape.n, step.maximum.at, step.sum.at);
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            const float s = matrix_get(&step.scores, r, c);
            const float got = matrix_get(&step.s, r, c);
            const double x = (double)s - step.maximum.at[r], factor = step.sum.at[r];
            if (s == -INFINITY ? got != 0 : !right_weight(got, x, factor)) {
                matrix_fail("weights", &step.s, r, c, got,
                            s == -INFINITY ? 0 : exp(x) * factor);
            }
        }
    }
    step_close(&step);
}

static void weights_follow_their_formula(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(3, 0);
    for (int number = 0; number < SHAPES; number++) {
        for (int fill = 0; fill < FILLS; fill++) {
            check_weights(shape_number(number, k->width), fill, &random);
        }
    }
}

int main(void) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(softmax_follows_its_formula),
        cmocka_unit_test(empty_rows_stay_empty),
        cmocka_unit_test(no_nan_is_lost),
        cmocka_unit_test(weights_follow_their_formula),
    };
    int failed = 0;
    while (sets_next()) {
        failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
    }
    return sets_finish(failed, COUNT_OF(checks));
}
