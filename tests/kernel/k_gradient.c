/*
 * The kernels of the backward pass between its products, against their formulas in
 * float64, or bit for bit where there is one right result. All of them say what happens
 * where the first factor is 0: the other one does not matter, so there it is NaN,
 * infinite or huge here.
 *
 * A sum of n terms may be taken in any order: it is within (n + 2) u times the sum of
 * the sizes of the terms. Sums of whole numbers have no error at all, which shows a
 * term that was left out however many there are.
 */
#include <float.h>
#include <math.h>

#include "tests/kernel/matrix.h"
#include "tests/kernel/sets.h"
#include "tests/support/check.h"

static const struct kernels *k;

/* Two factors, element by element; the rows of the second may be one and the same. */
struct factors {
    struct matrix first, second;
    ptrdiff_t ld_second;
};

static float second_at(const struct factors *factors, int r, int c) {
    return factors->second.at[r * factors->ld_second + c];
}

/* What must not matter. */
static float anything(struct random *random) {
    const float choice[] = {some_nan(random), INFINITY, -INFINITY, FLT_MAX};
    return choice[random_bits(random) % COUNT_OF(choice)];
}

static void factors_open(struct factors *factors, struct shape shape, int first,
                         int second, struct random *random) {
    matrix_open(&factors->first, shape);
    matrix_fill(&factors->first, first, random);
    shape.gap = 4 - shape.gap;
    matrix_open(&factors->second, shape);
    matrix_fill(&factors->second, second, random);
    factors->ld_second = random_percent(random, 10) ? 0 : factors->second.ld;
}

/* Puts anything in the second matrix where the first one is 0. */
static void factors_spoil(struct factors *factors, struct random *random) {
    for (int r = 0; r < factors->first.rows && factors->ld_second != 0; r++) {
        for (int c = 0; c < factors->first.n; c++) {
            if (matrix_get(&factors->first, r, c) == 0) {
                factors->second.at[r * factors->ld_second + c] = anything(random);
            }
        }
    }
}

static void factors_close(struct factors *factors) {
    matrix_close(&factors->first);
    matrix_close(&factors->second);
}

/* The error that a sum of n terms with these sizes may have; none if it has no limit.
 */
static double sum_bound(int n, double sizes) {
    const double bound = (n + 2) * (U * sizes + 0x1p-149);
    return isfinite(bound) ? bound : 0;
}

static void check_dot_rows(struct shape shape, int first, int second,
                           struct random *random) {
    const bool exact = first == FILL_WHOLE && second == FILL_WHOLE;
    struct factors factors;
    struct matrix total, old;
    factors_open(&factors, shape, first, second, random);
    factors_spoil(&factors, random);
    matrix_open(&total, shape_of_rows(shape));
    matrix_open(&old, shape_of_rows(shape));
    matrix_fill(&old, exact ? FILL_WHOLE : FILL_RANDOM, random);
    matrix_copy(&total, &old);
    k->dot_rows(total.at, factors.first.at, factors.first.ld, factors.second.at,
                factors.ld_second, shape.rows, shape.n);
    for (int r = 0; r < shape.rows; r++) {
        double right = old.at[r], sizes = fabs(right);
        for (int c = 0; c < shape.n; c++) {
            const double x = matrix_get(&factors.first, r, c);
            const double product = x == 0 ? 0 : x * second_at(&factors, r, c);
            right += product;
            sizes += fabs(product);
        }
        if (!check_number(total.at[r], right, exact ? 0 : sum_bound(shape.n, sizes))) {
            matrix_fail("dot_rows", &factors.first, r, shape.n, total.at[r], right);
        }
    }
    factors_close(&factors);
    matrix_close(&total);
    matrix_close(&old);
}

static void dot_rows(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(51, 0);
    for (int number = 0; number < SHAPES; number++) {
        for (int pair = 0; pair < FILLS * FILLS; pair++) {
            const int first = pair / FILLS, second = pair % FILLS;
            /* of all pairs a part, but of whole numbers all; 1e30 squared is no float
             */
            const bool due = pair % 7 == number % 7 || pair == FILLS * FILLS - 1;
            if (due && !(first == FILL_HUGE && second == FILL_HUGE)) {
                check_dot_rows(shape_number(number, k->width), first, second, &random);
            }
        }
    }
}

static void check_score_gradients(struct shape shape, int fill, int fill_p,
                                  struct random *random) {
    struct factors factors; /* p and g */
    struct matrix g, delta;
    factors_open(&factors, shape, fill_p, fill, random);
    const ptrdiff_t ld_p = random_percent(random, 10) ? 0 : factors.first.ld;
    factors.ld_second = factors.second.ld; /* of the gradients before the call */
    if (ld_p != 0) {
        factors_spoil(&factors, random);
    }
    matrix_open(&g, shape);
    matrix_copy(&g, &factors.second);
    matrix_open(&delta, shape_of_rows(shape));
    matrix_fill(&delta, random_percent(random, 80) ? FILL_RANDOM : FILL_NAN, random);
    k->score_gradients(g.at, g.ld, shape.rows, shape.n, factors.first.at, ld_p,
                       delta.at);
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            const float p = factors.first.at[r * ld_p + c];
            const float difference = second_at(&factors, r, c) - delta.at[r];
            const float right = p == 0 ? 0.0f : p * difference;
            if (!same_value(matrix_get(&g, r, c), right)) {
                matrix_fail("score_gradients", &g, r, c, matrix_get(&g, r, c), right);
            }
        }
    }
    factors_close(&factors);
    matrix_close(&g);
    matrix_close(&delta);
}

