/*
 * What the compiler offers, under one name each.
 */
#ifndef ATTN_BASE_COMPILER_H
#define ATTN_BASE_COMPILER_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if !defined(__GNUC__) && !defined(__clang__)
#error "libattn needs gcc or clang"
#endif

/* PRINTF_LIKE(f, a) - argument f is a printf format for the arguments from a on */
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

/* ALIGNED(n) - a variable that starts at a multiple of n bytes */
#define ALIGNED(n) __attribute__((aligned(n)))

/* COUNT_OF(array) - entries of a true array */
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
