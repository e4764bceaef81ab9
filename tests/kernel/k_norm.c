/*
 * Normalisation of rows and its gradient against their formulas in float64, with the
 * bounds of kernel.h; the formula of the gradient against differences of the other.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "tests/kernel/matrix.h"
#include "tests/kernel/sets.h"
#include "tests/support/check.h"
#include "tests/support/test.h"

static const struct kernels *k;

/* What a call of either kernel reads and writes, and what of it it leaves out. */
struct call {
    bool centred, gained, shifted, in_place, one_row, accumulate;
    float epsilon;
    struct matrix from, to, gain, shift, mean, inverse;
    struct matrix grad_to, grad_from, old, grad_gain, grad_shift, old_gain, old_shift;
};

enum { MATRICES = 13 };

static void matrices_of(struct call *call, struct matrix *all[MATRICES]) {
    struct matrix *const list[MATRICES] = {
        &call->from,      &call->to,       &call->gain,       &call->shift,
        &call->mean,      &call->inverse,  &call->grad_to,    &call->grad_from,
        &call->old,       &call->old_gain, &call->grad_shift, &call->old_shift,
        &call->grad_gain,
    };
    memcpy(all, list, sizeof list);
}

/* `offset` is added to all elements of `from`. */
static void call_open(struct call *call, struct shape shape, int fill, float offset,
                      int fill_gradient, struct random *random) {
    static const float epsilons[] = {1e-5f, 1e-6f, 1.0f};
    const struct shape columns = shape_of_columns(shape), rows = shape_of_rows(shape);
    call->centred = random_percent(random, 60);
    call->gained = random_percent(random, 70);
    call->shifted = random_percent(random, 60);
    call->in_place = random_percent(random, 30);
    call->one_row = !call->in_place && random_percent(random, 10);
    call->accumulate = !call->in_place && random_percent(random, 50);
    call->epsilon = epsilons[random_bits(random) % COUNT_OF(epsilons)];
    matrix_open(&call->from, shape);
    matrix_open(&call->grad_to, shape);
    shape.gap = 4 - shape.gap;
    matrix_open(&call->to, shape);
    matrix_open(&call->grad_from, shape);
    matrix_open(&call->old, shape);
    matrix_open(&call->mean, rows);
    matrix_open(&call->inverse, rows);
    struct matrix *const rest[] = {&call->gain,       &call->shift,
                                   &call->grad_gain,  &call->old_gain,
                                   &call->grad_shift, &call->old_shift};
    for (size_t i = 0; i < COUNT_OF(rest); i++) {
        matrix_open(rest[i], columns);
        matrix_fill(rest[i], FILL_RANDOM, random);
    }
    matrix_fill(&call->from, fill, random);
    for (int r = 0; r < shape.rows && offset != 0; r++) {
        for (int c = 0; c < shape.n; c++) {
            call->from.at[r * call->from.ld + c] += offset;
        }
    }
    matrix_fill(&call->grad_to, fill_gradient, random);
    matrix_fill(&call->old, FILL_RANDOM, random);
    matrix_copy(&call->to, &call->from);
    matrix_copy(&call->grad_from, call->in_place ? &call->grad_to : &call->old);
    matrix_copy(&call->old_gain, &call->grad_gain);
    matrix_copy(&call->old_shift, &call->grad_shift);
}

static void call_close(struct call *call) {
    struct matrix *all[MATRICES];
    matrices_of(call, all);
    for (size_t i = 0; i < MATRICES; i++) {
        matrix_close(all[i]);
    }
}

static const float *given(bool has, const struct matrix *matrix) {
    return has ? matrix->at : NULL;
}

/* Both kernels on some of the rows. */
static void call_rows(struct call *call, int first, int rows) {
    const struct matrix *from = call->in_place ? &call->to : &call->from;
    const struct matrix *grad_to = call->in_place ? &call->grad_from : &call->grad_to;
    const ptrdiff_t ld = call->one_row ? 0 : from->ld;
    const ptrdiff_t ld_from = call->one_row ? 0 : call->from.ld;
    float *mean = call->centred ? call->mean.at + first : NULL;
    float *inverse = call->inverse.at + first;
    k->norm(call->to.at + first * call->to.ld, call->to.ld, from->at + first * ld, ld,
            rows, call->to.n, call->epsilon, given(call->gained, &call->gain),
            given(call->shifted, &call->shift), mean, inverse);
    k->norm_gradient(call->grad_from.at + first * call->grad_from.ld,
                     call->grad_from.ld, grad_to->at + first * grad_to->ld, grad_to->ld,
                     call->from.at + first * ld_from, ld_from, rows, call->to.n,
                     given(call->gained, &call->gain), mean, inverse, call->accumulate,
                     call->gained ? call->grad_gain.at : NULL,
                     call->shifted ? call->grad_shift.at : NULL);
}

