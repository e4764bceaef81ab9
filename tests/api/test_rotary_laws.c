/*
 * What a rotation is: it keeps the norm of each pair, its inverse undoes it and is its
 * gradient, and the product of a query and a key depends on the distance of their
 * positions alone. Bounds follow from those in tests/support/rotary.c: an element is
 * within 4u times the sum of the sizes of its pair.
 */
#include <math.h>
#include <string.h>

#include "tests/support/element.h"
#include "tests/support/rotary.h"

static const double u = 0x1p-24;

static const struct rotary_problem problems[] = {
    {.batch = 2, .heads = 3, .rows = 40, .dim = 64, .seed = 1},
    {.batch = 2, .heads = 3, .rows = 40, .dim = 64, .interleaved = 1, .seed = 2},
    {.batch = 2, .heads = 2, .rows = 30, .dim = 50, .rotary_dim = 24, .seed = 3},
    {.batch = 1,
     .heads = 2,
     .rows = 30,
     .dim = 300,
     .positions = ROTARY_IDS,
     .interleaved = 1,
     .bshd = 1,
     .seed = 4},
    {.batch = 3,
     .heads = 2,
     .rows = 9,
     .dim = 128,
     .positions = ROTARY_OFFSETS,
     .highest = 100000,
     .base = 500000,
     .bshd = 1,
     .seed = 5},
};

/* The two features of the pair that element i[3] is in, and whether it has one. */
static int pair_of(const struct rotary_problem *p, const int64_t *i, int64_t which[2]) {
    const int64_t pairs = (p->rotary_dim > 0 ? p->rotary_dim : p->dim) / 2;
    const int64_t pair = p->interleaved ? i[3] / 2 : i[3] % pairs;
    which[0] = p->interleaved ? 2 * pair : pair;
    which[1] = p->interleaved ? 2 * pair + 1 : pair + pairs;
    return i[3] < 2 * pairs;
}

/* The sum of the sizes of an element's pair in the input. */
static double pair_sizes(const struct rotary_call *call, const int64_t *i) {
    int64_t which[2];
    const attn_tensor *t = &call->input;
    if (!pair_of(&call->problem, i, which)) {
        return 0;
    }
    return fabs((double)element_float(t, i[0], i[1], i[2], which[0])) +
           fabs((double)element_float(t, i[0], i[1], i[2], which[1]));
}

static void norms_are_kept(void **state) {
    (void)state;
    for (size_t n = 0; n < COUNT_OF(problems); n++) {
        struct rotary_call call;
        rotary_open(&call, &problems[n]);
        rotary_run(&call, NULL);
        for (int64_t e = 0; e < element_count(&call.input); e++) {
            int64_t i[4], which[2];
            double before = 0, after = 0;
            element_index(&call.input, e, i);
            if (!pair_of(&call.problem, i, which)) {
                continue;
            }
            for (int k = 0; k < 2; k++) {
                const double x = element_float(&call.input, i[0], i[1], i[2], which[k]);
                const double y =
                    element_float(&call.output, i[0], i[1], i[2], which[k]);
                before += x * x;
                after += y * y;
            }
            const double sizes = pair_sizes(&call, i);
            assert_true(fabs(sqrt(after) - sqrt(before)) <= 8 * u * sizes);
        }
        rotary_close(&call);
    }
}

static void inverse_undoes(void **state) {
    (void)state;
    for (size_t n = 0; n < COUNT_OF(problems); n++) {
        struct rotary_call call;
        rotary_open(&call, &problems[n]);
        rotary_run(&call, NULL);
        /* back, in place of the output */
        call.args.input = &call.output;
        call.args.inverse = 1;
        rotary_run(&call, NULL);
        double moved = 0;
        for (int64_t e = 0; e < element_count(&call.input); e++) {
            int64_t i[4];
            element_index(&call.input, e, i);
            const double x = *(float *)element_nth(&call.input, e);
            const double back = *(float *)element_nth(&call.output, e);
            moved += fabs(back - x);
            assert_true(fabs(back - x) <= 10 * u * pair_sizes(&call, i));
        }
        assert_true(moved > 0); /* it was not just left alone */
        rotary_close(&call);
    }
}

