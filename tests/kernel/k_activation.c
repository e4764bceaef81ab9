/*
 * Activations: f and f' within their bounds of float64, over millions of arguments and
 * in all shapes; the kernels that multiply by them, bit for bit. The float64 formulas
 * are compared with long double, and f' with differences of f.
 *
 * SWEEP_STRIDE is that of k_exp.c.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "tests/kernel/matrix.h"
#include "tests/kernel/sets.h"
#include "tests/support/check.h"
#include "tests/support/test.h"

enum { CHUNK = 4096, ACTIVATIONS = ACTIVATION_SILU + 1 };

static const struct kernels *k;
static enum activation activation;
static double worst_value, worst_slope; /* parts of the bounds */

static const char *activation_name(void) {
    static const char *const names[] = {"relu", "gelu", "gelu_tanh", "silu"};
    return names[activation];
}

/* What is known of f(x) = x F(x) at a place. */
struct formula {
    double weight, density; /* F and F' */
    double bound;           /* of relative errors, in u */
};

static struct formula logistic(double w, double dw, double bound) {
    const double down = 1 / (1 + exp(w)), up = 1 / (1 + exp(-w));
    return (struct formula){up, up == 0 || down == 0 ? 0 : up * down * dw, bound};
}

static struct formula formula_at(double x) {
    const double c = 2 * sqrt(2 / acos(-1)), square = x * x;
    const double w = c * x * (1 + 0.044715 * square);
    switch (activation) {
    case ACTIVATION_RELU:
        return (struct formula){x > 0, 0, 0};
    case ACTIVATION_GELU:
        return (struct formula){erfc(-x / sqrt(2)) / 2, c / 4 * exp(-square / 2), 10};
    case ACTIVATION_GELU_TANH:
        return logistic(w, c * (1 + 3 * 0.044715 * square), 10 + 4 * fabs(w));
    default:
        return logistic(x, 1, 10);
    }
}

/* 0 times infinity is the limit, 0. */
static double times(double x, double factor) {
    return factor == 0 ? 0 : x * factor;
}

static double value_at(double x) {
    return isnan(x) ? x : times(x, formula_at(x).weight);
}

static double slope_at(double x) {
    const struct formula f = formula_at(x);
    return isnan(x) ? x : f.weight + times(x, f.density);
}

/* `worst` becomes the part of the bound that was used, if it is larger. */
static bool within(double got, double right, double bound, double *worst) {
    const double error = fabs(got - right);
    if (isfinite(right) && error > 0x1p-117) {
        *worst = fmax(*worst, error / bound);
    }
    return check_number(got, right, bound);
}

/* ReLU has no error, and nothing has one where it is infinite. */
static double bound_of(const struct formula *f, double size) {
    if (f->bound == 0 || !isfinite(size)) {
        return 0;
    }
    return f->bound * U * size + 0x1p-118;
}

static bool right_value(double got, double x) {
    const struct formula f = formula_at(x);
    const double right = value_at(x);
    return within(got, right, bound_of(&f, fabs(right)), &worst_value);
}

static bool right_slope(double got, double x) {
    const struct formula f = formula_at(x);
    const double size = f.weight + fabs(times(x, f.density));
    return within(got, slope_at(x), bound_of(&f, size), &worst_slope);
}

static void fail_at(const char *what, float at, double got, double right) {
    fail_msg("%s: %s, %s at %a is %a, should be %a", sets_name(), activation_name(),
             what, at, got, right);
}

/* f and f' at n places, at most CHUNK. */
static void check_places(const float *x, int n) {
    float value[CHUNK], slope[CHUNK];
    for (int i = 0; i < n; i++) {
        slope[i] = 1.0f;
    }
    k->activate(activation, value, n, x, n, 1, n);
    k->activation_gradient(activation, slope, n, x, n, 1, n);
    for (int i = 0; i < n; i++) {
        if (!right_value(value[i], x[i])) {
            fail_at("f", x[i], value[i], value_at(x[i]));
        }
        if (!right_slope(slope[i], x[i])) {
            fail_at("f'", x[i], slope[i], slope_at(x[i]));
        }
    }
}

/* Every step-th float of both signs, from 0 to NaN. */
static void sweep_bits(uint32_t first, uint32_t last, uint32_t step) {
    float x[CHUNK];
    int n = 0;
    for (uint64_t bits = first; bits < last; bits += step) {
        const uint32_t low = (uint32_t)bits;
        memcpy(&x[n], &low, sizeof low);
        x[n + 1] = -x[n];
        n += 2;
        if (n == CHUNK) {
            check_places(x, n);
            n = 0;
        }
    }
    check_places(x, n);
}

static void sweep_evenly(double limit, int count) {
    float x[CHUNK];
    for (int i = 0; i < count; i += CHUNK) {
        for (int j = 0; j < CHUNK; j++) {
            x[j] = (float)(limit * (2.0 * (i + j) / (count - 1) - 1));
        }
        check_places(x, CHUNK);
    }
}

