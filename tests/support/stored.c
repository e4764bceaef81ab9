/*
 * The storage types from and to f32, slowly.
 */
#include "tests/support/stored.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "attn/common.h"

/* The fields of a floating-point number below its sign: bits of the fraction, and the
 * exponent of the smallest normal number. The exponent's field is 1 there. */
struct form {
    int fraction, least, bits;
};

static struct form form_of(int32_t dtype) {
    return dtype == ATTN_F16    ? (struct form){10, -14, 16}
           : dtype == ATTN_BF16 ? (struct form){7, -126, 16}
                                : (struct form){23, -126, 32};
}

static uint32_t sign_bit(struct form form) {
    return UINT32_C(1) << (form.bits - 1);
}

/* The bits of infinity. */
static uint32_t infinite(struct form form) {
    return sign_bit(form) - (UINT32_C(1) << form.fraction);
}

static double size_of(struct form form, uint32_t bits) {
    const uint32_t one = UINT32_C(1) << form.fraction;
    const uint32_t fraction = bits & (one - 1), exponent = bits >> form.fraction;
    return exponent == 0
               ? ldexp(fraction, form.least - form.fraction)
               : ldexp(fraction + one, (int)exponent - 1 + form.least - form.fraction);
}

/* The bits of the nearest number to x >= 0, of two that are as near the even one. */
static uint32_t nearest(struct form form, double x) {
    int exponent;
    frexp(x, &exponent);
    exponent = x == 0 || exponent - 1 < form.least ? form.least : exponent - 1;
    const double steps = nearbyint(ldexp(x, form.fraction - exponent));
    const double bits = steps + ldexp(exponent - form.least, form.fraction);
    return bits < infinite(form) ? (uint32_t)bits : infinite(form);
}

/* From one form to another; NaN keeps its sign and the upper bits of its fraction, and
 * is made quiet if `quiet`. */
static uint32_t converted(struct form from, struct form to, uint32_t bits, bool quiet) {
    const uint32_t sign = (bits & sign_bit(from)) != 0 ? sign_bit(to) : 0;
    const uint32_t size = bits & (sign_bit(from) - 1);
    if (size == infinite(from)) {
        return sign | infinite(to);
    }
    if (size < infinite(from)) {
        return sign | nearest(to, size_of(from, size));
    }
    const double fraction = size - infinite(from);
    return sign | infinite(to) | (quiet ? UINT32_C(1) << (to.fraction - 1) : 0) |
           (uint32_t)ldexp(fraction, to.fraction - from.fraction);
}

int stored_size(int32_t dtype) {
    return dtype == ATTN_I8 ? 1 : form_of(dtype).bits / 8;
}

uint32_t stored_widened(int32_t dtype, uint32_t bits) {
    if (dtype == ATTN_I8) {
        const int value = (int)(bits & 0xff);
        const float x = (float)(value < 128 ? value : value - 256);
        uint32_t wide;
        memcpy(&wide, &x, sizeof wide);
        return wide;
    }
    return converted(form_of(dtype), form_of(ATTN_F32), bits, dtype == ATTN_F16);
}

uint32_t stored_narrowed(int32_t dtype, uint32_t bits) {
    return converted(form_of(ATTN_F32), form_of(dtype), bits, dtype != ATTN_F32);
}

double stored_size_of(int32_t dtype, uint32_t bits) {
    return size_of(form_of(dtype), bits);
}

/* All elements of a 16-bit type, made when they are first asked for. */
static const float *halves_of(int32_t dtype) {
    enum { HALVES = 0x10000 };
    static float halves[2][HALVES];
    static bool made[2];
    const int which = dtype == ATTN_BF16;
    for (uint32_t bits = 0; bits < HALVES && !made[which]; bits++) {
        const uint32_t wide = stored_widened(dtype, bits);
        memcpy(&halves[which][bits], &wide, sizeof wide);
    }
    made[which] = true;
    return halves[which];
}

float stored_float(int32_t dtype, uint32_t bits) {
    float x;
    if (dtype == ATTN_F16 || dtype == ATTN_BF16) {
        return halves_of(dtype)[bits & 0xffff];
    }
    bits = stored_widened(dtype, bits);
    memcpy(&x, &bits, sizeof x);
    return x;
}

uint32_t stored_nearest(int32_t dtype, double x) {
    const struct form form = form_of(dtype);
    const uint32_t sign = signbit(x) ? sign_bit(form) : 0;
    if (isnan(x)) {
        return sign | infinite(form) | UINT32_C(1) << (form.fraction - 1);
    }
    return sign | (isinf(x) ? infinite(form) : nearest(form, fabs(x)));
}

uint32_t stored_some_float(uint64_t random_bits) {
    const uint32_t bits = (uint32_t)random_bits;
    const uint32_t chance = (uint32_t)(random_bits >> 32);
    if (chance % 3 == 0) {
        return bits;
    }
    const uint32_t exponent = 127 - 27 + (chance >> 8) % 46; /* 2^-27 to 2^18 */
    return (bits & 0x807fffff) | exponent << 23;
}