/* A row by the formulas, s as in kernel.h. */
struct facts {
    double mean, inverse, s;
    double mean_y, mean_yh, size; /* of gradients; size is B */
    bool whole, overflows;        /* all elements finite; their squares no float */
};

static double from_at(const struct call *call, int r, int c) {
    return call->from.at[call->one_row ? c : r * call->from.ld + c];
}

static double gain_at(const struct call *call, int c) {
    return call->gained ? call->gain.at[c] : 1;
}

static double y_at(const struct call *call, int r, int c) {
    return matrix_get(&call->grad_to, r, c) * gain_at(call, c);
}

/* The normalised element for an inverse. */
static double h_at(const struct call *call, const struct facts *facts, double inverse,
                   int r, int c) {
    return (from_at(call, r, c) - facts->mean) * inverse;
}

static struct facts facts_of(const struct call *call, int r) {
    const int n = call->from.n;
    struct facts facts = {.s = (32 + n / 64.0) * U, .whole = true};
    double squares = 0;
    for (int c = 0; c < n; c++) {
        facts.mean += call->centred ? from_at(call, r, c) / n : 0;
        facts.whole = facts.whole && isfinite(from_at(call, r, c));
    }
    for (int c = 0; c < n; c++) {
        const double d = from_at(call, r, c) - facts.mean;
        squares += d * d;
    }
    facts.overflows = facts.whole && squares > FLT_MAX;
    facts.inverse = 1 / sqrt(squares / (n > 0 ? n : 1) + call->epsilon);
    facts.inverse = facts.overflows ? 0 : facts.inverse;
    for (int c = 0; c < n; c++) {
        const double h = h_at(call, &facts, call->inverse.at[r], r, c);
        const double y = y_at(call, r, c);
        facts.mean_y += call->centred ? y / n : 0;
        facts.mean_yh += y * h / n;
        facts.size += fabs(y) * (1 + fabs(h)) / n;
    }
    return facts;
}

/* The limit within which there are bounds; rows of 1e30 and nothing else exceed it. */
static bool has_bounds(const struct facts *facts) {
    const bool within = facts->s * fabs(facts->mean) * facts->inverse < 0.25;
    assert_true(within || !facts->whole || fabs(facts->mean) > 1e29);
    return within || !facts->whole;
}

static double finite_or_0(double bound) {
    return isfinite(bound) ? bound : 0;
}

static void need(const char *what, const struct matrix *matrix, int r, int c,
                 double right, double bound) {
    const double got = matrix_get(matrix, r, c);
    if (!check_number(got, right, finite_or_0(bound))) {
        matrix_fail(what, matrix, r, c, got, right);
    }
}

static void check_norm_row(const struct call *call, const struct facts *facts, int r) {
    need("norm, inverse", &call->inverse, 0, r, facts->inverse,
         facts->s * facts->inverse);
    if (call->centred && facts->whole && !facts->overflows) {
        need("norm, mean", &call->mean, 0, r, facts->mean,
             U * fabs(facts->mean) + facts->s / facts->inverse + 0x1p-149);
    }
    for (int c = 0; c < call->to.n; c++) {
        const double h = h_at(call, facts, facts->inverse, r, c);
        const double gain = gain_at(call, c);
        const double shift = call->shifted ? call->shift.at[c] : 0;
        const double bound = facts->s * (fabs(gain) * (1 + fabs(h)) + fabs(shift));
        need("norm", &call->to, r, c, h * gain + shift,
             facts->overflows ? 0 : bound + 0x1p-149);
    }
}

