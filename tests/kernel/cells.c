/*
 * Matrices of small elements with canaries in guarded memory.
 */
#include "tests/kernel/cells.h"

#include <string.h>

#include "tests/kernel/sets.h"
#include "tests/support/test.h"

enum { MARGIN = 68, CANARY = 0xa5 }; /* MARGIN: bytes, a multiple of any size */

void cells_open(struct cells *cells, struct shape shape, int size) {
    cells->size = size;
    cells->rows = shape.rows;
    cells->n = shape.n;
    cells->ld = shape.n + shape.gap;
    size_t extent = 0;
    if (shape.rows > 0) {
        extent = (size_t)(shape.rows - 1) * (size_t)cells->ld + (size_t)shape.n;
    }
    cells->bytes = extent * (size_t)size + MARGIN;
    if (shape.place == PLACE_BEFORE) {
        cells->memory = guard_before(&cells->guard, cells->bytes);
        cells->at = cells->memory + MARGIN;
    } else {
        cells->memory = guard_after(&cells->guard, cells->bytes);
        cells->at = cells->memory + (shape.place == PLACE_ODD ? size : 0);
    }
    memset(cells->memory, CANARY, cells->bytes);
}

/* Whether a byte of the memory belongs to an element. */
static bool is_element(const struct cells *cells, size_t i) {
    const ptrdiff_t offset = cells->memory + i - cells->at;
    const ptrdiff_t row = cells->ld * cells->size;
    return offset >= 0 && cells->n > 0 && offset / row < cells->rows &&
           offset % row < (ptrdiff_t)cells->n * cells->size;
}

void cells_close(struct cells *cells) {
    for (size_t i = 0; i < cells->bytes; i++) {
        if (cells->memory[i] != CANARY && !is_element(cells, i)) {
            fail_msg("%s wrote %td bytes after the start of %d x %d of %d, stride %td",
                     sets_name(), cells->memory + i - cells->at, cells->rows, cells->n,
                     cells->size, cells->ld);
        }
    }
    guard_free(&cells->guard);
}

static uint8_t *place(const struct cells *cells, int r, int c) {
    return cells->at + (r * cells->ld + c) * cells->size;
}

uint32_t cells_get(const struct cells *cells, int r, int c) {
    uint16_t half;
    uint32_t word;
    switch (cells->size) {
    case 1:
        return *place(cells, r, c);
    case 2:
        memcpy(&half, place(cells, r, c), sizeof half);
        return half;
    default:
        memcpy(&word, place(cells, r, c), sizeof word);
        return word;
    }
}

void cells_set(struct cells *cells, int r, int c, uint32_t bits) {
    const uint8_t byte = (uint8_t)bits;
    const uint16_t half = (uint16_t)bits;
    const void *from = cells->size == 1   ? (const void *)&byte
                       : cells->size == 2 ? (const void *)&half
                                          : (const void *)&bits;
    memcpy(place(cells, r, c), from, (size_t)cells->size);
}