static void functions_are_exact_enough(void **state) {
    (void)state;
    k = sets_begin();
    for (int i = 0; i < ACTIVATIONS; i++) {
        activation = (enum activation)i;
        worst_value = worst_slope = 0;
        sweep_evenly(20, 400000 / SWEEP_STRIDE);
        sweep_evenly(120, 200000 / SWEEP_STRIDE);
        sweep_bits(0, 0x7f800000, 9973 * SWEEP_STRIDE);
        sweep_bits(0x3b000000, 0x42d00000, 601 * SWEEP_STRIDE); /* 2^-9 to 104 */
        print_message("%s: %s uses %.2f, %.2f of its bounds\n", sets_name(),
                      activation_name(), worst_value, worst_slope);
    }
}

/* Special numbers, each at every lane and in the part of a vector at the end. */
static void special_numbers(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(71, 0);
    const int n = 3 * k->width - 1;
    for (int i = 0; i < ACTIVATIONS * n; i++) {
        const float places[] = {some_nan(&random), INFINITY, -INFINITY, FLT_MAX,
                                -FLT_MAX,          0.0f,     -0.0f,     0x1p-149f,
                                -0x1p-149f,        -0x1p126f};
        activation = (enum activation)(i / n);
        for (size_t s = 0; s < COUNT_OF(places); s++) {
            float x[CHUNK] = {0};
            x[i % n] = places[s];
            check_places(x, n);
        }
    }
}

/* The operands of all four kernels, and what they should come to. */
struct operands {
    struct matrix from, up, g, value, slope;
};

static void operands_open(struct operands *o, struct shape shape, int fill,
                          struct random *random) {
    struct matrix *all[] = {&o->from, &o->up, &o->g, &o->value, &o->slope};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        matrix_open(all[i], shape);
        matrix_fill(all[i], i == 0 ? fill : FILL_RANDOM, random);
        shape.gap = 4 - shape.gap;
    }
    if (random_percent(random, 10)) {
        matrix_fill(&o->up, fill, random);
        matrix_fill(&o->g, FILL_NAN, random);
    }
}

static void operands_close(struct operands *o) {
    struct matrix *all[] = {&o->from, &o->up, &o->g, &o->value, &o->slope};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        matrix_close(all[i]);
    }
}

/* f and f' by the kernels, against the formulas. */
static void check_functions(struct operands *o) {
    const int rows = o->from.rows, n = o->from.n;
    matrix_set(&o->slope, 1.0f);
    k->activate(activation, o->value.at, o->value.ld, o->from.at, o->from.ld, rows, n);
    k->activation_gradient(activation, o->slope.at, o->slope.ld, o->from.at, o->from.ld,
                           rows, n);
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < n; c++) {
            const double x = matrix_get(&o->from, r, c);
            const double value = matrix_get(&o->value, r, c);
            const double slope = matrix_get(&o->slope, r, c);
            if (!right_value(value, x)) {
                matrix_fail(activation_name(), &o->value, r, c, value, value_at(x));
            }
            if (!right_slope(slope, x)) {
                matrix_fail("its gradient", &o->slope, r, c, slope, slope_at(x));
            }
        }
    }
}

enum result { VALUE, GRADIENT, GATED, GRADIENT_FROM, GRADIENT_UP };

/* What a kernel makes of an element by multiplying f or f' in the order it promises. */
static float right_result(const struct operands *o, enum result result, int r, int c) {
    const float up = matrix_get(&o->up, r, c), g = matrix_get(&o->g, r, c);
    const float value = matrix_get(&o->value, r, c);
    const float slope = matrix_get(&o->slope, r, c);
    switch (result) {
    case GRADIENT:
        return slope * g;
    case GATED:
        return value * up;
    case GRADIENT_FROM:
        return slope * up * g;
    case GRADIENT_UP:
        return value * g;
    default:
        return value;
    }
}

static void check_result(const char *kernel, const struct operands *o,
                         const struct matrix *got, enum result result) {
    for (int r = 0; r < got->rows; r++) {
        for (int c = 0; c < got->n; c++) {
            const float right = right_result(o, result, r, c);
            if (!same_value(matrix_get(got, r, c), right)) {
                print_error("%s: ", activation_name());
                matrix_fail(kernel, got, r, c, matrix_get(got, r, c), right);
            }
        }
    }
}

/* A matrix for a result, with the elements of `in_place` unless it is NULL. */
static void result_open(struct matrix *result, struct shape shape,
                        const struct matrix *in_place) {
    matrix_open(result, shape);
    if (in_place != NULL) {
        matrix_copy(result, in_place);
    }
}

static void check_activate_in_place(const struct operands *o, struct shape shape) {
    struct matrix to, g;
    result_open(&to, shape, &o->from);
    k->activate(activation, to.at, to.ld, to.at, to.ld, shape.rows, shape.n);
    check_result("activate in place", o, &to, VALUE);
    result_open(&g, shape, &o->g);
    k->activation_gradient(activation, g.at, g.ld, o->from.at, o->from.ld, shape.rows,
                           shape.n);
    check_result("activation_gradient", o, &g, GRADIENT);
    matrix_close(&to);
    matrix_close(&g);
}

