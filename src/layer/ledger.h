/*
 * The ledger of a layer's memory: regions one after the other at cache lines. The same
 * function books them to learn the size and, with memory, to learn where they are.
 */
#ifndef ATTN_LAYER_LEDGER_H
#define ATTN_LAYER_LEDGER_H

#include "base/arith.h"
#include "base/mem.h"

struct ledger {
    char *memory;    /* NULL: only the size is wanted */
    int64_t bytes;   /* so far */
    bool overflowed; /* the size does not fit */
};

static inline void *ledger_bytes(struct ledger *ledger, int64_t bytes) {
    const int64_t at = ledger->bytes;
    int64_t end;
    if (bytes < 0 || !checked_add(at, bytes, &end) ||
        end > PTRDIFF_MAX - MEM_ALIGNMENT) {
        ledger->overflowed = true;
        return NULL;
    }
    ledger->bytes = round_up(end, MEM_ALIGNMENT);
    return ledger->memory != NULL ? ledger->memory + at : NULL;
}

/* count x count2 x count3 floats. */
static inline float *ledger_floats(struct ledger *ledger, int64_t count, int64_t count2,
                                   int64_t count3) {
    int64_t bytes;
    if (!checked_mul(count, count2, &bytes) || !checked_mul(bytes, count3, &bytes) ||
        !checked_mul(bytes, (int64_t)sizeof(float), &bytes)) {
        ledger->overflowed = true;
        return NULL;
    }
    return ledger_bytes(ledger, bytes);
}

#endif