static void check_gradient_row(const struct call *call, const struct facts *facts,
                               int r) {
    const double inverse = call->inverse.at[r];
    for (int c = 0; c < call->to.n; c++) {
        const double h = h_at(call, facts, inverse, r, c), y = y_at(call, r, c);
        const double old = call->accumulate ? matrix_get(&call->old, r, c) : 0;
        const double added = inverse * (y - facts->mean_y - h * facts->mean_yh);
        const double size = fabs(y) + (1 + fabs(h)) * facts->size;
        const double right = old + added;
        /* y and its products with d, where they are subnormal */
        const double least = 0x1p-148 * (1 + inverse * (1 + fabs(h)) * (1 + inverse));
        const double bound = 2 * facts->s * inverse * size + U * fabs(right) + least;
        if (!isfinite(facts->size)) { /* infinity and NaN make more of their kind */
            assert_false(isfinite(matrix_get(&call->grad_from, r, c)));
        } else {
            need("norm_gradient", &call->grad_from, r, c, right, bound);
        }
    }
}

/* grad_gain and grad_shift, if all rows have bounds. */
static void check_sums(const struct call *call, const struct facts *facts) {
    const int rows = call->from.rows;
    for (int c = 0; c < call->from.n; c++) {
        double gain = call->old_gain.at[c], shift = call->old_shift.at[c];
        double gain_size = fabs(gain), shift_size = fabs(shift), h_error = 0;
        for (int r = 0; r < rows; r++) {
            const double h = h_at(call, &facts[r], call->inverse.at[r], r, c);
            const double g = matrix_get(&call->grad_to, r, c);
            gain += g * h;
            gain_size += fabs(g * h);
            h_error += fabs(g) * facts[r].s * (1 + fabs(h));
            shift += g;
            shift_size += fabs(g);
        }
        const double rounding = (rows + 1) * U;
        need("grad_gain", &call->grad_gain, 0, c,
             call->gained ? gain : call->old_gain.at[c],
             call->gained ? rounding * gain_size + h_error + 0x1p-148 : 0);
        need("grad_shift", &call->grad_shift, 0, c,
             call->shifted ? shift : call->old_shift.at[c],
             call->shifted ? rounding * shift_size : 0);
    }
}

enum { MOST_ROWS = 11 };

static void check_call(struct call *call) {
    struct facts facts[MOST_ROWS];
    bool all_have_bounds = true;
    call_rows(call, 0, call->from.rows);
    for (int r = 0; r < call->from.rows; r++) {
        facts[r] = facts_of(call, r);
        if (has_bounds(&facts[r])) {
            check_norm_row(call, &facts[r], r);
            check_gradient_row(call, &facts[r], r);
        }
        all_have_bounds = all_have_bounds && has_bounds(&facts[r]);
    }
    if (all_have_bounds) {
        check_sums(call, facts);
    }
}

static void rows_follow_their_formulas(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(81, 0);
    for (int number = 0; number < SHAPES; number++) {
        const struct shape shape = shape_number(number, k->width);
        for (int fill = 0; fill < FILLS; fill++) {
            const int gradient = random_percent(&random, 70) ? FILL_RANDOM : fill;
            /* the product of 1e30 and 1e30 is no float */
            const bool fits = gradient != FILL_HUGE;
            struct call call;
            call_open(&call, shape, fill, 0, fits ? gradient : FILL_WIDE, &random);
            check_call(&call);
            call_close(&call);
        }
        struct call huge;
        call_open(&huge, shape, FILL_RANDOM, 0, FILL_HUGE, &random);
        check_call(&huge);
        call_close(&huge);
    }
}

/* A deviation of 1 beside a large mean, and rows of many chunks. */
static void large_means_and_long_rows(void **state) {
    (void)state;
    static const float offsets[] = {0.0f, 100.0f, -1e4f, 3e4f};
    static const int sizes[] = {64, 255, 768, 1024, 4099, 16384};
    k = sets_begin();
    struct random random = random_stream(82, 0);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        for (size_t o = 0; o < COUNT_OF(offsets); o++) {
            for (int times = 0; times < 4; times++) {
                const float offset = sizes[i] > 10000 ? offsets[o] / 4 : offsets[o];
                struct call call;
                call_open(&call, (struct shape){times % PLACES, 3, sizes[i], 3},
                          FILL_RANDOM, offset, FILL_RANDOM, &random);
                check_call(&call);
                call_close(&call);
            }
        }
    }
}

