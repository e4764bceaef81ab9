/*
 * Memory for a benchmark: it never returns NULL (the program ends with a message
 * instead), and what is large asks for huge pages, because with small ones a core
 * spends a sixth of the read bandwidth on page walks.
 */
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* a * b * c * d, none negative; ends the program where that exceeds int64_t. */
int64_t product(int64_t a, int64_t b, int64_t c, int64_t d);

/* count elements of size bytes, unset, at a multiple of 64; release with free(). */
void *memory_get(int64_t count, size_t size);

/* realloc() of count elements of size bytes, for lists that grow. */
void *memory_grow(void *memory, int64_t count, size_t size);

/* A copy of text; release with free(). */
char *memory_text(const char *text);

/* Bytes that no cache of this machine holds, so that reading them over and over
 * measures memory. */
int64_t memory_beyond_caches(void);

#endif