static void score_gradients(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(52, 0);
    for (int number = 0; number < SHAPES; number++) {
        for (int fill = 0; fill < FILLS; fill++) {
            const struct shape shape = shape_number(number, k->width);
            check_score_gradients(shape, fill, number % FILLS, &random);
            check_score_gradients(shape, fill, FILL_WHOLE, &random);
        }
    }
}

/* Scores from far below the cap to far beyond it. */
static float some_score(float cap, struct random *random) {
    const float x = random_float(random) * (random_percent(random, 30) ? 60 : 6) * cap;
    return isfinite(x) ? x : copysignf(FLT_MAX, x);
}

/* The slope of the cap at a score: 1 - tanh^2, without loss where tanh is near 1. */
static double slope_of(double raw, double cap) {
    const double cosine = cosh(raw / cap);
    return 1 / (cosine * cosine);
}

/*
 * Beside the bound of the contract: 1 / cap may be subnormal, which costs x = raw / cap
 * cap 2^-150 of its size, and the slope twice that.
 */
static bool right_softcap_gradient(double got, double g, double raw, double cap) {
    if (g == 0) {
        return got == 0;
    }
    if (isinf(g)) {
        return !isfinite(got); /* NaN where the slope is rounded to 0 */
    }
    const double x = fabs(raw / cap), slope = slope_of(raw, cap);
    const double error = slope * ((12 + 6 * x) * U + 2 * x * cap * 0x1p-150) + 0x1p-124;
    const double bound = fabs(g) * error + 0x1p-149;
    return check_number(got, g * slope, isnan(bound) ? 0 : 1.001 * bound);
}

static void check_softcap_gradients(struct shape shape, int fill, float cap,
                                    struct random *random) {
    struct factors factors; /* gradients before the call and scores */
    struct matrix g;
    factors_open(&factors, shape, fill, FILL_RANDOM, random);
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            factors.second.at[r * factors.second.ld + c] =
                random_percent(random, 2) ? some_nan(random) : some_score(cap, random);
        }
    }
    factors_spoil(&factors, random);
    matrix_open(&g, shape);
    matrix_copy(&g, &factors.first);
    k->softcap_gradients(g.at, g.ld, shape.rows, shape.n, factors.second.at,
                         factors.ld_second, cap);
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            const double before = matrix_get(&factors.first, r, c);
            const double raw = second_at(&factors, r, c);
            if (!right_softcap_gradient(matrix_get(&g, r, c), before, raw, cap)) {
                matrix_fail("softcap_gradients", &g, r, c, matrix_get(&g, r, c),
                            before == 0 ? 0 : before * slope_of(raw, cap));
            }
        }
    }
    factors_close(&factors);
    matrix_close(&g);
}

static void softcap_gradients(void **state) {
    (void)state;
    static const float caps[] = {1.0f,  30.0f, 0.3f,    50.0f,    3e4f,
                                 1e-3f, 1e37f, FLT_MAX, 0x1p-126f};
    k = sets_begin();
    struct random random = random_stream(53, 0);
    for (int number = 0; number < SHAPES; number++) {
        for (int fill = 0; fill < FILLS; fill++) {
            for (size_t i = 0; i < COUNT_OF(caps); i += 4) {
                const size_t cap = (i + (size_t)number) % COUNT_OF(caps);
                check_softcap_gradients(shape_number(number, k->width), fill, caps[cap],
                                        &random);
            }
        }
    }
}

/*
 * A distance of 2^23 or more may be rounded twice before the product. Whole numbers are
 * summed exactly as long as their sizes are below 2^24 together.
 */
static void check_sum_alibi(struct shape shape, int fill, int64_t distance,
                            struct random *random) {
    struct matrix g;
    matrix_open(&g, shape);
    matrix_fill(&g, fill, random);
    const ptrdiff_t ld = random_percent(random, 10) ? 0 : g.ld;
    const double got = k->sum_alibi(g.at, ld, shape.rows, shape.n, distance);
    double right = 0, sizes = 0;
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            const double d = fabs((double)(distance + r - c));
            right += g.at[r * ld + c] * d;
            sizes += fabs(g.at[r * ld + c] * d);
        }
    }
    const bool exact = fill == FILL_WHOLE && sizes < 0x1p24;
    if (!check_number(got, right,
                      exact ? 0 : sum_bound(shape.rows * shape.n + 2, sizes))) {
        matrix_fail("sum_alibi", &g, shape.rows, shape.n, got, right);
    }
    matrix_close(&g);
}

static void sum_alibi(void **state) {
    (void)state;
    static const int64_t near[] = {0, 1, -1, 5, 12, 100, -100, 256, -260, 280};
    static const int64_t far[] = {4095,           -70000,          999999,
                                  8388608 - 5,    -8388351,        16777216 + 300,
                                  -16777216 + 20, (1 << 27) + 300, -(1 << 30)};
    k = sets_begin();
    struct random random = random_stream(54, 0);
    for (int number = 0; number < SHAPES; number++) {
        const struct shape shape = shape_number(number, k->width);
        for (size_t i = 0; i < COUNT_OF(near); i++) {
            check_sum_alibi(shape, (int)(random_bits(&random) % FILLS), near[i],
                            &random);
            check_sum_alibi(shape, FILL_WHOLE, near[i], &random);
        }
        for (size_t i = 0; i < COUNT_OF(far); i++) {
            check_sum_alibi(shape, FILL_RANDOM, far[i], &random);
        }
    }
}

int main(void) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(dot_rows),
        cmocka_unit_test(score_gradients),
        cmocka_unit_test(softcap_gradients),
        cmocka_unit_test(sum_alibi),
    };
    int failed = 0;
    while (sets_next()) {
        failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
    }
    return sets_finish(failed, COUNT_OF(checks));
}