/* The bits of a row are the same alone, and sums go through rows in ascending order. */
static void rows_are_alone(void **state) {
    (void)state;
    k = sets_begin();
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct random random = random_stream(83, seed), again = random;
        const struct shape shape = {(int)seed % PLACES, 5, 6 * k->width + 3, 2};
        const int fill = seed % 3 == 0 ? FILL_NAN : FILL_RANDOM;
        struct call whole, parts;
        call_open(&whole, shape, fill, 0, FILL_RANDOM, &random);
        call_open(&parts, shape, fill, 0, FILL_RANDOM, &again);
        call_rows(&whole, 0, 5);
        for (int r = 0; r < 5; r++) {
            call_rows(&parts, r, 1);
        }
        struct matrix *of_whole[MATRICES], *of_parts[MATRICES];
        matrices_of(&whole, of_whole);
        matrices_of(&parts, of_parts);
        for (int i = 0; i < MATRICES; i++) {
            for (int r = 0; r < of_whole[i]->rows; r++) {
                for (int c = 0; c < of_whole[i]->n; c++) {
                    assert_true(same_value(matrix_get(of_whole[i], r, c),
                                           matrix_get(of_parts[i], r, c)));
                }
            }
        }
        call_close(&whole);
        call_close(&parts);
    }
}

/* One NaN or infinity, at each place of a row. */
static void nan_stays_in_its_row(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(84, 0);
    const struct shape shape = {PLACE_BEFORE, 3, 5 * k->width + k->width - 1, 2};
    for (int i = 0; i < 2 * shape.n; i++) {
        struct call call;
        call_open(&call, shape, FILL_RANDOM, 0, FILL_RANDOM, &random);
        call.one_row = false;
        const float odd = i % 2 == 0 ? some_nan(&random) : -INFINITY;
        call.from.at[call.from.ld + i / 2] = odd;
        matrix_copy(&call.to, &call.from);
        check_call(&call);
        assert_true(isfinite(matrix_get(&call.to, 0, i / 2)));
        assert_true(isnan(matrix_get(&call.to, 1, i / 2)));
        assert_true(isfinite(matrix_get(&call.grad_from, 2, i / 2)));
        call_close(&call);
    }
}

/* The sum of w times the normalised row, in float64. */
static double weighted(const double *x, const double *w, int n, bool centred) {
    double mean = 0, squares = 0, sum = 0;
    for (int c = 0; c < n; c++) {
        mean += centred ? x[c] / n : 0;
    }
    for (int c = 0; c < n; c++) {
        squares += (x[c] - mean) * (x[c] - mean) / n;
        sum += w[c] * (x[c] - mean);
    }
    return sum / sqrt(squares + 1e-2);
}

/* The formula of kernel.h, on what the kernel gave, against central differences. */
static void gradient_is_the_derivative(void **state) {
    (void)state;
    enum { N = 37 };
    k = sets_begin();
    struct random random = random_stream(85, 0);
    for (int times = 0; times < 100; times++) {
        const bool centred = times % 2 == 0;
        float x[N], w[N], to[N], gradient[N], mean = 0, inverse;
        double exact[N], weights[N];
        for (int c = 0; c < N; c++) {
            exact[c] = x[c] = random_float(&random) + (float)(times % 5);
            weights[c] = w[c] = random_float(&random);
        }
        k->norm(to, N, x, N, 1, N, 1e-2f, NULL, NULL, centred ? &mean : NULL, &inverse);
        k->norm_gradient(gradient, N, w, N, x, N, 1, N, NULL, centred ? &mean : NULL,
                         &inverse, false, NULL, NULL);
        for (int c = 0; c < N; c++) {
            const double step = 1e-5;
            exact[c] += step;
            const double above = weighted(exact, weights, N, centred);
            exact[c] -= 2 * step;
            const double below = weighted(exact, weights, N, centred);
            exact[c] = x[c];
            assert_true(fabs(gradient[c] - (above - below) / (2 * step)) <= 2e-5);
        }
    }
}

int main(void) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(rows_follow_their_formulas),
        cmocka_unit_test(large_means_and_long_rows),
        cmocka_unit_test(rows_are_alone),
        cmocka_unit_test(nan_stays_in_its_row),
        cmocka_unit_test(gradient_is_the_derivative),
    };
    int failed = 0;
    while (sets_next()) {
        failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
    }
    return sets_finish(failed, COUNT_OF(checks));
}
