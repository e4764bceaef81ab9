/*
 * The gateway to BLAS.
 *
 * Facts this rests on (OpenBLAS sources, interface/gemm.c and common_thread.h):
 *   - sgemm runs in the calling thread, without the lock that serialises threaded
 *     calls, if m n k <= 64^3 = 262144; on some arm64 models below 125000. Larger
 *     products of several threads queue behind that lock, and in releases 0.3.28 to
 *     0.3.30 they can return wrong numbers.
 *   - On x86-64 with AVX-512, releases from 0.3.21 on compute products of m n k <= 10^6
 *     in the calling thread by kernels that neither pack nor lock; with a transposed,
 *     too, but with b transposed only if m n <= 1200 and k >= 32.
 *   - A build without threads guards its buffers only if made with USE_LOCKING (named
 *     in the configuration text since 0.3.28). Debian's is made without. The
 *     small-matrix kernels use none; products with a vector may.
 * The thread setting of BLAS is never asked for: it may change at any time, and the
 * bits of a result must not change with it.
 *
 * BLIS (one thread by default, safe for concurrent calls) and the reference BLAS have
 * no such limits. A library that is none of these is called by one thread at a time.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* dladdr, RTLD_DEFAULT */
#endif

#include "exec/blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Declared here, with int for its enums as in every C ABI, since the header's name and
 * place differ between distributions.
 */
enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };
void cblas_sgemm(int layout, int transpose_a, int transpose_b, int m, int n, int k,
                 float alpha, const float *a, int lda, const float *b, int ldb,
                 float beta, float *c, int ldc);

static struct blas found;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t one_caller = PTHREAD_MUTEX_INITIALIZER;

/* The file of the library that cblas_sgemm comes from; "" if unknown. */
static const char *library_file(void) {
    union {
        void (*function)(int, int, int, int, int, int, float, const float *, int,
                         const float *, int, float, float *, int);
        void *address;
    } sgemm = {cblas_sgemm};
    Dl_info info;
    return dladdr(sgemm.address, &info) != 0 && info.dli_fname != NULL ? info.dli_fname
                                                                       : "";
}

/* A symbol of that library or of one it needs. */
static void *symbol(const char *name) {
    void *library = dlopen(library_file(), RTLD_LAZY | RTLD_NOLOAD);
    if (library != NULL) {
        void *address = dlsym(library, name);
        dlclose(library); /* the count of RTLD_NOLOAD; the library stays */
        if (address != NULL) {
            return address;
        }
    }
    /* In a program linked statically or not as PIE the address was the program's. */
    return dlsym(RTLD_DEFAULT, name);
}

/*
 * True if the library is BLIS under the generic name: distributions build that one with
 * BLIS's own functions hidden, and only where it is installed tells.
 */
static bool installed_as_blis(void) {
    char *path = realpath(library_file(), NULL);
    bool blis = path != NULL && strstr(path, "blis") != NULL;
    free(path);
    return blis;
}

/* Calls `const char *name(void)` of the BLAS library; "" if there is none. */
static const char *text_of(const char *name) {
    union {
        void *address;
        const char *(*function)(void);
    } query = {symbol(name)};
    const char *text = query.address != NULL ? query.function() : NULL;
    return text != NULL ? text : "";
}

/* Products m n k up to this are computed by the small-matrix kernels, where there are
 * any: in the calling thread, without packing. */
enum { SMALL_VOLUME = 1000000 };

#if defined(__x86_64__)
/* True for the kernels of OpenBLAS that have the small-matrix ones beside them. */
static bool has_small_kernels(const char *core, long release) {
    return release >= 321 &&
           (strcmp(core, "SkylakeX") == 0 || strcmp(core, "Cooperlake") == 0 ||
            strcmp(core, "SapphireRapids") == 0);
}
#endif

/* What the configuration text of OpenBLAS starts with, before its release. */
#define OPENBLAS "OpenBLAS "

/* "0.3.21 ..." as 321. */
static long release_number(const char *text) {
    long release = 0;
    for (int part = 0; part < 3; part++) {
        char *end;
        release = release * 100 + strtol(text, &end, 10);
        text = *end == '.' ? end + 1 : end;
    }
    return release;
}

