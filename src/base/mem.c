/*
 * The one place that asks the system for memory, but for the handles that exist
 * before there is an allocator (contexts, descriptors).
 */
#include "base/mem.h"

#include <stdlib.h>

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
