/*
 * Allocation that asks for huge pages or ends the program; and how much memory it
 * takes to be out of reach of the caches.
 */
#define _DEFAULT_SOURCE /* madvise */

#include "bench/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/fail.h"

enum { CACHE_LINE = 64, HUGE_PAGE = 2 << 20 };

int64_t product(int64_t a, int64_t b, int64_t c, int64_t d) {
    int64_t ab, cd, all;
    if (__builtin_mul_overflow(a, b, &ab) || __builtin_mul_overflow(c, d, &cd) ||
        __builtin_mul_overflow(ab, cd, &all)) {
        fail(FAILED, "%lld x %lld x %lld x %lld elements are too many", (long long)a,
             (long long)b, (long long)c, (long long)d);
    }
    return all;
}

static size_t byte_count(int64_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) ||
        bytes > PTRDIFF_MAX - HUGE_PAGE) {
        fail(FAILED, "%lld elements of %zu bytes are too many", (long long)count, size);
    }
    return bytes;
}

void *memory_get(int64_t count, size_t size) {
    size_t bytes = byte_count(count, size);
    size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : CACHE_LINE;

    /* Whole multiples of the alignment, as aligned_alloc() asks, and never none. */
    size_t whole = (bytes + alignment - 1) / alignment * alignment;
    void *memory = aligned_alloc(alignment, whole > 0 ? whole : alignment);
    if (memory == NULL) {
        fail(FAILED, "out of memory: %zu bytes", bytes);
    }
#ifdef MADV_HUGEPAGE
    /* A refusal costs speed and nothing else. */
    if (alignment == HUGE_PAGE) {
        (void)madvise(memory, whole, MADV_HUGEPAGE);
    }
#endif
    return memory;
}

void *memory_grow(void *memory, int64_t count, size_t size) {
    size_t bytes = byte_count(count, size);
    void *grown = realloc(memory, bytes > 0 ? bytes : 1);
    if (grown == NULL) {
        fail(FAILED, "out of memory: %zu bytes", bytes);
    }
    return grown;
}

char *memory_text(const char *text) {
    size_t bytes = strlen(text) + 1;
    return memcpy(memory_grow(NULL, (int64_t)bytes, 1), text, bytes);
}

int64_t memory_beyond_caches(void) {
    /* Four times the last cache: caches keep part of a stream that is only a
     * little larger than they are. At least 128 MiB, for systems that do not say
     * how large the cache is, and at most 1 GiB. */
    int64_t bytes = (int64_t)128 << 20;
#ifdef _SC_LEVEL3_CACHE_SIZE
    int64_t cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (4 * cache > bytes) {
        bytes = 4 * cache;
    }
#endif
    return bytes < (int64_t)1 << 30 ? bytes : (int64_t)1 << 30;
}
