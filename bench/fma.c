/*
 * Multiply-add loops for each instruction set, and the choice between them.
 */
#include "bench/fma.h"

#include <string.h>

#define FLOPS(accumulators, lanes) (2.0 * (accumulators) * (lanes))

#if defined(__x86_64__)
#include <immintrin.h>

#define NAME         run_avx512
#define TARGET       __attribute__((target("avx512f")))
#define VECTOR       __m512
#define ACCUMULATORS 16
#define FMA(a, x, y) _mm512_fmadd_ps(a, x, y)
#include "bench/fma_loop.h"

#define NAME         run_avx2
#define TARGET       __attribute__((target("avx2,fma")))
#define VECTOR       __m256
#define ACCUMULATORS 12
#define FMA(a, x, y) _mm256_fmadd_ps(a, x, y)
#include "bench/fma_loop.h"

/* No fused instruction: a product and a sum, on the registers of plain x86-64. */
#define NAME run_generic
#define TARGET
#define VECTOR       __m128
#define ACCUMULATORS 12
#define FMA(a, x, y) ((a) * (x) + (y))
#include "bench/fma_loop.h"

static const struct fma_loop loops[] = {
    {"avx512", 16, FLOPS(16, 16), run_avx512},
    {"avx2", 8, FLOPS(12, 8), run_avx2},
    {"sse2", 4, FLOPS(12, 4), run_generic},
};

static int runs(int i) {
    return i == 0   ? __builtin_cpu_supports("avx512f")
           : i == 1 ? __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
                    : 1;
}

#elif defined(__aarch64__)
#include <arm_neon.h>

#define NAME run_neon
#define TARGET
#define VECTOR       float32x4_t
#define ACCUMULATORS 24
#define FMA(a, x, y) vfmaq_f32(y, a, x)
#include "bench/fma_loop.h"

static const struct fma_loop loops[] = {{"neon", 4, FLOPS(24, 4), run_neon}};

static int runs(int i) {
    (void)i;
    return 1;
}

#else

typedef float float4 __attribute__((vector_size(16)));

#define NAME run_generic
#define TARGET
#define VECTOR       float4
#define ACCUMULATORS 12
#define FMA(a, x, y) ((a) * (x) + (y))
#include "bench/fma_loop.h"

static const struct fma_loop loops[] = {{"generic", 4, FLOPS(12, 4), run_generic}};

static int runs(int i) {
    (void)i;
    return 1;
}

#endif

enum { LOOPS = sizeof loops / sizeof loops[0] };

const struct fma_loop *fma_loop_best(void) {
    int i = 0;
    while (i + 1 < LOOPS && !runs(i)) {
        i++;
    }
    return &loops[i];
}

const struct fma_loop *fma_loop_of(const char *isa) {
    for (int i = 0; i < LOOPS; i++) {
        if (strcmp(loops[i].isa, isa) == 0 && runs(i)) {
            return &loops[i];
        }
    }
    return NULL;
}
