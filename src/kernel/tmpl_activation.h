/*
 * Template: activations, their gradients and gates over rows. Include after a vec_*.h.
 */
#ifndef ATTN_KERNEL_TMPL_ACTIVATION_H
#define ATTN_KERNEL_TMPL_ACTIVATION_H

#include "kernel/tmpl_curves.h"
#include "kernel/tmpl_some.h"

struct source {
    const float *at;
    ptrdiff_t ld;
};
struct target {
    float *at;
    ptrdiff_t ld;
};

/*
 * What a kernel reads and writes: `up` if it is gated, `g` if it is a gradient, to_up
 * if it is both.
 */
struct operands {
    struct source from, up, g;
    struct target to, to_up;
};

/* n elements from column i of row r on. */
static inline vec take(const struct source *source, int r, int i, int n) {
    return load_some(source->at + r * source->ld + i, n, 0.0f);
}

static inline void put(const struct target *target, int r, int i, int n, vec x) {
    store_some(target->at + r * target->ld + i, n, x);
}

static inline __attribute__((always_inline)) void
activation_step(enum activation activation, bool gated, bool gradient,
                const struct operands *o, int r, int i, int n) {
    const struct activated f = activated(activation, take(&o->from, r, i, n));
    vec y = gradient ? f.slope : f.value;
    if (gated) {
        y = vec_mul(y, take(&o->up, r, i, n));
    }
    if (gradient) {
        const vec g = take(&o->g, r, i, n);
        y = vec_mul(y, g);
        if (gated) {
            put(&o->to_up, r, i, n, vec_mul(f.value, g));
        }
    }
    put(&o->to, r, i, n, y);
}

static inline __attribute__((always_inline)) void
activation_rows(enum activation activation, bool gated, bool gradient,
                const struct operands *o, int rows, int n) {
    for (int r = 0; r < rows; r++) {
        int i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            activation_step(activation, gated, gradient, o, r, i, WIDTH);
        }
        if (i < n) {
            activation_step(activation, gated, gradient, o, r, i, n - i);
        }
    }
}

/* Each activation has a loop of its own; `gated` and `gradient` are constants. */
static inline __attribute__((always_inline)) void
activation_pass(enum activation activation, bool gated, bool gradient,
                const struct operands *o, int rows, int n) {
    switch (activation) {
    case ACTIVATION_RELU:
        activation_rows(ACTIVATION_RELU, gated, gradient, o, rows, n);
        break;
    case ACTIVATION_GELU:
        activation_rows(ACTIVATION_GELU, gated, gradient, o, rows, n);
        break;
    case ACTIVATION_GELU_TANH:
        activation_rows(ACTIVATION_GELU_TANH, gated, gradient, o, rows, n);
        break;
    case ACTIVATION_SILU:
        activation_rows(ACTIVATION_SILU, gated, gradient, o, rows, n);
        break;
    }
}

static void kernel_activate(enum activation activation, float *to, ptrdiff_t ld_to,
                            const float *from, ptrdiff_t ld_from, int rows, int n) {
    const struct operands o = {.from = {from, ld_from}, .to = {to, ld_to}};
    activation_pass(activation, false, false, &o, rows, n);
}

static void kernel_activation_gradient(enum activation activation, float *g,
                                       ptrdiff_t ld, const float *from,
                                       ptrdiff_t ld_from, int rows, int n) {
    const struct operands o = {.from = {from, ld_from}, .g = {g, ld}, .to = {g, ld}};
    activation_pass(activation, false, true, &o, rows, n);
}

static void kernel_gate(enum activation activation, float *to, ptrdiff_t ld_to,
                        const float *from, ptrdiff_t ld_from, const float *up,
                        ptrdiff_t ld_up, int rows, int n) {
    const struct operands o = {
        .from = {from, ld_from}, .up = {up, ld_up}, .to = {to, ld_to}};
    activation_pass(activation, true, false, &o, rows, n);
}

static void kernel_gate_gradient(enum activation activation, float *grad_from,
                                 ptrdiff_t ld_grad_from, float *grad_up,
                                 ptrdiff_t ld_grad_up, const float *g, ptrdiff_t ld_g,
                                 const float *from, ptrdiff_t ld_from, const float *up,
                                 ptrdiff_t ld_up, int rows, int n) {
    const struct operands o = {{from, ld_from},
                               {up, ld_up},
                               {g, ld_g},
                               {grad_from, ld_grad_from},
                               {grad_up, ld_grad_up}};
    activation_pass(activation, true, true, &o, rows, n);
}

#endif
