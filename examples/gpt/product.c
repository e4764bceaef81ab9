/*
 * A product is cut into pieces of whole rows, and each piece is one call of
 * cblas_sgemm, on one thread. If BLAS did the cutting, the bits of the result would
 * depend on the number of its threads.
 */
#include "product.h"

#include <pthread.h>
#include <stddef.h>

/*
 * Declared here, with int for its enums as in every C ABI, since the header's name and
 * place differ between distributions.
 */
enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };
void cblas_sgemm(int layout, int transpose_a, int transpose_b, int m, int n, int k,
                 float alpha, const float *a, int lda, const float *b, int ldb,
                 float beta, float *c, int ldc);

/* These exist if the BLAS in use is OpenBLAS, and are NULL if not. Other BLAS libraries
 * have one thread by default. */
__attribute__((weak)) void openblas_set_num_threads(int threads);
__attribute__((weak)) int openblas_get_parallel(void);

static pthread_mutex_t one_caller = PTHREAD_MUTEX_INITIALIZER;

/* OpenBLAS as distributions build it without threads has no locks either. */
static int is_serial(void) {
    return openblas_get_parallel != NULL && openblas_get_parallel() == 0;
}

/* Each thread says so for itself: OpenBLAS made with OpenMP has a number for each. */
void product_begin_thread(void) {
    if (openblas_set_num_threads != NULL) {
        openblas_set_num_threads(1);
    }
}

struct job {
    enum form form;
    float beta;
    float *result;
    const float *left, *right;
    int rows, columns, inner;
    int piece; /* rows of the result in a piece */
};

static void multiply(void *argument, int32_t index) {
    const struct job *job = argument;
    int first = index * job->piece;
    int rows = job->rows - first < job->piece ? job->rows - first : job->piece;
    /* rows of left, or columns of it where it is transposed */
    const float *left = job->left + (size_t)first * (job->form == TN ? 1 : job->inner);
    int serial = is_serial();
    if (serial) {
        pthread_mutex_lock(&one_caller);
    }
    cblas_sgemm(ROW_MAJOR, job->form == TN ? TRANSPOSE : NO_TRANSPOSE,
                job->form == NT ? TRANSPOSE : NO_TRANSPOSE, rows, job->columns,
                job->inner, 1, left, job->form == TN ? job->rows : job->inner,
                job->right, job->form == NT ? job->inner : job->columns, job->beta,
                job->result + (size_t)first * job->columns, job->columns);
    if (serial) {
        pthread_mutex_unlock(&one_caller);
    }
}

void product(struct workers *workers, enum form form, enum keep keep, float *result,
             const float *left, const float *right, int rows, int columns, int inner) {
    /* Each piece packs all of right anew, so a short piece wastes work; but there must
     * be enough of them for all threads. */
    enum { USUAL = 128, UNIT = 16 };
    int piece = rows >= 2 * USUAL ? USUAL : (rows / 2 + UNIT - 1) / UNIT * UNIT;
    piece = piece < UNIT ? UNIT : piece;
    struct job job = {
        form, keep == ADD ? 1.0f : 0.0f, result, left, right, rows, columns, inner,
        piece};
    workers_run(workers, (rows + piece - 1) / piece, multiply, &job);
}
