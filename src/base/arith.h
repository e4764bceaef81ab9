/*
 * Integer helpers: sizes that are checked before they are trusted.
 */
#ifndef ATTN_BASE_ARITH_H
#define ATTN_BASE_ARITH_H

#include "base/compiler.h"

/* *product = a * b; false if it does not fit */
static inline bool checked_mul(int64_t a, int64_t b, int64_t *product) {
    return !__builtin_mul_overflow(a, b, product);
}

/* *sum = a + b; false if it does not fit */
static inline bool checked_add(int64_t a, int64_t b, int64_t *sum) {
    return !__builtin_add_overflow(a, b, sum);
}

static inline int64_t min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline int64_t max_i64(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* a / b rounded up, for a >= 0 and b > 0, without computing a + b */
static inline int64_t ceil_div(int64_t a, int64_t b) {
    return a / b + (a % b != 0);
}

/* The smallest multiple of unit that is at least a */
static inline int64_t round_up(int64_t a, int64_t unit) {
    return ceil_div(a, unit) * unit;
}

#endif
