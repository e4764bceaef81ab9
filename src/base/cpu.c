/*
 * Processor features. The compiler's own run-time check covers what the system
 * must save on a context switch too. ATTN_ISA is an upper limit: it is read here and
 * nowhere else, for that once.
 */
#ifdef __linux__
#define _GNU_SOURCE /* sched_getaffinity */
#include <sched.h>
#include <sys/syscall.h>
#endif

#include "base/cpu.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const names[] = {"auto", "scalar", "avx2",  "avx512",
                                    "neon", "amx",    "pieces"};

const char *attn_cpu_isa_name(int32_t isa) {
    return isa >= 0 && isa < (int32_t)COUNT_OF(names) ? names[isa] : "unknown";
}

#if defined(__x86_64__)
/* Not every compiler's check knows F16C, but the check for AVX2 covers the system. */
static bool has_f16c(void) {
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

/* What `ask` says, asked once: it takes a while. */
static bool ask_once(atomic_int *answer, bool (*ask)(void)) {
    enum { UNKNOWN, NO, YES };
    int known = atomic_load(answer);
    if (known == UNKNOWN) {
        known = ask() ? YES : NO;
        atomic_store(answer, known);
    }
    return known == YES;
}

#if defined(__x86_64__)
/*
 * Tiles of AMX: the processor's, and those that the system saves and lets this process
 * use once it has asked. It refuses where the stack that a thread has for signals does
 * not have room for them.
 */
static bool has_tiles(void) {
#ifdef __linux__
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    enum { BF16 = 1 << 22, TILES = 1 << 24 };
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 &&
           (edx & (BF16 | TILES)) == (BF16 | TILES) &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

static bool may_use_tiles(void) {
    static atomic_int answer;
    return ask_once(&answer, has_tiles);
}

static bool has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("fma");
}
#endif

static bool cpu_has(int32_t isa) {
    switch (isa) {
    case ATTN_ISA_SCALAR:
    case ATTN_ISA_PIECES:
        return true;
#if defined(__x86_64__)
    case ATTN_ISA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               has_f16c();
    case ATTN_ISA_AVX512:
        return has_avx512();
    case ATTN_ISA_AMX:
        return has_avx512() && may_use_tiles();
#elif defined(__aarch64__)
    case ATTN_ISA_NEON:
        return true;
#endif
    default:
        return false;
    }
}

/* The limit from the environment; a value that is no name limits nothing. */
static int32_t read_limit(const char *text) {
    for (int32_t isa = ATTN_ISA_SCALAR; text != NULL && isa < (int32_t)COUNT_OF(names);
         isa++) {
        if (strcmp(text, names[isa]) == 0) {
            return isa;
        }
    }
    return (int32_t)COUNT_OF(names);
}

const char *attn_cpu_isa_misspelt(void) {
    const char *text = getenv("ATTN_ISA");
    return read_limit(text) == (int32_t)COUNT_OF(names) ? text : NULL;
}

static int32_t isa_limit(void) {
    static atomic_int limit; /* 0: not read yet; two threads may read the same */
    int32_t known = atomic_load(&limit);
    if (known == 0) {
        known = read_limit(getenv("ATTN_ISA"));
        atomic_store(&limit, known);
    }
    return known;
}

bool attn_cpu_allows(int32_t isa) {
    return isa <= isa_limit() && cpu_has(isa);
}

bool attn_cpu_wants_pieces(void) {
    return isa_limit() == ATTN_ISA_PIECES;
}

static bool halves_512(void) {
#if defined(__x86_64__)
    enum { ZEN3_ZEN4 = 0x19 };
    unsigned eax, ebx, ecx, edx;
    if (__get_cpuid(0, &eax, &ebx, &ecx, &edx) == 0 || ebx != signature_AMD_ebx ||
        __get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) {
        return false;
    }
    return (eax >> 8 & 0xf) + (eax >> 20 & 0xff) == ZEN3_ZEN4;
#else
    return false;
#endif
}

bool attn_cpu_halves_512(void) {
    static atomic_int answer; /* a virtual machine takes some 25 us to give it */
    return ask_once(&answer, halves_512);
}

void attn_cpu_name(char name[CPU_NAME]) {
    size_t length = 0;
#if defined(__x86_64__)
    unsigned words[4];
    char text[3 * sizeof words + 1] = "";
    for (unsigned i = 0; i < 3; i++) {
        if (__get_cpuid(0x80000002u + i, &words[0], &words[1], &words[2], &words[3]) !=
            0) {
            memcpy(text + i * sizeof words, words, sizeof words);
        }
    }
    for (const char *at = text; *at != '\0'; at++) {
        /* some are padded with spaces */
        if (*at != ' ' || (length > 0 && name[length - 1] != ' ')) {
            name[length++] = *at;
        }
    }
    length -= length > 0 && name[length - 1] == ' ';
#endif
    name[length] = '\0';
    if (length == 0) {
        memcpy(name, "unknown", sizeof "unknown");
    }
}

/* As many threads as a context may have. */
enum { CPUS_MAX = 1024 };

int32_t attn_cpu_count(void) {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int count = CPU_COUNT(&set);
        return count < 1 ? 1 : count > CPUS_MAX ? CPUS_MAX : count;
    }
#endif
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : online > CPUS_MAX ? CPUS_MAX : (int32_t)online;
}
