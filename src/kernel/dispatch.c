/*
 * Which kernel sets this build has and which the processor runs. This file is
 * compiled for the baseline processor; the build gives HAVE_AVX2 and so on.
 */
#include "kernel/kernel.h"

#include "base/cpu.h"

const struct kernels *attn_kernels(int32_t isa) {
    switch (isa) {
    case ATTN_ISA_SCALAR:
        return &attn_kernels_scalar;
#ifdef HAVE_AVX2
    case ATTN_ISA_AVX2:
        return &attn_kernels_avx2;
#endif
#ifdef HAVE_AVX512
    case ATTN_ISA_AVX512:
        return &attn_kernels_avx512;
#endif
#ifdef HAVE_AMX
    case ATTN_ISA_AMX:
        return &attn_kernels_amx;
#endif
#ifdef HAVE_NEON
    case ATTN_ISA_NEON:
        return &attn_kernels_neon;
#endif
    case ATTN_ISA_PIECES:
        return &attn_kernels_pieces;
    default:
        return NULL;
    }
}

int32_t attn_kernels_best(void) {
    if (attn_cpu_wants_pieces()) {
        return ATTN_ISA_PIECES;
    }
    for (int32_t isa = ATTN_ISA_AMX; isa > ATTN_ISA_SCALAR; isa--) {
        if (attn_kernels(isa) != NULL && attn_cpu_allows(isa)) {
            return isa;
        }
    }
    return ATTN_ISA_SCALAR;
}
