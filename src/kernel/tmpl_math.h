/*
 * Template: exp, the bell curve and tanh of a vector. Include after a vec_*.h.
 */
#ifndef ATTN_KERNEL_TMPL_MATH_H
#define ATTN_KERNEL_TMPL_MATH_H

/*
 * exp and the bell curve are powers of 2. With n the integer nearest to the exponent,
 * rounded by adding 1.5 2^23 and taking it away, and f in [-1/2, 1/2] the rest, they
 * are 2^n 2^f. f is computed with log2(e) in two parts, so that its error does not grow
 * with the exponent.
 */
static const float log2e = 0x1.715476p+0f, log2e_low = 0x1.4ae0c0p-26f;
static const float shifter = 0x1.8p+23f;

/*
 * 2^(n + f), where z = n + 1.5 2^23 (see vec_scale2), and 0 in `none`. The polynomial
 * for 2^f is the one of least largest relative error (2.6e-9 = 0.04 u) among those of
 * degree 6 with constant term 1, which makes 2^0 exactly 1. Degree 5 would cost 7 u.
 */
static inline vec vec_power(vec n, vec z, vec f, vec_mask none) {
    vec p = vec_set(0x1.470b4ap-13f);
    p = vec_muladd(p, f, vec_set(0x1.5f7276p-10f));
    p = vec_muladd(p, f, vec_set(0x1.3b270ep-7f));
    p = vec_muladd(p, f, vec_set(0x1.c6ae72p-5f));
    p = vec_muladd(p, f, vec_set(0x1.ebfbe2p-3f));
    p = vec_muladd(p, f, vec_set(0x1.62e432p-1f));
    p = vec_muladd(p, f, vec_set(1.0f));
    return vec_scale2(p, n, z, none);
}

/*
 * exp(x) for x <= 0 with relative error at most 2.1u; 0 where the result is below
 * 2^-126; NaN stays NaN; anything for x > 0.
 */
static inline vec vec_exp(vec x) {
    const float lowest = -0x1.5d589ep+6f; /* log(2^-126), rounded up */
    vec z = vec_muladd(x, vec_set(log2e), vec_set(shifter));
    vec n = vec_sub(z, vec_set(shifter));
    vec f = vec_mulsub(x, vec_set(log2e), n);
    f = vec_muladd(x, vec_set(log2e_low), f);
    return vec_power(n, z, f, vec_less(x, vec_set(lowest)));
}

/*
 * The same a step shorter, in place, for one or two vectors, whose steps take turns, as
 * each waits for the one before: 2^n e^-r with r = n log(2) - x, where log(2) is in one
 * part, since its error is a fifth of that of log2(e). The polynomial is the one of
 * least largest relative error (0.05 u) that starts with 1 - r. The relative error is
 * at most (2.2 + |x| / 16) u, less than x has where it is a difference of rounded
 * numbers.
 */
static inline __attribute__((always_inline)) void vec_exp_weights(vec x[], int count) {
    static const float power[] = {
        0x1.6a5228p-10f, -0x1.12396cp-7f, 0x1.5558aap-5f, -0x1.555492p-3f,
        0x1.fffffcp-2f,  -1.0f,           1.0f,
    };
    enum { MOST = 2, STEPS = sizeof power / sizeof *power };
    const float lowest = -0x1.5d589ep+6f, log_2 = 0x1.62e430p-1f;
    vec z[MOST], n[MOST], r[MOST], p[MOST];
    UNROLL_LOOP
    for (int i = 0; i < count; i++) {
        z[i] = vec_muladd(x[i], vec_set(log2e), vec_set(shifter));
        n[i] = vec_sub(z[i], vec_set(shifter));
        r[i] = vec_mulsub(n[i], vec_set(log_2), x[i]);
        p[i] = vec_set(power[0]);
    }
    UNROLL_LOOP
    for (int step = 1; step < STEPS; step++) {
        for (int i = 0; i < count; i++) {
            p[i] = vec_muladd(p[i], r[i], vec_set(power[step]));
        }
    }
    UNROLL_LOOP
    for (int i = 0; i < count; i++) {
        x[i] = vec_scale2(p[i], n[i], z[i], vec_less(x[i], vec_set(lowest)));
    }
}

static inline vec vec_exp_weight(vec x) {
    vec_exp_weights(&x, 1);
    return x;
}

/*
 * exp(-x^2 / 2) for |x| < 2^60, with relative error at most 2.2u; 0 where the result is
 * below 2^-126; NaN stays NaN. The rounding error of x^2 goes into the exponent: left
 * out, it would cost up to 87 u.
 */
static inline vec vec_bell(vec x) {
    const float half = -0.5f * log2e, half_low = -0.5f * log2e_low;
    const float largest = 0x1.5d589ep+7f; /* -2 log(2^-126), rounded down */
    vec square = vec_mul(x, x);
    vec rest = vec_mulsub(x, x, square);
    vec z = vec_muladd(square, vec_set(half), vec_set(shifter));
    vec n = vec_sub(z, vec_set(shifter));
    vec f = vec_mulsub(square, vec_set(half), n);
    f = vec_muladd(square, vec_set(half_low), f);
    f = vec_muladd(rest, vec_set(half), f);
    return vec_power(n, z, f, vec_less(vec_set(largest), square));
}

/*
 * tanh(x) with relative error at most 4u; NaN stays NaN.
 *
 * For |x| < 1/2 an odd polynomial, since the other form cancels there; its five free
 * coefficients interpolate at the Chebyshev points of [0, 1/4] in x^2 (error 0.02 u).
 * Elsewhere (1 - e) / (1 + e) with e = exp(-2 |x|).
 */
static inline vec vec_tanh(vec x) {
    vec size = vec_abs(x);
    vec e = vec_exp(vec_mul(size, vec_set(-2.0f)));
    vec one = vec_set(1.0f);
    vec large = vec_div(vec_sub(one, e), vec_add(one, e));
    vec x2 = vec_mul(x, x);
    vec p = vec_set(-0x1.c7033cp-8f);
    p = vec_muladd(p, x2, vec_set(0x1.5fc692p-6f));
    p = vec_muladd(p, x2, vec_set(-0x1.b9d2aep-5f));
    p = vec_muladd(p, x2, vec_set(0x1.111080p-3f));
    p = vec_muladd(p, x2, vec_set(-0x1.555554p-2f));
    vec small = vec_muladd(vec_mul(x2, x), p, x);
    return vec_copysign(vec_select(vec_less(size, vec_set(0.5f)), small, large), x);
}

#endif