static void describe_openblas(const char *config) {
    union {
        void *address;
        int (*function)(void);
    } parallel = {symbol("openblas_get_parallel")};
    static const char *const flavours[] = {"serial", "pthread", "OpenMP"};
    int flavour = parallel.address != NULL ? parallel.function() : 1;
    const char *core = text_of("openblas_get_corename");
    const long release = release_number(config + strlen(OPENBLAS));

#if defined(__x86_64__)
    found.small_kernels = has_small_kernels(core, release);
    found.volume_rows = 262144;
#elif defined(__aarch64__)
    found.volume_rows = 120000;
#else
    found.volume_rows = 262144;
#endif
    if (flavour == 0) {
        found.volume_rows = INT64_MAX; /* it has no threads to lock out */
    }
    found.volume = found.small_kernels ? SMALL_VOLUME : found.volume_rows;
    found.one_at_a_time = flavour == 0 && strstr(config, "USE_LOCKING") == NULL;
    found.reproducible = true;
    snprintf(found.name, sizeof found.name, OPENBLAS "%ld.%ld.%ld (%s, %s)",
             release / 10000, release / 100 % 100, release % 100, core,
             flavours[flavour >= 0 && flavour <= 2 ? flavour : 1]);
}

/* A child of fork must not inherit the lock from a thread that it does not have. */
static void lock_one_caller(void) {
    pthread_mutex_lock(&one_caller);
}

static void unlock_one_caller(void) {
    pthread_mutex_unlock(&one_caller);
}

static void look_at_provider(void) {
    /* The text lives in one static buffer of OpenBLAS: copied before the next query. */
    char config[256];
    snprintf(config, sizeof config, "%s", text_of("openblas_get_config"));
    if (strncmp(config, OPENBLAS, strlen(OPENBLAS)) == 0) {
        describe_openblas(config);
        return;
    }
    found.volume = found.volume_rows = INT64_MAX;
    found.reproducible = true;
    const char *blis = text_of("bli_info_get_version_str");
    if (blis[0] != '\0' || installed_as_blis()) {
        snprintf(found.name, sizeof found.name, "BLIS%s%s", blis[0] != '\0' ? " " : "",
                 blis);
    } else if (symbol("RowMajorStrg") != NULL) { /* a variable of the reference CBLAS */
        snprintf(found.name, sizeof found.name, "reference BLAS");
    } else {
        snprintf(found.name, sizeof found.name, "unknown");
        found.one_at_a_time = true;
        found.reproducible = false;
    }
}

static void look(void) {
    look_at_provider();
    pthread_atfork(lock_one_caller, unlock_one_caller, unlock_one_caller);
}

const struct blas *attn_blas(void) {
    pthread_once(&once, look);
    return &found;
}

bool attn_blas_set_single(void) {
    union {
        void *address;
        void (*function)(int);
    } set_threads = {symbol("openblas_set_num_threads")};
    if (set_threads.address == NULL) {
        return false;
    }
    set_threads.function(1);
    return true;
}

static int transposition(bool transpose) {
    return transpose ? TRANSPOSE : NO_TRANSPOSE;
}

void attn_blas_large(int m, int n, int k, const float *a, int lda, bool transpose_a,
                     const float *b, int ldb, bool transpose_b, bool accumulate,
                     float *c, int ldc) {
    attn_blas(); /* installs the fork handler */
    lock_one_caller();
    cblas_sgemm(ROW_MAJOR, transposition(transpose_a), transposition(transpose_b), m, n,
                k, 1.0f, a, lda, b, ldb, accumulate ? 1.0f : 0.0f, c, ldc);
    unlock_one_caller();
}

/* True if no other thread may call BLAS during this product. */
static bool is_alone(const struct blas *blas, int m, int n, int k, bool transpose_b) {
    const bool small = blas->small_kernels && !transpose_b && m > 1 && n > 1 &&
                       (int64_t)m * n * k <= SMALL_VOLUME;
    return blas->one_at_a_time && !small;
}

void attn_blas_product(int m, int n, int k, float alpha, const float *a, int lda,
                       bool transpose_a, const float *b, int ldb, bool transpose_b,
                       bool accumulate, float *c, int ldc) {
    const bool alone = is_alone(attn_blas(), m, n, k, transpose_b);
    if (alone) {
        lock_one_caller();
    }
    cblas_sgemm(ROW_MAJOR, transposition(transpose_a), transposition(transpose_b), m, n,
                k, alpha, a, lda, b, ldb, accumulate ? 1.0f : 0.0f, c, ldc);
    if (alone) {
        unlock_one_caller();
    }
}
