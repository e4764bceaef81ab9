/*
 * exp, in a form that compilers turn into vectors, which the C library's is not.
 */
#ifndef GPT_EXPONENTIAL_H
#define GPT_EXPONENTIAL_H

#include <stdint.h>
#include <string.h>

/*
 * exp(x) = 2^n 2^f with n whole and f from -1/2 to 1/2; 2^f by its Taylor polynomial,
 * whose error is (ln 2 / 2)^7 / 7! = 1.2e-7, that of a float. x below -87 counts as
 * -87, above 88 as 88: these are the ends of what a float can hold.
 */
static inline float exponential(float x) {
    const float shift =
        12582912.0f; /* 1.5 2^23: what is added to it loses its fraction */
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    float power = x * 1.44269504f; /* 1 / ln 2 */
    float whole = power + shift;
    float f = power - (whole - shift);
    float sum = 1.54035304e-4f; /* (ln 2)^6 / 6!, and so on down to 1 */
    sum = sum * f + 1.33335581e-3f;
    sum = sum * f + 9.61812911e-3f;
    sum = sum * f + 5.55041087e-2f;
    sum = sum * f + 2.40226507e-1f;
    sum = sum * f + 6.93147181e-1f;
    sum = sum * f + 1.0f;
    /* The last bits of whole are n; as an exponent they make 2^n. */
    uint32_t bits;
    memcpy(&bits, &whole, sizeof bits);
    bits = (bits + 127u) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
}

#endif
