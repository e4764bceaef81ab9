/*
 * The one place that asks the system for memory, but for the handles that exist
 * before there is an allocator (contexts, descriptors).
 */
#ifdef __linux__
#define _DEFAULT_SOURCE /* madvise */
#include <sys/mman.h>
#endif

#include "base/mem.h"

#include <stdlib.h>

/* Of x86 and, with pages of 4 KiB, of arm64. */
enum { HUGE_PAGE = 1 << 21 };

void *attn_mem_allocate(const struct allocator *allocator, size_t bytes) {
    if (bytes == 0) {
        bytes = 1;
    }
    if (allocator->allocate != NULL) {
        return allocator->allocate(allocator->user, bytes, MEM_ALIGNMENT);
    }
    void *memory = NULL;
    return posix_memalign(&memory, MEM_ALIGNMENT, bytes) == 0 ? memory : NULL;
}

void *attn_mem_allocate_large(const struct allocator *allocator, size_t bytes) {
    void *memory = NULL;
    if (allocator->allocate != NULL || bytes < HUGE_PAGE) {
        return attn_mem_allocate(allocator, bytes);
    }
    if (posix_memalign(&memory, HUGE_PAGE, bytes) != 0) {
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    /* a wish; memory is as good without */
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

void attn_mem_release(const struct allocator *allocator, void *memory) {
    if (memory == NULL) {
        return;
    }
    if (allocator->release != NULL) {
        allocator->release(allocator->user, memory);
    } else {
        free(memory);
    }
}
