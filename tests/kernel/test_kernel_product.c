/*
 * The small matrix product against float64, and its promise that an element is computed
 * in the same way whatever the sizes of the matrices around it.
 */
#include <math.h>

#include "tests/support/rows.h"

#include "tests/kernel/each.h"

static struct random numbers = {11};

static const int depths[] = {0, 1, 2, 3, 8, 17, 64};
static const int rows_of_a[] = {0, 1, 2, 3, 4, 5, 7, 8, 9};

struct matrices {
    struct rows a, b, c, before;
    float alpha;
};

static void open_matrices(struct matrices *x, int m, int n, int depth, int at_end) {
    rows_open(&x->a, m, depth, 2, at_end);
    rows_open(&x->b, depth, n, 3, at_end);
    rows_open(&x->c, m, n, 4, at_end);
    rows_open(&x->before, m, n, 0, at_end);
    rows_fill(&x->a, FILL_RANDOM, &numbers);
    rows_fill(&x->b, FILL_RANDOM, &numbers);
    rows_fill(&x->before, FILL_WIDE, &numbers);
    rows_copy(&x->c, &x->before);
    x->alpha = depth % 2 ? 1.0f : -0.37f;
}

static void close_matrices(struct matrices *x) {
    rows_close(&x->a);
    rows_close(&x->b);
    rows_close(&x->c);
    rows_close(&x->before);
}

static void run(const struct kernels *k, struct matrices *x, bool accumulate) {
    k->product(x->c.rows, x->c.n, x->a.n, x->alpha, x->a.at, x->a.ld, x->b.at, x->b.ld,
               accumulate, x->c.at, x->c.ld);
}

static void compare(const struct matrices *x, bool accumulate) {
    for (int i = 0; i < x->c.rows * x->c.n; i++) {
        int r = i / x->c.n, c = i % x->c.n;
        double sum = 0, size = 0;
        for (int l = 0; l < x->a.n; l++) {
            double term = (double)*rows_at(&x->a, r, l) * *rows_at(&x->b, l, c);
            sum += term;
            size += fabs(term);
        }
        double want = x->alpha * sum + (accumulate ? *rows_at(&x->before, r, c) : 0);
        double bound = (x->a.n + 1) * 0x1p-24 * fabs((double)x->alpha) * size +
                       2 * 0x1p-24 * fabs(want) + 0x1p-148;
        assert_true(fabs(*rows_at(&x->c, r, c) - want) <= bound);
    }
    rows_need_gaps(&x->c);
}

static void against_float64(void **state) {
    (void)state;
    int32_t isa = 0;
    const struct kernels *k;
    while ((k = each_kernels(&isa)) != NULL) {
        for (size_t i = 0; i < COUNT_OF(rows_of_a) * COUNT_OF(each_columns); i++) {
            for (size_t d = 0; d < COUNT_OF(depths); d++) {
                struct matrices x;
                open_matrices(&x, rows_of_a[i % COUNT_OF(rows_of_a)],
                              each_columns[i / COUNT_OF(rows_of_a)], depths[d],
                              d % 2 == 0);
                run(k, &x, d % 3 == 0);
                compare(&x, d % 3 == 0);
                close_matrices(&x);
            }
        }
    }
}

/* What was in c does not matter unless it is added to, NaN included. */
static void old_contents_are_ignored(void **state) {
    (void)state;
    int32_t isa = 0;
    const struct kernels *k;
    while ((k = each_kernels(&isa)) != NULL) {
        struct matrices x;
        open_matrices(&x, 5, 37, 9, 1);
        for (int i = 0; i < 5 * 37; i++) {
            *rows_at(&x.c, i / 37, i % 37) = NAN;
        }
        run(k, &x, false);
        compare(&x, false);
        close_matrices(&x);
    }
}

static void same_bits_for_every_size(void **state) {
    (void)state;
    int32_t isa = 0;
    const struct kernels *k;
    while ((k = each_kernels(&isa)) != NULL) {
        struct matrices x;
        float whole[9 * 70];
        open_matrices(&x, 9, 70, 33, 1);
        run(k, &x, false);
        for (int i = 0; i < 9 * 70; i++) {
            whole[i] = *rows_at(&x.c, i / 70, i % 70);
        }
        for (int m = 1; m <= 9; m++) {
            for (int n = 1; n <= 70; n++) {
                k->product(m, n, 33, x.alpha, x.a.at, x.a.ld, x.b.at, x.b.ld, false,
                           x.c.at, x.c.ld);
                for (int r = 0; r < m; r++) {
                    assert_memory_equal(rows_at(&x.c, r, 0), whole + (ptrdiff_t)r * 70,
                                        (size_t)n * sizeof(float));
                }
            }
        }
        close_matrices(&x);
    }
}

/* A NaN or infinity in a reaches its row of c, in b its column, and nothing else. */
static void nan_stays_in_its_row_and_column(void **state) {
    (void)state;
    int32_t isa = 0;
    const struct kernels *k;
    while ((k = each_kernels(&isa)) != NULL) {
        for (int m = 3; m <= 6; m++) {
            struct matrices x;
            open_matrices(&x, m, 41, 10, 0);
            *rows_at(&x.a, 1, 9) = NAN;
            *rows_at(&x.b, 0, 40) = INFINITY;
            run(k, &x, false);
            for (int i = 0; i < m * 41; i++) {
                float value = *rows_at(&x.c, i / 41, i % 41);
                if (i / 41 == 1) {
                    assert_true(isnan(value));
                } else {
                    assert_int_equal(isfinite(value) != 0, i % 41 != 40);
                }
            }
            close_matrices(&x);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_float64),
        cmocka_unit_test(old_contents_are_ignored),
        cmocka_unit_test(same_bits_for_every_size),
        cmocka_unit_test(nan_stays_in_its_row_and_column),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
