/*
 * The online softmax step, the weights of the second pass, and ALiBi, against float64.
 */
#include <math.h>

#include "tests/support/rows.h"

#include "tests/kernel/each.h"

static const double unit = 0x1p-24;
static struct random numbers = {13};

/* A number that must be NaN, or infinite, or near. */
static int near(double got, double want, double relative) {
    if (isnan(want) || isnan(got)) {
        return isnan(want) && isnan(got);
    }
    return got == want || fabs(got - want) <= relative * fabs(want) + 0x1p-126;
}

/* exp(a - b) where a may be -infinity, and both. */
static double weight_of(double a, double b) {
    return a == -INFINITY ? 0 : exp(a - b);
}

/* One row of one step; `before` is its state. */
static void check_row(const float *scores, const float *s, int n, float before_max,
                      float before_sum, float maximum, float sum, float rescale) {
    double want_max = before_max, worst = 0;
    int bad = isnan(before_sum);
    for (int c = 0; c < n; c++) {
        bad = bad || isnan(scores[c]) || scores[c] == INFINITY;
        want_max = fmax(want_max, scores[c]);
    }
    if (bad) {
        assert_true(isnan(sum));
        for (int c = 0; c < n; c++) {
            assert_true(!isnan(scores[c]) || isnan(s[c]));
        }
        return;
    }
    double want_sum = before_sum * weight_of(before_max, want_max);
    assert_true(maximum == want_max);
    for (int c = 0; c < n; c++) {
        double want = weight_of(scores[c], want_max);
        double below = scores[c] == -INFINITY ? 0 : want_max - scores[c];
        assert_true(near(s[c], want, (4 + below) * unit));
        assert_true(scores[c] != -INFINITY || s[c] == 0);
        want_sum += want;
        worst = fmax(worst, want > 0x1p-126 ? 4 + below : 0);
    }
    if (before_max == want_max) {
        assert_true(rescale == 1);
    } else {
        double moved = before_max == -INFINITY ? 0 : want_max - before_max;
        assert_true(near(rescale, weight_of(before_max, want_max), (4 + moved) * unit));
        worst = fmax(worst, rescale > 0 ? 4 + moved : 0);
    }
    assert_true(near(sum, want_sum, (worst + n + 4) * unit));
}

static void check_step(const struct kernels *k, int n, int fill, int at_end,
                       int first) {
    enum { ROWS = 7 };
    /* States: none yet, low, high, equal to what FILL_EQUAL gives, NaN in the sum. */
    static const float before_max[ROWS] = {-INFINITY, -50, 40, 6, 0, 0, -INFINITY};
    static const float before_sum[ROWS] = {0, 3, 2.5f, 1, NAN, 1, 0};
    float maximum[ROWS], sum[ROWS], rescale[ROWS];
    struct rows s, scores;
    rows_open(&s, ROWS, n, 3, at_end);
    rows_open(&scores, ROWS, n, 0, 0);
    rows_fill(&scores, fill, &numbers);
    rows_copy(&s, &scores);
    for (int r = 0; r < ROWS; r++) {
        maximum[r] = first ? -INFINITY : before_max[r];
        sum[r] = first ? 0 : before_sum[r];
        rescale[r] = 77;
    }
    bool moved = k->softmax(s.at, s.ld, ROWS, n, maximum, sum, rescale);
    bool any = false;
    for (int r = 0; r < ROWS; r++) {
        any = any || rescale[r] != 1;
        check_row(rows_at(&scores, r, 0), rows_at(&s, r, 0), n,
                  first ? -INFINITY : before_max[r], first ? 0 : before_sum[r],
                  maximum[r], sum[r], rescale[r]);
    }
    assert_int_equal(moved, any);
    rows_need_gaps(&s);
    rows_close(&s);
    rows_close(&scores);
}

static void softmax_steps(void **state) {
    (void)state;
    int32_t isa = 0;
    const struct kernels *k;
    while ((k = each_kernels(&isa)) != NULL) {
        for (size_t c = 0; c < COUNT_OF(each_columns); c++) {
            for (int fill = 0; fill < FILLS; fill++) {
                for (int way = 0; way < 4; way++) {
                    check_step(k, each_columns[c], fill, way % 2, way / 2);
                }
            }
        }
    }
}

/* A row of only -infinity leaves no trace, and no NaN comes from -inf - -inf. */
static void rows_of_nothing(void **state) {
    (void)state;
    int32_t isa = 0;
    const struct kernels *k;
    while ((k = each_kernels(&isa)) != NULL) {
        for (int n = 0; n < 40; n++) {
            float s[40], maximum = -INFINITY, sum = 0, rescale = 5;
            for (int i = 0; i < 40; i++) {
                s[i] = -INFINITY;
            }
            assert_false(k->softmax(s, n, 1, n, &maximum, &sum, &rescale));
            assert_true(maximum == -INFINITY && sum == 0 && rescale == 1);
            for (int i = 0; i < n; i++) {
                assert_true(s[i] == 0);
            }
        }
    }
}