/* Into a matrix of its own, from or up. */
static void check_gate(const struct operands *o, struct shape shape, int place) {
    const struct matrix *in_place = place == 1 ? &o->from : place == 2 ? &o->up : NULL;
    struct matrix to;
    result_open(&to, shape, in_place);
    const struct matrix *from = place == 1 ? &to : &o->from;
    const struct matrix *up = place == 2 ? &to : &o->up;
    k->gate(activation, to.at, to.ld, from->at, from->ld, up->at, up->ld, shape.rows,
            shape.n);
    check_result("gate", o, &to, GATED);
    matrix_close(&to);
}

/* Into matrices of their own, or one of them g. */
static void check_gate_gradient(const struct operands *o, struct shape shape,
                                int place) {
    struct matrix grad_from, grad_up;
    result_open(&grad_from, shape, place == 1 ? &o->g : NULL);
    shape.gap = 4 - shape.gap;
    result_open(&grad_up, shape, place == 2 ? &o->g : NULL);
    const struct matrix *g = place == 1 ? &grad_from : place == 2 ? &grad_up : &o->g;
    k->gate_gradient(activation, grad_from.at, grad_from.ld, grad_up.at, grad_up.ld,
                     g->at, g->ld, o->from.at, o->from.ld, o->up.at, o->up.ld,
                     shape.rows, shape.n);
    check_result("gate_gradient, from", o, &grad_from, GRADIENT_FROM);
    check_result("gate_gradient, up", o, &grad_up, GRADIENT_UP);
    matrix_close(&grad_from);
    matrix_close(&grad_up);
}

static void kernels_in_all_shapes(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(72, 0);
    for (int number = 0; number < SHAPES; number++) {
        for (int fill = 0; fill < FILLS; fill++) {
            struct shape shape = shape_number(number, k->width);
            const int place = (number + fill) % 3;
            struct operands o;
            activation = (enum activation)((number / 7 + fill) % ACTIVATIONS);
            operands_open(&o, shape, fill, &random);
            check_functions(&o);
            shape.gap = 4 - shape.gap;
            check_activate_in_place(&o, shape);
            check_gate(&o, shape, place);
            check_gate_gradient(&o, shape, place);
            operands_close(&o);
        }
    }
}

/* A row of the inputs may repeat. */
static void a_row_that_repeats(void **state) {
    (void)state;
    k = sets_begin();
    const float from[3] = {-1, 2, 3}, up[3] = {5, 6, -7}, g[3] = {2, 3, 1};
    float to[2][3], other[2][3];
    k->gate(ACTIVATION_RELU, to[0], 3, from, 0, up, 0, 2, 3);
    for (int r = 0; r < 2; r++) {
        assert_true(to[r][0] == 0 && to[r][1] == 12 && to[r][2] == -21);
    }
    k->gate_gradient(ACTIVATION_RELU, to[0], 3, other[0], 3, g, 0, from, 0, up, 0, 2,
                     3);
    for (int r = 0; r < 2; r++) {
        assert_true(to[r][0] == 0 && to[r][1] == 18 && to[r][2] == -7);
        assert_true(other[r][0] == 0 && other[r][1] == 6 && other[r][2] == 3);
    }
}

/* The formulas that this program trusts: f' follows from f, f from long double. */
static void formulas_are_right(void **state) {
    (void)state;
    sets_begin();
    for (int a = 0; a < ACTIVATIONS; a++) {
        activation = (enum activation)a;
        for (int i = -1201; i <= 1201; i += 2) {
            const double x = i / 100.0, h = 1e-4;
            const double slope = (value_at(x + h) - value_at(x - h)) / (2 * h);
            assert_true(fabs(slope_at(x) - slope) <= 2e-8);
            assert_true(fabs(value_at(x) - value_at(-x) - x) <= 1e-14);
        }
    }
    activation = ACTIVATION_GELU;
    for (int i = 0; i <= 13000; i++) {
        const double x = -i / 1000.0;
        const long double right = x * erfcl(-x / sqrtl(2)) / 2;
        assert_true(fabsl(value_at(x) - right) <= 1e-13L * fabsl(right));
    }
    assert_true(fabs(value_at(1) - 0.8413447460685429) <= 1e-15);
    activation = ACTIVATION_GELU_TANH;
    assert_true(fabs(value_at(1) - 0.8411919906082768) <= 1e-15);
    activation = ACTIVATION_SILU;
    assert_true(fabs(value_at(1) - 0.7310585786300049) <= 1e-15);
}

int main(void) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(formulas_are_right),
        cmocka_unit_test(functions_are_exact_enough),
        cmocka_unit_test(special_numbers),
        cmocka_unit_test(kernels_in_all_shapes),
        cmocka_unit_test(a_row_that_repeats),
    };
    int failed = 0;
    while (sets_next()) {
        failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
    }
    return sets_finish(failed, COUNT_OF(checks));
}
