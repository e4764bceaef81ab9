/*
 * A BLAS that may be called by one thread at a time: OpenBLAS built without threads or
 * locks. This program is that library itself, so that it sees who calls: the functions
 * below take the place of those that libattn is linked with. TEST_BLAS_CORE names the
 * kernels it says it has; those for small matrices may be called by several threads.
 * Without them attention has kernels of its own, but for an ISA with short vectors.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "tests/support/backward.h"
#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/run.h"

enum { THREADS = 4, CALLERS = 3, ROUNDS = 3 };
enum { SMALL_VOLUME = 1000000, TRANSPOSE = 112 };

/* Seen from the library that is linked into this program, too. */
#define SEEN __attribute__((visibility("default")))

SEEN const char *openblas_get_config(void);
SEEN const char *openblas_get_corename(void);
SEEN int openblas_get_parallel(void);
SEEN void cblas_sgemm(int layout, int transpose_a, int transpose_b, int m, int n, int k,
                      float alpha, const float *a, int lda, const float *b, int ldb,
                      float beta, float *c, int ldc);

const char *openblas_get_config(void) {
    return "OpenBLAS 0.3.21 NO_LAPACK DYNAMIC_ARCH test SINGLE_THREADED";
}

const char *openblas_get_corename(void) {
    const char *core = getenv("TEST_BLAS_CORE");
    return core != NULL ? core : "Haswell";
}

int openblas_get_parallel(void) {
    return 0;
}

static bool small_kernels; /* by what libattn says of this library */
static bool own;           /* attention has kernels of its own for products */
static atomic_int inside, inside_small, together, small_together, calls, callers;
static atomic_int largest;
static _Thread_local bool known;

static void note_most(atomic_int *most, int number) {
    int seen = atomic_load(most);
    while (number > seen && !atomic_compare_exchange_weak(most, &seen, number)) {
    }
}

static void multiply(bool turned_a, bool turned_b, int m, int n, int k, float alpha,
                     const float *a, int lda, const float *b, int ldb, float beta,
                     float *c, int ldc) {
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++) {
                sum += (double)a[turned_a ? l * lda + i : i * lda + l] *
                       b[turned_b ? j * ldb + l : l * ldb + j];
            }
            const float old = beta == 0.0f ? 0.0f : beta * c[i * ldc + j];
            c[i * ldc + j] = old + (float)(alpha * sum);
        }
    }
}

void cblas_sgemm(int layout, int transpose_a, int transpose_b, int m, int n, int k,
                 float alpha, const float *a, int lda, const float *b, int ldb,
                 float beta, float *c, int ldc) {
    const int64_t volume = (int64_t)m * n * k;
    const bool small = small_kernels && m > 1 && n > 1 && volume <= SMALL_VOLUME;
    atomic_int *const in = small ? &inside_small : &inside;
    (void)layout;
    note_most(small ? &small_together : &together, atomic_fetch_add(in, 1) + 1);
    note_most(&largest, volume < INT32_MAX ? (int)volume : INT32_MAX);
    atomic_fetch_add(&calls, 1);
    if (!known) {
        known = true;
        atomic_fetch_add(&callers, 1);
    }
    sched_yield(); /* let others come, if they would */
    multiply(transpose_a == TRANSPOSE, transpose_b == TRANSPOSE, m, n, k, alpha, a, lda,
             b, ldb, beta, c, ldc);
    atomic_fetch_sub(in, 1);
}

static void forget(void) {
    atomic_store(&together, 0);
    atomic_store(&small_together, 0);
    atomic_store(&calls, 0);
    atomic_store(&callers, 0);
    atomic_store(&largest, 0);
    known = false;
}

/* Calls of threads of the application at once, each on a context of several. */
static const char *const texts[CALLERS] = {
    "h4/2 q200 k300 d64 causal bias threads=4 seed=1",
    "b2 h2 q130 k270 d128 threads=4 seed=2",
    "h2 q300 k300 d40 dropout=0.1 alibi threads=4 seed=3",
};

/* Nothing of CMocka here: its failures belong to the main thread. */
static void *call_again_and_again(void *argument) {
    struct test_backward *call = argument;
    attn_status status = ATTN_OK;
    for (int i = 0; i < ROUNDS && status == ATTN_OK; i++) {
        outputs_reset(&call->forward.outputs);
        outputs_reset(&call->gradients);
        status = attn_plan_forward(call->forward.plan, &call->forward.args);
        if (status == ATTN_OK) {
            status = attn_plan_backward(call->forward.plan, &call->args);
        }
    }
    return status == ATTN_OK ? NULL : call;
}