/* A NaN anywhere in a row is not lost, whatever stands around it. */
static void nan_is_not_lost(void **state) {
    (void)state;
    int32_t isa = 0;
    const struct kernels *k;
    while ((k = each_kernels(&isa)) != NULL) {
        for (int n = 1; n <= 130; n++) {
            for (int at = 0; at < n; at++) {
                float s[130], maximum = at % 2 ? 1.0f : -INFINITY, sum = 0, rescale;
                for (int i = 0; i < n; i++) {
                    s[i] = i == at ? NAN : n % 3 ? (float)i : -INFINITY;
                }
                k->softmax(s, n, 1, n, &maximum, &sum, &rescale);
                assert_true(isnan(sum) && isnan(s[at]));
            }
        }
    }
}

static void weights(void **state) {
    (void)state;
    int32_t isa = 0;
    const struct kernels *k;
    while ((k = each_kernels(&isa)) != NULL) {
        for (size_t c = 0; c < COUNT_OF(each_columns) * FILLS; c++) {
            /* Rows with and without a maximum; factor is 1 / sum, or infinite for none.
             */
            float maximum[3] = {210, 210, -INFINITY}, factor[3] = {0.25f, INFINITY, 1};
            struct rows s, scores;
            int n = each_columns[c / FILLS], fill = (int)(c % FILLS);
            rows_open(&s, 3, n, 5, c % 2 == 0);
            rows_open(&scores, 3, n, 0, 0);
            rows_fill(&scores, fill == FILL_SPECIAL ? FILL_MASKED : fill, &numbers);
            for (int i = 0; i < n; i++) {
                *rows_at(&scores, 2, i) = i % 7 == 3 ? NAN : -INFINITY;
                if (i % 5 == 0) {
                    *rows_at(&scores, 1, i) = -INFINITY;
                }
            }
            rows_copy(&s, &scores);
            k->weights(s.at, s.ld, 3, n, maximum, factor);
            for (int i = 0; i < 3 * n; i++) {
                int r = i / n;
                double x = *rows_at(&scores, r, i % n), got = *rows_at(&s, r, i % n);
                double want = r == 2 ? (isnan(x) ? NAN : 0) : weight_of(x, maximum[r]);
                if (x == -INFINITY) {
                    assert_true(got == 0);
                } else if (r != 1) {
                    double below = r == 0 ? maximum[0] - x : 0;
                    assert_true(near(got, r == 0 ? want * factor[0] : want,
                                     (5 + below) * unit));
                }
            }
            rows_need_gaps(&s);
            rows_close(&s);
            rows_close(&scores);
        }
    }
}

static void alibi(void **state) {
    (void)state;
    static const int64_t distances[] = {
        0, 5, -5, 100, -100000, (int64_t)1 << 22, -((int64_t)1 << 40)};
    static const float slopes[] = {0.5f, -0.0625f, 0.0f, 1.7f};
    int32_t isa = 0;
    const struct kernels *k;
    while ((k = each_kernels(&isa)) != NULL) {
        for (size_t c = 0; c < COUNT_OF(each_columns) * COUNT_OF(distances); c++) {
            struct rows s, before;
            int n = each_columns[c / COUNT_OF(distances)];
            int64_t distance = distances[c % COUNT_OF(distances)];
            float slope = slopes[c % COUNT_OF(slopes)];
            rows_open(&s, 5, n, 3, c % 2 == 0);
            rows_open(&before, 5, n, 0, 0);
            rows_fill(&before, c % 3 ? FILL_RANDOM : FILL_MASKED, &numbers);
            rows_copy(&s, &before);
            k->add_alibi(s.at, s.ld, 5, n, slope, distance);
            for (int i = 0; i < 5 * n; i++) {
                double x = *rows_at(&before, i / n, i % n);
                const int64_t apart = distance + i / n - i % n;
                double term = slope * fabs((double)apart);
                double got = *rows_at(&s, i / n, i % n);
                assert_true(got == x - term ||
                            fabs(got - (x - term)) <=
                                3 * unit * fabs(term) + unit * fabs(x - term));
            }
            rows_need_gaps(&s);
            rows_close(&s);
            rows_close(&before);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax_steps),   cmocka_unit_test(rows_of_nothing),
        cmocka_unit_test(nan_is_not_lost), cmocka_unit_test(weights),
        cmocka_unit_test(alibi),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
