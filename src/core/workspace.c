/*
 * The ledger of scratch memory. Regions start at cache lines, and successive regions at
 * different lines of a page, so that tiles read together do not fall on the same sets
 * of the first-level cache.
 */
#include "core/workspace.h"

#include "base/arith.h"

enum { LINE = 64, SKEW = 3 * LINE };

bool attn_layout_book(struct layout *layout, enum region region, int64_t count,
                      int64_t count2, size_t element) {
    int64_t bytes;
    if (!checked_mul(count, count2, &bytes) ||
        !checked_mul(bytes, (int64_t)element, &bytes) || bytes > PTRDIFF_MAX / 2) {
        return false;
    }
    if ((size_t)bytes > layout->bytes[region]) {
        layout->bytes[region] = (size_t)bytes;
    }
    return true;
}

bool attn_layout_place(struct layout *layout) {
    int64_t at = 0;
    for (int i = 0; i < REGIONS; i++) {
        layout->offset[i] = (size_t)at;
        if (!checked_add(at, (int64_t)layout->bytes[i] + LINE + SKEW, &at) ||
            at > PTRDIFF_MAX / 2) {
            return false;
        }
        at -= at % LINE;
    }
    layout->total = (size_t)at;
    return true;
}
