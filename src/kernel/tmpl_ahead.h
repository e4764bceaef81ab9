/*
 * Template: what the kernels for a few rows call for while they use what came before.
 * Include after a vec_*.h and tmpl_convert.h.
 */
#ifndef ATTN_KERNEL_TMPL_AHEAD_H
#define ATTN_KERNEL_TMPL_AHEAD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

/*
 * So many keys meet all rows before the next come: few enough that those are on their
 * way meanwhile.
 */
enum { FEW_KEYS = 8 };

/* Lines of the longest keys and values that are called for: a block of them and the
 * next fit the first-level cache. */
enum { LINE_BYTES = 64, LINES_MOST = 16 };

/* Rows of queries, or of weights, up to which the processor keeps reading ahead. */
enum { UNAIDED_ROWS = 4 };

/*
 * Processors read ahead where rows follow each other, unless so much is done with each
 * that they forget it meanwhile. Where either is not so, the passes over a block of
 * rows call for the next block, each for a part of every row, since only so many lines
 * can be on their way. Decoding takes 0.45 to 0.75 of the time with it where the rows
 * of a head lie among those of others, and 0.85 for eight queries to a key (Zen 3).
 */
struct ahead {
    ptrdiff_t from; /* bytes from the start of each row to what a pass calls for */
    int lines;      /* of that */
    int left;       /* of a row, for this pass and those after it */
};

/* Of rows that are `row` bytes long and `distance` apart. */
static inline struct ahead ahead_of(int rows, int passes, ptrdiff_t row,
                                    ptrdiff_t distance) {
    const ptrdiff_t lines = (row + LINE_BYTES - 1) / LINE_BYTES;
    const bool needed = (rows > UNAIDED_ROWS || distance != row) && lines <= LINES_MOST;
    const int left = needed ? (int)lines : 0;
    return (struct ahead){FEW_KEYS * distance, (left + passes - 1) / passes, left};
}

static inline void ahead_pass(struct ahead *ahead) {
    ahead->from += (ptrdiff_t)ahead->lines * LINE_BYTES;
    ahead->left -= ahead->lines;
    ahead->lines = ahead->left < ahead->lines ? ahead->left : ahead->lines;
}

/* In one piece: a loop takes a tenth longer. */
static inline void ahead_call(const struct ahead *ahead, const char *row) {
    row += ahead->from;
    UNROLL_LOOP
    for (ptrdiff_t i = 0; i < LINES_MOST; i++) {
        if (i >= ahead->lines) {
            break;
        }
        __builtin_prefetch(row + i * LINE_BYTES);
    }
}

#endif
