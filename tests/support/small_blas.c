/*
 * A BLAS that says it has kernels for small matrices, whatever the processor: a program
 * that is linked with this file is that BLAS itself, so that libattn goes the ways that
 * it goes there. Products are made by the BLAS that stands behind, one at a time: it
 * may not be safe for more.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>

#include "tests/support/test.h"

/* Seen from libattn. */
#define SEEN __attribute__((visibility("default")))

typedef void sgemm(int layout, int transpose_a, int transpose_b, int m, int n, int k,
                   float alpha, const float *a, int lda, const float *b, int ldb,
                   float beta, float *c, int ldc);

SEEN const char *openblas_get_config(void);
SEEN const char *openblas_get_corename(void);
SEEN int openblas_get_parallel(void);
SEEN sgemm cblas_sgemm;

const char *openblas_get_config(void) {
    return "OpenBLAS 0.3.21 DYNAMIC_ARCH test";
}

const char *openblas_get_corename(void) {
    return "SkylakeX";
}

int openblas_get_parallel(void) {
    return 1;
}

static union {
    void *address;
    sgemm *call;
} behind;

static void find(void) {
    behind.address = dlsym(RTLD_NEXT, "cblas_sgemm");
}

void cblas_sgemm(int layout, int transpose_a, int transpose_b, int m, int n, int k,
                 float alpha, const float *a, int lda, const float *b, int ldb,
                 float beta, float *c, int ldc) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static pthread_mutex_t one_caller = PTHREAD_MUTEX_INITIALIZER;
    pthread_once(&once, find);
    pthread_mutex_lock(&one_caller);
    behind.call(layout, transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta,
                c, ldc);
    pthread_mutex_unlock(&one_caller);
}
