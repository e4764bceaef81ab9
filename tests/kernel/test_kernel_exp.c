/*
 * exp and tanh in the kernels, over their whole ranges: a sweep through the bit
 * patterns of all floats with a stride that visits about two million, and every float
 * near the places where the method changes.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "tests/support/rows.h"

#include "tests/kernel/each.h"

static const double unit = 0x1p-24;

enum { CHUNK = 4096 };

static float of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Calls check with chunks of the floats from low to high (positive), every stride-th.
 */
static void sweep(const struct kernels *k, float low, float high, uint32_t stride,
                  void (*check)(const struct kernels *k, const float *x, int n)) {
    float x[CHUNK];
    int n = 0;
    for (uint64_t bits = bits_of(low); bits <= bits_of(high);
         bits += (uint64_t)stride * TEST_SHARE) {
        x[n++] = of_bits((uint32_t)bits);
        if (n == CHUNK) {
            check(k, x, n);
            n = 0;
        }
    }
    check(k, x, n);
}

static void failed(const char *what, const struct kernels *k, float x, float got,
                   double want, double bound) {
    fail_msg("%s(%.9g) by isa %d is %.9g, expected %.12g: off by %.2f u, allowed %.2f",
             what, (double)x, (int)k->isa, (double)got, want,
             fabs(got - want) / (fabs(want) * unit), bound);
}

/* Scores -x with the maximum 0: s - M is exact, so only exp itself is looked at. */
static void check_exp(const struct kernels *k, const float *x, int n) {
    float s[CHUNK];
    const float maximum = 0, factor = 1;
    for (int i = 0; i < n; i++) {
        s[i] = -x[i];
    }
    k->weights(s, n, 1, n, &maximum, &factor);
    for (int i = 0; i < n; i++) {
        double want = exp(-(double)x[i]), bound = 4 + x[i];
        int off = fabs(s[i] - want) > bound * unit * want;
        if (want < 0x1p-126) {
            /* 0, or next to the limit what rounds to it */
            off = s[i] != 0 && (want < 0x1p-126 * (1 - bound * unit) || off);
        } else if (s[i] == 0) {
            off = want > 0x1p-126 * (1 + bound * unit);
        }
        if (off) {
            failed("exp", k, -x[i], s[i], want, bound);
        }
    }
}

static void exp_over_its_range(void **state) {
    (void)state;
    int32_t isa = 0;
    const struct kernels *k;
    while ((k = each_kernels(&isa)) != NULL) {
        sweep(k, 0.0f, FLT_MAX, 499, check_exp);
        sweep(k, 0x1p-30f, 110.0f, 29, check_exp);
        sweep(k, 87.3f, 87.4f, 1, check_exp);
        sweep(k, 0.3465f, 0.3467f, 1, check_exp);
    }
}

static void exp_of_special_numbers(void **state) {
    (void)state;
    int32_t isa = 0;
    const struct kernels *k;
    while ((k = each_kernels(&isa)) != NULL) {
        float s[] = {0.0f, -0.0f, -INFINITY, NAN, -FLT_MAX, -0x1p-149f, -150.0f};
        const float maximum = 0, factor = 1;
        k->weights(s, 7, 1, 7, &maximum, &factor);
        assert_true(s[0] == 1 && s[1] == 1 && s[2] == 0 && isnan(s[3]) && s[4] == 0);
        assert_true(s[5] == 1 && s[6] == 0);
    }
}

/* With a cap of 1 neither argument nor result is rounded beyond tanh. */
static void check_tanh(const struct kernels *k, const float *x, int n) {
    float s[2 * CHUNK];
    for (int i = 0; i < n; i++) {
        s[i] = x[i];
        s[n + i] = -x[i];
    }
    k->softcap(s, n, 2, n, 1.0f);
    for (int i = 0; i < n; i++) {
        double want = tanh((double)x[i]);
        if (fabs(s[i] - want) > 4 * unit * want + 0x1p-149) {
            failed("tanh", k, x[i], s[i], want, 4);
        }
        assert_true(s[n + i] == -s[i]);
    }
}

static void tanh_over_its_range(void **state) {
    (void)state;
    int32_t isa = 0;
    const struct kernels *k;
    while ((k = each_kernels(&isa)) != NULL) {
        sweep(k, 0.0f, FLT_MAX, 4001, check_tanh);
        sweep(k, 0x1p-12f, 10.0f, 401, check_tanh);
        sweep(k, 0.4999f, 0.5001f, 1, check_tanh);
    }
}

/* Other caps: the rounded inverse, its product and the last product add 1.5u + 1u. */
static void caps(void **state) {
    (void)state;
    static const float values[] = {0x1p-10f, 0.3f, 1.7f, 30.0f, 50.0f, 1e4f};
    int32_t isa = 0;
    const struct kernels *k;
    while ((k = each_kernels(&isa)) != NULL) {
        for (size_t v = 0; v < COUNT_OF(values); v++) {
            for (size_t c = 0; c < COUNT_OF(each_columns); c++) {
                struct rows s, before;
                struct random numbers = {c};
                rows_open(&s, 3, each_columns[c], 2, v % 2 == 0);
                rows_open(&before, 3, each_columns[c], 0, 0);
                rows_fill(&before, v % 2 ? FILL_WIDE : FILL_RANDOM, &numbers);
                rows_copy(&s, &before);
                k->softcap(s.at, s.ld, 3, s.n, values[v]);
                for (int i = 0; i < 3 * s.n; i++) {
                    double x = *rows_at(&before, i / s.n, i % s.n), cap = values[v];
                    double want = cap * tanh(x / cap);
                    assert_true(fabs(*rows_at(&s, i / s.n, i % s.n) - want) <=
                                7 * unit * fabs(want));
                }
                rows_need_gaps(&s);
                rows_close(&s);
                rows_close(&before);
            }
        }
    }
}

static void tanh_of_special_numbers(void **state) {
    (void)state;
    int32_t isa = 0;
    const struct kernels *k;
    while ((k = each_kernels(&isa)) != NULL) {
        float s[] = {0.0f,      -0.0f,    INFINITY, -INFINITY, NAN,
                     0x1p-149f, -FLT_MAX, 1.0f,     2.0f};
        k->softcap(s, 9, 1, 9, 2.0f);
        assert_true(s[0] == 0 && !signbit(s[0]) && s[1] == 0 && signbit(s[1]));
        assert_true(s[2] == 2 && s[3] == -2 && isnan(s[4]) && s[6] == -2);
        assert_true(fabsf(s[5]) <= 0x1p-148f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_over_its_range),
        cmocka_unit_test(exp_of_special_numbers),
        cmocka_unit_test(tanh_over_its_range),
        cmocka_unit_test(caps),
        cmocka_unit_test(tanh_of_special_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
