/*
 * Walks through the kernel sets and counts the checks that began, so that a set left
 * out by mistake, here or in the library's dispatch, fails the program.
 */
#include "tests/kernel/sets.h"

#include <stdio.h>
#include <stdlib.h>
#ifdef HAVE_AVX2
#include <cpuid.h>
#endif

#include "base/cpu.h"
#include "tests/support/test.h"

/* Those after it have the kernels of one before, and pieces, for which there is
 * sets_run_pieces(). */
enum { SETS = ATTN_ISA_NEON + 1 };

static int32_t current; /* ATTN_ISA_... */
static size_t begun[SETS];

bool sets_next(void) {
    /* ATTN_ISA limits what is chosen, not what is right. */
    unsetenv("ATTN_ISA");
    do {
        current++;
    } while (current < SETS && attn_kernels(current) == NULL);
    return current < SETS;
}

const char *sets_name(void) {
    return attn_cpu_isa_name(current);
}

const struct kernels *sets_begin(void) {
    const struct kernels *kernels = attn_kernels(current);
    if (!attn_cpu_allows(current)) {
        print_message("this processor does not run %s\n", sets_name());
        skip();
    }
    assert_int_equal(kernels->isa, current);
    assert_true(kernels->width >= 1);
    begun[current]++;
    return kernels;
}

#ifdef HAVE_AVX2
static bool has_f16c(void) {
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

/* Whether the build says that it has a set and the compiler that it runs here. */
static bool is_due(int32_t isa) {
    switch (isa) {
    case ATTN_ISA_SCALAR:
        return true;
#ifdef HAVE_AVX2
    case ATTN_ISA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               has_f16c();
#endif
#ifdef HAVE_AVX512
    case ATTN_ISA_AVX512:
        return __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
#ifdef HAVE_NEON
    case ATTN_ISA_NEON:
        return true;
#endif
    default:
        return false;
    }
}

int sets_finish(int failed, size_t checks) {
    for (int32_t isa = ATTN_ISA_SCALAR; isa < SETS; isa++) {
        const size_t due = is_due(isa) ? checks : 0;
        if (begun[isa] != due) {
            fprintf(stderr, "%s: %zu checks began, should be %zu\n",
                    attn_cpu_isa_name(isa), begun[isa], due);
            failed++;
        }
    }
    return failed > 0;
}

int sets_run_pieces(int (*run)(const struct piece_kernels *kernels, const char *name)) {
    static const int32_t sets[] = {ATTN_ISA_PIECES, ATTN_ISA_AMX};
    int failed = 0;
    unsetenv("ATTN_ISA");
    for (size_t i = 0; i < COUNT_OF(sets); i++) {
        const struct kernels *kernels = attn_kernels(sets[i]);
        const char *name = attn_cpu_isa_name(sets[i]);
        if (kernels != NULL && attn_cpu_allows(sets[i])) {
            failed += run(kernels->pieces, name);
        } else {
            printf("%s does not run here\n", name);
        }
    }
    return failed;
}
