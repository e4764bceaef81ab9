/*
 * The gateway to BLAS: the only files that call it or know its makers.
 */
#ifndef ATTN_EXEC_BLAS_H
#define ATTN_EXEC_BLAS_H

#include "attn/common.h"
#include "base/compiler.h"

/* What was found out about the BLAS library that this process runs with. */
struct blas {
    char name[96];  /* for people: "OpenBLAS 0.3.21 (Cooperlake, pthread)" */
    int64_t volume; /* largest m n k that any thread may ask for at any time and that
                       is then computed in that thread; INT64_MAX: no limit */
    int64_t volume_rows; /* the same where b is transposed */
    bool small_kernels;  /* products up to 64 x 64 x 64 are as fast as larger ones */
    bool one_at_a_time;  /* it must not be called by two threads at once, unless each
                            product is one for its small-matrix kernels */
    bool reproducible;   /* the same call gives the same bits */
};

/* Never NULL. The first call looks; it is safe from any thread. */
const struct blas *attn_blas(void);

/* Sets BLAS to one thread for the whole process; false if it offers no such setting. */
bool attn_blas_set_single(void);

/*
 * c = alpha a b, or c += alpha a b with accumulate, row-major; with transpose_a
 * (transpose_b), a (b) is stored as its transpose. m, n, k are 1 or more and m n k is
 * within the volume the caller may use; with a transposed b within volume_rows or,
 * where there are small-matrix kernels, with m n <= 1200 and k >= 32.
 */
void attn_blas_product(int m, int n, int k, float alpha, const float *a, int lda,
                       bool transpose_a, const float *b, int ldb, bool transpose_b,
                       bool accumulate, float *c, int ldc);

/*
 * c = a b, or c += a b with accumulate, row-major, for any m, n, k of 1 or more: one
 * call of BLAS, with its own settings, under a lock that all such calls of the process
 * take. With transpose_a (transpose_b), a (b) is stored as its transpose.
 */
void attn_blas_large(int m, int n, int k, const float *a, int lda, bool transpose_a,
                     const float *b, int ldb, bool transpose_b, bool accumulate,
                     float *c, int ldc);

#endif
