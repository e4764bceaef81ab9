/*
 * The steps of a whole block of a product with AVX-512: the sums of 6 rows and 64
 * columns, and what they are made of, take 30 registers. In assembler, since compilers
 * copy between registers and make addresses meanwhile: calls take 0.96 to 1.00 of the
 * time on a processor that multiplies two vectors a cycle.
 */
#ifndef ATTN_KERNEL_STEPS_AVX512_H
#define ATTN_KERNEL_STEPS_AVX512_H

#include <immintrin.h>
#include <stddef.h>

/* For the templates */
#define STEPS_ASSEMBLED

enum { STEPS_ROWS = 6, STEPS_VECS = 4 };

/* What the assembler reads: b runs up to b_end, and a row of it takes 256 bytes; those
 * of a and its columns are so many bytes apart. */
struct steps {
    const float *a, *b, *b_end;
    ptrdiff_t row, column;
};

/* clang-format off */

/* One row of sums, s0 to s3, gains the number of a at `from` times a row of b. */
#define STEPS_ROW(from, y, s0, s1, s2, s3)             \
    "vbroadcastss " from ", %%zmm" #y "\n\t"           \
    "vfmadd231ps %%zmm24, %%zmm" #y ", %" #s0 "\n\t"   \
    "vfmadd231ps %%zmm25, %%zmm" #y ", %" #s1 "\n\t"   \
    "vfmadd231ps %%zmm26, %%zmm" #y ", %" #s2 "\n\t"   \
    "vfmadd231ps %%zmm27, %%zmm" #y ", %" #s3 "\n\t"

/* All rows, with the row of b that starts at byte b0. */
#define STEPS_ONE(b0, a0, a1, a2, a3, a4, a5)          \
    "vmovups " #b0 "+0x00(%%rdx), %%zmm24\n\t"         \
    "vmovups " #b0 "+0x40(%%rdx), %%zmm25\n\t"         \
    "vmovups " #b0 "+0x80(%%rdx), %%zmm26\n\t"         \
    "vmovups " #b0 "+0xc0(%%rdx), %%zmm27\n\t"         \
    STEPS_ROW(a0, 28, 0, 1, 2, 3)                      \
    STEPS_ROW(a1, 29, 4, 5, 6, 7)                      \
    STEPS_ROW(a2, 30, 8, 9, 10, 11)                    \
    STEPS_ROW(a3, 31, 12, 13, 14, 15)                  \
    STEPS_ROW(a4, 28, 16, 17, 18, 19)                  \
    STEPS_ROW(a5, 29, 20, 21, 22, 23)

#define STEPS_ZERO(s0, s1, s2, s3)                     \
    "vpxord %" #s0 ", %" #s0 ", %" #s0 "\n\t"          \
    "vpxord %" #s1 ", %" #s1 ", %" #s1 "\n\t"          \
    "vpxord %" #s2 ", %" #s2 ", %" #s2 "\n\t"          \
    "vpxord %" #s3 ", %" #s3 ", %" #s3 "\n\t"

#define STEPS_OUT(r) \
    "=&v"(sum[r][0]), "=&v"(sum[r][1]), "=&v"(sum[r][2]), "=&v"(sum[r][3])

/* Over 2 rows of b, or a multiple. Two steps a turn: with four, or one, calls take up to
 * 1.02 of the time. The loop starts at a line of the cache: elsewhere products alone took
 * up to 1.08. */
#define STEPS(name, prepare, first, second, advance)                      \
    static inline void name(__m512 sum[STEPS_ROWS][STEPS_VECS],           \
                            const struct steps *steps) {                  \
        __asm__(                                                          \
            STEPS_ZERO(0, 1, 2, 3)                                        \
            STEPS_ZERO(4, 5, 6, 7)                                        \
            STEPS_ZERO(8, 9, 10, 11)                                      \
            STEPS_ZERO(12, 13, 14, 15)                                    \
            STEPS_ZERO(16, 17, 18, 19)                                    \
            STEPS_ZERO(20, 21, 22, 23)                                    \
            "mov 0(%24), %%rax\n\t"                                       \
            "mov 8(%24), %%rdx\n\t"                                       \
            "mov 16(%24), %%rsi\n\t"                                      \
            "mov 24(%24), %%rcx\n\t"                                      \
            "mov 32(%24), %%rdi\n\t"                                      \
            prepare                                                       \
            ".p2align 6\n"                                                \
            "1:\n\t"                                                      \
            first                                                         \
            second                                                        \
            advance                                                       \
            "add $512, %%rdx\n\t"                                         \
            "cmp %%rsi, %%rdx\n\t"                                        \
            "jne 1b\n\t"                                                  \
            : STEPS_OUT(0), STEPS_OUT(1), STEPS_OUT(2),                   \
              STEPS_OUT(3), STEPS_OUT(4), STEPS_OUT(5)                    \
            : "r"(steps)                                                  \
            : "rax", "rdx", "rsi", "rcx", "rdi", "cc", "memory",          \
              "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29",       \
              "xmm30", "xmm31");                                          \
    }

/* clang-format on */

/* rax is the first row, rdi the fourth; rcx is between rows. */
STEPS(steps_beside, "lea (%%rcx, %%rcx, 2), %%rdi\n\tadd %%rax, %%rdi\n\t",
      STEPS_ONE(0, "(%%rax)", "(%%rax, %%rcx)", "(%%rax, %%rcx, 2)", "(%%rdi)",
                "(%%rdi, %%rcx)", "(%%rdi, %%rcx, 2)"),
      STEPS_ONE(256, "4(%%rax)", "4(%%rax, %%rcx)", "4(%%rax, %%rcx, 2)", "4(%%rdi)",
                "4(%%rdi, %%rcx)", "4(%%rdi, %%rcx, 2)"),
      "add $8, %%rax\n\tadd $8, %%rdi\n\t")

/* The same for rows of a next to each other: rdi is between its columns. */
STEPS(steps_apart, "",
      STEPS_ONE(0, "(%%rax)", "4(%%rax)", "8(%%rax)", "12(%%rax)", "16(%%rax)",
                "20(%%rax)"),
      STEPS_ONE(256, "(%%rax, %%rdi)", "4(%%rax, %%rdi)", "8(%%rax, %%rdi)",
                "12(%%rax, %%rdi)", "16(%%rax, %%rdi)", "20(%%rax, %%rdi)"),
      "lea (%%rax, %%rdi, 2), %%rax\n\t")

#undef STEPS
#undef STEPS_OUT
#undef STEPS_ZERO
#undef STEPS_ONE
#undef STEPS_ROW

#endif
