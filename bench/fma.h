/*
 * The loop that measures the peak of a core: multiply-adds and nothing else.
 */
#ifndef BENCH_FMA_H
#define BENCH_FMA_H

#include <stdint.h>

struct fma_loop {
    const char *isa;
    int lanes;    /* of a vector */
    double flops; /* of a step: a multiply-add counts as two */
    float (*run)(int64_t steps, float x, float y);
};

/* The widest that this processor runs, whatever ISA the library uses: that is what
 * BLAS chooses by, and it is the machine's limit. */
const struct fma_loop *fma_loop_best(void);

/* The loop of an instruction set, "avx2"; NULL if there is none or it does not run. */
const struct fma_loop *fma_loop_of(const char *isa);

#endif
