/*
 * The linker calls __wrap_f for f and __real_f for what f was.
 */
#include "tests/support/wrap.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

static atomic_long allocations, fail_allocation, live, threads, fail_threads_from;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
int __real_posix_memalign(void **memory, size_t alignment, size_t bytes);
void __real_free(void *memory);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes);
void __wrap_free(void *memory);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);

void wrap_fail_allocation(long n) {
    atomic_store(&allocations, 0);
    atomic_store(&live, 0);
    atomic_store(&fail_allocation, n);
}

long wrap_allocations(void) {
    return atomic_load(&allocations);
}

long wrap_live(void) {
    return atomic_load(&live);
}

void wrap_fail_threads_from(long n) {
    atomic_store(&threads, 0);
    atomic_store(&fail_threads_from, n);
}

long wrap_threads(void) {
    return atomic_load(&threads);
}

static int refused(void) {
    return atomic_fetch_add(&allocations, 1) + 1 == atomic_load(&fail_allocation);
}

static void *counted(void *memory) {
    if (memory != NULL) {
        atomic_fetch_add(&live, 1);
    }
    return memory;
}

void *__wrap_malloc(size_t bytes) {
    return refused() ? NULL : counted(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes) {
    return refused() ? NULL : counted(__real_calloc(count, bytes));
}

void *__wrap_realloc(void *memory, size_t bytes) {
    if (refused()) {
        return NULL;
    }
    void *result = __real_realloc(memory, bytes);
    return memory == NULL ? counted(result) : result;
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
    return refused() ? NULL : counted(__real_aligned_alloc(alignment, bytes));
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes) {
    if (refused()) {
        return ENOMEM;
    }
    int status = __real_posix_memalign(memory, alignment, bytes);
    if (status == 0) {
        counted(*memory);
    }
    return status;
}

void __wrap_free(void *memory) {
    if (memory != NULL) {
        atomic_fetch_sub(&live, 1);
    }
    __real_free(memory);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument) {
    long call = atomic_fetch_add(&threads, 1) + 1;
    long from = atomic_load(&fail_threads_from);
    return from > 0 && call >= from
               ? EAGAIN
               : __real_pthread_create(thread, attributes, start, argument);
}
