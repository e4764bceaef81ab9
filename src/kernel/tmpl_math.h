/*
 * Template: exp, the bell curve and tanh of a vector. Include after a vec_*.h.
 */
#ifndef ATTN_KERNEL_TMPL_MATH_H
#define ATTN_KERNEL_TMPL_MATH_H

/*
 * exp and the bell curve are powers of 2. With n the multiple of 1 / ROOTS nearest to
 * the exponent, rounded by adding 1.5 2^23 / ROOTS and taking it away, and f in
 * [-1/2, 1/2] / ROOTS the rest, they are 2^n 2^f. f is computed with log2(e) in two
 * parts, so that its error does not grow with the exponent.
 */
static const float log2e = 0x1.715476p+0f, log2e_low = 0x1.4ae0c0p-26f;
static const float shifter = 0x1.8p+23f / ROOTS;
static const float lowest_power = -0x1.5d589ep+6f; /* log(2^-126), rounded up */

/* Numbers of a polynomial for 2^f - 1; with fewer roots of 2 it takes more of them. */
enum { POWERS = ROOTS == 1 ? 6 : 3 };

/* power[0] x^(count - 1) + power[1] x^(count - 2) + ... */
static inline vec vec_polynomial(const float power[], int count, vec x) {
    vec p = vec_set(power[0]);
    UNROLL_LOOP
    for (int i = 1; i < count; i++) {
        p = vec_muladd(p, x, vec_set(power[i]));
    }
    return p;
}

/* The polynomial that goes with as many roots as there are. */
static inline __attribute__((always_inline)) const float *
power_of_roots(const float *by_1, const float *by_8, const float *by_16) {
    return ROOTS == 1 ? by_1 : ROOTS == 8 ? by_8 : by_16;
}

/*
 * 2^(n + f), where z = n + shifter; 0 where y < least. The polynomials for 2^f are
 * those of least largest relative error (0.04, 0.45 and 0.03 u for 1, 8 and 16 roots)
 * with constant term 1, which makes 2^0 exactly 1.
 */
static inline vec vec_power(vec z, vec f, vec y, float least) {
    static const float by_1[] = {0x1.470b4ap-13f, 0x1.5f7276p-10f, 0x1.3b270ep-7f,
                                 0x1.c6ae72p-5f,  0x1.ebfbe2p-3f,  0x1.62e432p-1f};
    static const float by_8[] = {0x1.c6a004p-5f, 0x1.ec0c32p-3f, 0x1.62e432p-1f};
    static const float by_16[] = {0x1.c6ac6ap-5f, 0x1.ebfff4p-3f, 0x1.62e430p-1f};
    const vec p = vec_polynomial(power_of_roots(by_1, by_8, by_16), POWERS, f);
    const vec whole = vec_root_power(z);
    return vec_zero_below(y, vec_set(least), vec_muladd(vec_mul(p, f), whole, whole));
}

/*
 * exp(x) for x <= 88 with relative error at most 2.1u; 0 where the result is below
 * 2^-126; NaN stays NaN; anything for larger x.
 */
static inline vec vec_exp(vec x) {
    vec z = vec_muladd(x, vec_set(log2e), vec_set(shifter));
    vec n = vec_sub(z, vec_set(shifter));
    vec f = vec_mulsub(x, vec_set(log2e), n);
    f = vec_muladd(x, vec_set(log2e_low), f);
    return vec_power(z, f, x, lowest_power);
}

/*
 * The weight exp(-y) of a score that lies y below the maximum, some steps shorter: 2^n
 * (1 + q + q^2 P(q)) with q = -y - n log(2), where log(2) is in one part, since its
 * error is a fifth of that of log2(e). The polynomials are those of least largest
 * relative error (0.05, 0.46 and 0.03 u). That of the weight is at most (2.2 + |y| /
 * 16) u, less than y has where it is a difference of rounded numbers; y may be from -88
 * on. It starts from y, not -y, since one instruction subtracts a number in memory from
 * one in a register; the compiler is kept from having -shifter as well, for which there
 * is no register.
 */
static inline vec vec_weight(vec y) {
    static const float by_1[] = {0x1.6a5228p-10f, 0x1.12396cp-7f, 0x1.5558aap-5f,
                                 0x1.555492p-3f, 0x1.fffffcp-2f};
    static const float by_8[] = {0x1.5548eap-3f, 0x1.00087ep-1f};
    static const float by_16[] = {0x1.55523ap-3f, 0x1.00022p-1f};
    const float log_2 = 0x1.62e430p-1f;
    const vec shift = vec_held(vec_set(shifter));
    const vec z = vec_muladd(y, vec_set(-log2e), shift);
    const vec q = vec_mulsub(vec_sub(z, shift), vec_set(-log_2), y);
    const vec p = vec_polynomial(power_of_roots(by_1, by_8, by_16), POWERS - 1, q);
    const vec more = vec_muladd(vec_mul(q, q), p, q);
    const vec whole = vec_root_power(z);
    return vec_zero_below(vec_set(-lowest_power), y, vec_muladd(more, whole, whole));
}

/*
 * exp(-x^2 / 2) for |x| < 2^60, with relative error at most 2.2u; 0 where the result is
 * below 2^-126; NaN stays NaN. The rounding error of x^2 goes into the exponent: left
 * out, it would cost up to 87 u.
 */
static inline vec vec_bell(vec x) {
    const float half = -0.5f * log2e, half_low = -0.5f * log2e_low;
    vec square = vec_mul(x, x);
    vec rest = vec_mulsub(x, x, square);
    vec z = vec_muladd(square, vec_set(half), vec_set(shifter));
    vec n = vec_sub(z, vec_set(shifter));
    vec f = vec_mulsub(square, vec_set(half), n);
    f = vec_muladd(square, vec_set(half_low), f);
    f = vec_muladd(rest, vec_set(half), f);
    return vec_power(z, f, vec_mul(square, vec_set(-0.5f)), lowest_power);
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
