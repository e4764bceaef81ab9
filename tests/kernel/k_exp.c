/*
 * How exact exp and tanh are, through softmax and weights with maximum 0 and through
 * softcap with cap 1, which add no rounding of their own: sweeps over millions of
 * arguments against float64 (whose errors, 2^-53, do not show here), which itself is
 * compared with long double. SWEEP_STRIDE, which the build gives, thins the sweeps
 * where an emulator runs them; it is odd, so that both halves of a pair of floats are
 * met.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kernel/matrix.h"
#include "tests/kernel/sets.h"
#include "tests/support/test.h"

enum { CHUNK = 4096 };

static const struct kernels *k;
static float x[CHUNK], got[CHUNK], other[CHUNK];
static double worst; /* relative error in u, or of the bound */

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void fail_at(const char *what, float at, double result, double right) {
    fail_msg("%s: %s(%a) is %a, should be %a (%.3f u)", sets_name(), what, at, result,
             right, fabs(result / right - 1) / U);
}

/*
 * One result of exp: within (2.2 + |s| / 16) u, since the difference from a maximum of
 * 0 is exact; 0 under 2^-126.
 */
static void check_exp(float s, float result) {
    const double e = exp((double)s);
    if (e < 0x1p-126) {
        if (result != 0.0f) {
            fail_at("exp", s, result, 0);
        }
        return;
    }
    const double error = fabs(result - e) / e / U, most = 2.2 + fabs((double)s) / 16;
    worst = fmax(worst, error / most);
    if (!(error <= most)) {
        fail_at("exp", s, result, e);
    }
}

/* The first n of x, by both kernels. */
static void check_exps(int n) {
    float maximum = 0.0f, sum = 0.0f, rescale;
    const float one = 1.0f;
    memcpy(got, x, sizeof got);
    memcpy(other, x, sizeof other);
    assert_false(k->softmax(got, n, 1, n, &maximum, &sum, &rescale));
    k->weights(other, n, 1, n, &maximum, &one);
    for (int i = 0; i < n; i++) {
        check_exp(x[i], got[i]);
        if (!same_bits(got[i], other[i])) {
            fail_at("weights", x[i], other[i], got[i]);
        }
    }
}

/* tanh of the first n of x and of their negatives. */
static void check_tanhs(int n) {
    memcpy(got, x, sizeof got);
    for (int i = 0; i < n; i++) {
        other[i] = -x[i];
    }
    k->softcap(got, n, 1, n, 1.0f);
    k->softcap(other, n, 1, n, 1.0f);
    for (int i = 0; i < n; i++) {
        const double right = tanh((double)x[i]), error = fabs(got[i] - right);
        worst = fmax(worst, right == 0 ? 0 : error / fabs(right) / U);
        if (!(error <= 4 * U * fabs(right))) {
            fail_at("tanh", x[i], got[i], right);
        }
        if (!same_bits(got[i], -other[i])) {
            fail_at("tanh", -x[i], other[i], -got[i]);
        }
    }
}

/* Every step-th float from one number to another of the same sign, in bits. */
static void sweep(void (*check)(int), float from, float to, uint32_t step) {
    uint32_t first = bits_of(from), last = bits_of(to);
    int n = 0;
    for (uint64_t bits = first; bits <= last; bits += step) {
        x[n++] = float_of((uint32_t)bits);
        if (n == CHUNK) {
            check(n);
            n = 0;
        }
    }
    check(n);
}

/* Evenly spaced numbers. */
static void sweep_evenly(void (*check)(int), double from, double to, int count) {
    for (int i = 0; i < count; i += CHUNK) {
        for (int j = 0; j < CHUNK; j++) {
            x[j] = (float)(from + (to - from) * (i + j) / (count - 1));
        }
        check(count - i < CHUNK ? count - i : CHUNK);
    }
}

/* Every float within `steps` floats of a number that is not 0. */
static void sweep_around(void (*check)(int), float at, uint32_t steps) {
    sweep(check, float_of(bits_of(at) - steps), float_of(bits_of(at) + steps), 1);
}

