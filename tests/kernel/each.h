/*
 * Loops over kernel sets and sizes.
 */
#ifndef TEST_KERNEL_EACH_H
#define TEST_KERNEL_EACH_H

#include "base/cpu.h"
#include "kernel/kernel.h"

/* Columns: around the widths of all vectors and of their unrolled loops. */
static const int each_columns[] = {0,  1,  2,  3,  4,  5,  7,   8,  9,  12,
                                   15, 16, 17, 20, 23, 31, 32,  33, 40, 47,
                                   48, 63, 64, 65, 79, 96, 127, 130};
static const int each_rows[] = {0, 1, 2, 5};

/* The next kernel set after isa that runs here, or NULL; start with *isa = 0. */
static inline const struct kernels *each_kernels(int32_t *isa) {
    while (++*isa <= ATTN_ISA_NEON) {
        const struct kernels *kernels = attn_kernels(*isa);
        if (kernels != NULL && attn_cpu_allows(*isa)) {
            return kernels;
        }
    }
    return NULL;
}

#endif