static void large_calls_come_one_by_one(void **state) {
    (void)state;
    static struct test_backward call[CALLERS];
    pthread_t thread[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        backward_open(&call[i], texts[i], ALL_INCOMING, ALL_GRADIENTS);
    }
    forget();
    for (int i = 0; i < CALLERS; i++) {
        assert_int_equal(
            pthread_create(&thread[i], NULL, call_again_and_again, &call[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        void *failed;
        assert_int_equal(pthread_join(thread[i], &failed), 0);
        assert_null(failed);
    }
    assert_true((atomic_load(&calls) > 0) == !own);
    assert_true(atomic_load(&together) <= 1);
    if (small_kernels && !own) {
        assert_true(atomic_load(&small_together) > 1);
        assert_true(atomic_load(&largest) <= SMALL_VOLUME);
    }
    for (int i = 0; i < CALLERS; i++) {
        assert_int_equal(backward_check(&call[i]), 0);
        backward_close(&call[i]);
    }
}

/* Attention that is little else than products does not queue for them on threads. */
static void products_alone_take_one_thread(void **state) {
    (void)state;
    struct test_call plain, biased;
    call_open(&plain, "h8 q300 k300 d64 threads=4", 1 << OUT);
    call_open(&biased, "h8 q300 k300 d64 bias threads=4", 1 << OUT);
    forget();
    call_run(&plain);
    if (small_kernels && !own) {
        assert_true(atomic_load(&callers) > 1);
    } else {
        assert_int_equal(atomic_load(&callers), own ? 0 : 1);
    }
    forget();
    call_run(&biased);
    assert_true(atomic_load(&callers) > 1 || own);
    assert_true(atomic_load(&together) <= 1);
    call_close(&biased);
    call_close(&plain);
}

/* Threads of the application, of which there is one. */
static void count_tasks(void *user, int32_t count, attn_task *task, void *argument) {
    int32_t *most = user;
    *most = count > *most ? count : *most;
    for (int32_t i = 0; i < count; i++) {
        task(argument, i);
    }
}

/* Nobody waits for products of our own. */
static void products_of_our_own_take_all_threads(void **state) {
    (void)state;
    const struct test_problem problem = run_parse("h8 q300 k300 d64");
    attn_context *context = NULL;
    struct test_call call;
    int32_t most = 1;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_int_equal(attn_context_set_threads(context, THREADS), ATTN_OK);
    assert_int_equal(attn_context_set_parallel_for(context, count_tasks, &most),
                     ATTN_OK);
    call_open_on(&call, context, &problem, DATA_RANDOM, 1 << OUT);
    call_run(&call);
    assert_int_equal(most, own || small_kernels ? THREADS : 1);
    call_close(&call);
    attn_context_destroy(context);
}

static void explained(void **state) {
    (void)state;
    attn_context *context = NULL;
    char text[1024];
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_true(attn_context_explain(context, text, sizeof text) > 0);
    attn_context_destroy(context);
    assert_non_null(strstr(text, "OpenBLAS 0.3.21 ("));
    assert_non_null(strstr(text, ", serial)"));
    assert_non_null(strstr(text, small_kernels ? ", one large call at a time"
                                               : ", one call at a time"));
}

/* Looks what a plan says. */
static int look(void **state) {
    struct test_call call;
    char text[4096];
    (void)state;
    call_open(&call, "h2 q300 k300 d64", 1 << OUT);
    (void)attn_plan_explain(call.plan, text, sizeof text);
    own = small_kernels
              ? strstr(text, "isa: a") != NULL && strstr(text, "isa: avx2") == NULL &&
                    !attn_cpu_halves_512()
              : strstr(text, "isa: a") != NULL;
    const bool says = strstr(text, "products: by kernels of our own") != NULL;
    call_close(&call);
    return says == own ? 0 : 1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(explained),
        cmocka_unit_test(large_calls_come_one_by_one),
        cmocka_unit_test(products_alone_take_one_thread),
        cmocka_unit_test(products_of_our_own_take_all_threads),
    };
#if defined(__x86_64__)
    small_kernels = strcmp(openblas_get_corename(), "SkylakeX") == 0;
#endif
    return cmocka_run_group_tests(tests, look, NULL);
}
