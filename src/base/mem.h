/*
 * Memory. Everything that a context's allocator serves comes through here.
 */
#ifndef ATTN_BASE_MEM_H
#define ATTN_BASE_MEM_H

#include "attn/common.h"
#include "base/compiler.h"

/* A cache line, and the widest vector: what every block is aligned to. */
enum { MEM_ALIGNMENT = 64 };

struct allocator {
    attn_allocate *allocate; /* NULL: malloc and free */
    attn_release *release;
    void *user;
};

/* At least one byte at a multiple of MEM_ALIGNMENT, or NULL. */
void *attn_mem_allocate(const struct allocator *allocator, size_t bytes);

/* The same for what is large and stays: on huge pages, if the system has some. */
void *attn_mem_allocate_large(const struct allocator *allocator, size_t bytes);

/* Releases what either gave. NULL is allowed. */
void attn_mem_release(const struct allocator *allocator, void *memory);

#endif