/* <rotation(x), g> = <x, inverse(g)>: the inverse is the gradient. */
static void inverse_is_the_gradient(void **state) {
    (void)state;
    for (size_t n = 0; n < COUNT_OF(problems); n++) {
        struct rotary_call x, g;
        rotary_open(&x, &problems[n]);
        rotary_run(&x, NULL);
        rotary_open(&g, &problems[n]);
        struct random random = random_stream(74, n);
        for (int64_t e = 0; e < element_count(&g.input); e++) {
            *(float *)element_nth(&g.input, e) = random_float(&random);
        }
        g.args.inverse = 1;
        rotary_run(&g, NULL);
        double forward = 0, backward = 0, sizes = 0;
        for (int64_t e = 0; e < element_count(&x.input); e++) {
            const double in = *(float *)element_nth(&x.input, e);
            const double grad = *(float *)element_nth(&g.input, e);
            forward += *(float *)element_nth(&x.output, e) * grad;
            backward += *(float *)element_nth(&g.output, e) * in;
            int64_t i[4];
            element_index(&x.input, e, i);
            sizes += pair_sizes(&x, i) * fabs(grad) + pair_sizes(&g, i) * fabs(in);
        }
        assert_true(fabs(forward - backward) <= 4 * u * sizes);
        rotary_close(&x);
        rotary_close(&g);
    }
}

/* A query at position m + t and a key at n + t: the same product for every t. */
static void only_distances_matter(void **state) {
    (void)state;
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        const struct rotary_problem p = {.batch = 1,
                                         .heads = 2, /* a query, a key */
                                         .rows = 6,
                                         .dim = 96,
                                         .interleaved = interleaved,
                                         .positions = ROTARY_OFFSETS,
                                         .wide = 1,
                                         .seed = 6};
        static const int64_t starts[] = {0, 1, 7, 100, 5000, 131072};
        double first[6][6] = {{0}};
        struct rotary_call call;
        rotary_open(&call, &p);
        for (size_t t = 0; t < COUNT_OF(starts); t++) {
            element_set_int(&call.offsets, 0, 0, starts[t]);
            rotary_reset(&call);
            rotary_run(&call, NULL);
            for (int64_t m = 0; m < 6; m++) {
                for (int64_t n = 0; n < 6; n++) {
                    double product = 0, sizes = 0;
                    for (int64_t c = 0; c < p.dim; c++) {
                        const double q = element_float(&call.output, 0, 0, m, c);
                        const double k = element_float(&call.output, 0, 1, n, c);
                        const int64_t iq[4] = {0, 0, m, c}, ik[4] = {0, 1, n, c};
                        product += q * k;
                        sizes += pair_sizes(&call, iq) * pair_sizes(&call, ik);
                    }
                    first[m][n] = t == 0 ? product : first[m][n];
                    assert_true(fabs(product - first[m][n]) <= 16 * u * sizes);
                }
            }
            /* the rows themselves do turn */
            assert_true(t == 0 || element_float(&call.output, 0, 0, 0, 0) !=
                                      element_float(&call.input, 0, 0, 0, 0));
        }
        rotary_close(&call);
    }
}

/* NaN, infinity: in the two features of a pair, nowhere else. */
static void nan_stays_in_its_pair(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t n = 0; n < COUNT_OF(problems) * COUNT_OF(bad); n++) {
        struct rotary_call call, clean;
        rotary_open(&call, &problems[n / COUNT_OF(bad)]);
        rotary_open(&clean, &problems[n / COUNT_OF(bad)]);
        rotary_run(&clean, NULL);
        struct random random = random_stream(75, n);
        for (int place = 0; place < 40; place++) {
            int64_t at[4], i[4], which[2], bad_pair[2] = {0};
            rotary_reset(&call);
            const int64_t where =
                random_between(&random, 0, element_count(&call.input) - 1);
            *(float *)element_nth(&call.input, where) = bad[n % COUNT_OF(bad)];
            rotary_run(&call, NULL);
            element_index(&call.input, where, at);
            const int paired = pair_of(&call.problem, at, bad_pair);
            for (int64_t e = 0; e < element_count(&call.output); e++) {
                element_index(&call.output, e, i);
                const float got = *(float *)element_nth(&call.output, e);
                const int own = paired && memcmp(i, at, 3 * sizeof *i) == 0 &&
                                pair_of(&call.problem, i, which) &&
                                which[0] == bad_pair[0];
                if (own || (!paired && e == where)) {
                    assert_true(!isfinite(got));
                } else {
                    assert_true(got == *(float *)element_nth(&clean.output, e));
                }
            }
        }
        rotary_close(&call);
        rotary_close(&clean);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_are_kept),
        cmocka_unit_test(inverse_undoes),
        cmocka_unit_test(inverse_is_the_gradient),
        cmocka_unit_test(only_distances_matter),
        cmocka_unit_test(nan_stays_in_its_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
