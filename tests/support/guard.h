/*
 * Memory beside pages that cannot be touched, so that reading or writing one byte too
 * far ends the program at the spot.
 */
#ifndef TEST_GUARD_H
#define TEST_GUARD_H

#include <stddef.h>

struct guard {
    char *pages;
    size_t bytes; /* of all pages */
};

/* Bytes of memory that end where an unmapped page starts. Fails the test if there is no
 * memory. Zeroed. */
void *guard_before(struct guard *guard, size_t bytes);

/* Bytes of memory that start right after an unmapped page. */
void *guard_after(struct guard *guard, size_t bytes);

void guard_free(struct guard *guard);

#endif
