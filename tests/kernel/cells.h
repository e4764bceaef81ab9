/*
 * Matrices like those of matrix.h for elements of 1, 2 or 4 bytes, which are seen as
 * bits.
 */
#ifndef TEST_KERNEL_CELLS_H
#define TEST_KERNEL_CELLS_H

#include "tests/kernel/matrix.h"

struct cells {
    struct guard guard;
    uint8_t *memory; /* with the canaries at the ends */
    size_t bytes;
    uint8_t *at;
    ptrdiff_t ld; /* in elements */
    int size, rows, n;
};

/* Every byte is a canary. */
void cells_open(struct cells *cells, struct shape shape, int size);

/* Fails the test if some canary outside the elements is gone. */
void cells_close(struct cells *cells);

uint32_t cells_get(const struct cells *cells, int r, int c);
void cells_set(struct cells *cells, int r, int c, uint32_t bits);

#endif