static void exp_is_exact_enough(void **state) {
    (void)state;
    k = sets_begin();
    worst = 0;
    sweep_evenly(check_exps, -104, 0, 2000000 / SWEEP_STRIDE);
    sweep(check_exps, -0.25f, -0.5f, SWEEP_STRIDE);
    sweep(check_exps, -64.0f, -104.0f, SWEEP_STRIDE);
    sweep(check_exps, -0.0f, -104.0f, 499 * SWEEP_STRIDE);
    for (int n = 1; n < 300; n++) {
        sweep_around(check_exps, (float)(-n * 0.34657359027997264), 200);
    }
    sweep_around(check_exps, -87.33654f, 20000);
    print_message("%s: exp within %.3f of the bound\n", sets_name(), worst);
}

static void tanh_is_exact_enough(void **state) {
    (void)state;
    k = sets_begin();
    worst = 0;
    sweep_evenly(check_tanhs, 0, 12, 1000000 / SWEEP_STRIDE);
    sweep(check_tanhs, 0.0f, 1e30f, 1499 * SWEEP_STRIDE);
    sweep(check_tanhs, 0.25f, 1.0f, 7 * SWEEP_STRIDE);
    sweep_around(check_tanhs, 0.5f, 20000);
    print_message("%s: tanh within %.3f u\n", sets_name(), worst);
}

/* Special numbers, each at every lane and in the part of a vector at the end. */
static void special_numbers(void **state) {
    (void)state;
    k = sets_begin();
    const int n = 3 * k->width - 1;
    struct random random = random_stream(31, 0);
    for (int i = 0; i < 1000 * n; i++) {
        const int place = i % n;
        const float nan = some_nan(&random);
        const float scores[] = {nan, -INFINITY, 0.0f, -0.0f, -0x1p-149f, -1e30f};
        const float capped[] = {nan, -INFINITY, INFINITY, 0.0f, -0.0f, -1e30f};
        for (size_t s = 0; s < COUNT_OF(scores); s++) {
            float maximum = 0.0f, sum = 0.0f, rescale;
            memset(x, 0, sizeof x);
            memset(other, 0, sizeof other);
            x[place] = scores[s];
            other[place] = capped[s];
            k->softmax(x, n, 1, n, &maximum, &sum, &rescale);
            k->softcap(other, n, 1, n, 30.0f);
            const float e = x[place], t = other[place];
            const bool right_e =
                s == 0 ? isnan(e) && isnan(sum) : e == (scores[s] < -1 ? 0.0f : 1.0f);
            if (!right_e) {
                fail_at("exp", scores[s], e, exp((double)scores[s]));
            }
            const float limit = fmaxf(-30.0f, fminf(capped[s], 30.0f));
            if (s == 0 ? !isnan(t) : t != limit || signbit(t) != signbit(limit)) {
                fail_at("softcap", capped[s], t, limit);
            }
        }
    }
}

/* Caps whose inverse is no normal float. */
static void extreme_caps(void **state) {
    (void)state;
    static const float caps[] = {0x1p-126f, 1e-37f, 1e-30f, 1e30f, 1e37f, FLT_MAX};
    k = sets_begin();
    for (size_t i = 0; i < COUNT_OF(caps); i++) {
        float s[] = {0.0f, caps[i] * 0.3f, -caps[i], caps[i] * 0.9f, caps[i], 1.0f};
        float capped[COUNT_OF(s)];
        memcpy(capped, s, sizeof s);
        k->softcap(capped, COUNT_OF(s), 1, COUNT_OF(s), caps[i]);
        for (size_t j = 0; j < COUNT_OF(s); j++) {
            const double right = caps[i] * tanh((double)s[j] / caps[i]);
            if (!(fabs(capped[j] - right) <=
                  7 * U * fabs(right) + (2 + caps[i]) * 0x1p-149)) {
                print_error("cap %g: ", caps[i]);
                fail_at("softcap", s[j], capped[j], right);
            }
        }
    }
}

/* The formulas that this program trusts. */
static void float64_is_right(void **state) {
    (void)state;
    sets_begin();
    for (int i = 0; i <= 20000; i++) {
        const double s = -104.0 * i / 20000, t = 12.0 * i / 20000;
        assert_true(fabsl(exp(s) - expl(s)) <= 1e-15L * expl(s));
        assert_true(fabsl(tanh(t) - tanhl(t)) <= 1e-15L * tanhl(t));
    }
}

int main(void) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(float64_is_right),     cmocka_unit_test(exp_is_exact_enough),
        cmocka_unit_test(tanh_is_exact_enough), cmocka_unit_test(special_numbers),
        cmocka_unit_test(extreme_caps),
    };
    int failed = 0;
    while (sets_next()) {
        failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
    }
    return sets_finish(failed, COUNT_OF(checks));
}
