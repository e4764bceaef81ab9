/*
 * Template: the activation functions and their derivatives, of one vector. Include
 * after a vec_*.h and kernel.h.
 *
 * Apart from ReLU they are f(x) = x F(x) with F rising from 0 to 1 and
 * F(-x) = 1 - F(x), so all follows from m = -|x|:
 *
 *     f(x) = max(x, 0) + m F(m),
 *     f'(x) = d for x < 0, else 1 - d,  with d = F(m) + m F'(m)
 *
 * F(m) is computed as a product and never as a difference from 1, which keeps the
 * digits of small results.
 */
#ifndef ATTN_KERNEL_TMPL_CURVES_H
#define ATTN_KERNEL_TMPL_CURVES_H

#include "kernel/tmpl_math.h"

/* F(m), and m F(m) differentiated. */
struct tail {
    vec weight, slope;
};

/*
 * F is the normal distribution, F(m) = exp(-m^2/2) q(m). For q a rational function in
 * m of degrees 4 and 5: with the value 1/2 at 0, it has the least largest relative
 * error for 0 >= m >= -13.22, where the exponential ends, by least squares with weights
 * that follow the error, and then by trying neighbours of the rounded coefficients
 * (0.13 u). All its terms have the same sign, so that nothing cancels.
 */
static inline struct tail gelu_tail(vec m) {
    vec over = vec_set(0x1.051a50p-8f);
    over = vec_muladd(over, m, vec_set(-0x1.45a90cp-5f));
    over = vec_muladd(over, m, vec_set(0x1.71f398p-3f));
    over = vec_muladd(over, m, vec_set(-0x1.bd4024p-2f));
    over = vec_muladd(over, m, vec_set(0.5f));
    vec under = vec_set(-0x1.473d2cp-7f);
    under = vec_muladd(under, m, vec_set(0x1.982f92p-4f));
    under = vec_muladd(under, m, vec_set(-0x1.d9b7ecp-2f));
    under = vec_muladd(under, m, vec_set(0x1.31174cp+0f));
    under = vec_muladd(under, m, vec_set(-0x1.aae240p+0f));
    under = vec_muladd(under, m, vec_set(1.0f));
    const vec bell = vec_bell(m);
    const vec weight = vec_div(vec_mul(over, bell), under);
    const vec density = vec_mul(bell, vec_set(0x1.988454p-2f)); /* 1 / sqrt(2 pi) */
    return (struct tail){weight, vec_muladd(m, density, weight)};
}

/* F is the logistic function 1 / (1 + exp(-w)) of some odd w(m) with derivative dw. */
static inline struct tail logistic_tail(vec m, vec w, vec dw) {
    const vec one = vec_set(1.0f), e = vec_exp(w);
    const vec rest = vec_div(one, vec_add(one, e)); /* 1 - F(m) */
    const vec weight = vec_mul(e, rest);
    const vec factor = vec_muladd(vec_mul(m, dw), rest, one);
    return (struct tail){weight, vec_mul(weight, factor)};
}

/* (1 + tanh(z)) / 2 is the logistic function of w = 2 z = m (linear + cubic m^2). */
static inline struct tail gelu_tanh_tail(vec m) {
    const vec linear = vec_set(0x1.988454p+0f); /* 2 sqrt(2 / pi) */
    const vec cubic = vec_set(0x1.2444f2p-4f);  /* 0.044715 of it */
    const vec square = vec_mul(m, m);
    const vec w = vec_mul(m, vec_muladd(square, cubic, linear));
    const vec dw = vec_muladd(square, vec_mul(cubic, vec_set(3.0f)), linear);
    return logistic_tail(m, w, dw);
}

struct activated {
    vec value, slope;
};

static inline struct activated relu(vec x) {
    const vec zero = vec_set(0.0f), one = vec_set(1.0f);
    const vec flat = vec_select(vec_less(x, one), zero, x); /* 0 or NaN */
    return (struct activated){vec_max(zero, x),
                              vec_select(vec_less(zero, x), one, flat)};
}

/* f(x) and f'(x); `activation` is a constant where this is called. */
static inline __attribute__((always_inline)) struct activated
activated(enum activation activation, vec x) {
    const vec zero = vec_set(0.0f), one = vec_set(1.0f);
    /* -128 is far beyond where F(m) becomes 0; infinity would make it 0 inf */
    const vec m = vec_max(vec_set(-128.0f), vec_copysign(x, vec_set(-1.0f)));
    struct tail tail;
    switch (activation) {
    case ACTIVATION_RELU:
        return relu(x);
    case ACTIVATION_GELU:
        tail = gelu_tail(m);
        break;
    case ACTIVATION_GELU_TANH:
        tail = gelu_tanh_tail(m);
        break;
    default:
        tail = logistic_tail(m, m, one);
    }
    const vec down = vec_sub(one, tail.slope);
    return (struct activated){vec_muladd(m, tail.weight, vec_max(zero, x)),
                              vec_select(vec_less(x, zero), tail.slope, down)};
}

#endif
