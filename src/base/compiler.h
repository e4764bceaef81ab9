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

/* NEVER_INLINE - a function that stays one */
#define NEVER_INLINE __attribute__((noinline))

/* COUNT_OF(array) - entries of a true array */
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/*
 * KEEP_LOOP - before a loop that should stay one. Where it reads memory in order, a
 * load that steps on by a row each time is what processors fetch ahead of; its copies
 * in an unrolled loop are not.
 */
#if defined(__clang__)
#define KEEP_LOOP _Pragma("clang loop unroll(disable)")
#else
#define KEEP_LOOP _Pragma("GCC unroll 1")
#endif

/* UNROLL_LOOP - before a short loop, whose end the processor would not foresee. */
#if defined(__clang__)
#define UNROLL_LOOP _Pragma("clang loop unroll_count(16)")
#else
#define UNROLL_LOOP _Pragma("GCC unroll 16")
#endif

/* UNROLL_SOME - before a long loop of so few instructions that its end takes a part */
#if defined(__clang__)
#define UNROLL_SOME _Pragma("clang loop unroll_count(4)")
#else
#define UNROLL_SOME _Pragma("GCC unroll 4")
#endif

/* READ_LATER(p) - what is read through p below is not read above, where it would take a
 * register away from a loop */
#define READ_LATER(p) __asm__("" : "+r"(p) : : "memory")

/* MAKE_LATER(p) - addresses beside p are not made above, where they would take
 * registers away */
#define MAKE_LATER(p) __asm__("" : "+r"(p))

#endif
