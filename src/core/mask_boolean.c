/*
 * The boolean mask: a byte for each query and key, nonzero = attend. A tile of it is
 * read once to learn whether it excludes all, some or nothing; a mask that repeats over
 * the queries (padding) is read for one row only.
 */
#include "core/mask.h"

#include <math.h>
#include <string.h>

static const uint8_t *bytes_at(const struct head *head, int64_t i, int64_t j) {
    const struct rows *mask = &head->mask;
    return (const uint8_t *)mask->data + i * mask->row + j * mask->column;
}

/* SCAN_... of n bytes, eight at a time. */
static int scan(const uint8_t *bytes, int n) {
    const uint64_t ones = 0x0101010101010101u, tops = ones << 7;
    int found = 0, i = 0;
    for (; i + 8 <= n && found != (SCAN_ATTENDED | SCAN_MASKED); i += 8) {
        uint64_t word;
        memcpy(&word, bytes + i, sizeof word);
        /* a byte of 0 borrows into its top bit, and only then is the term nonzero */
        found |= ((word - ones) & ~word & tops) != 0 ? SCAN_MASKED : 0;
        found |= word != 0 ? SCAN_ATTENDED : 0;
    }
    for (; i < n; i++) {
        found |= bytes[i] != 0 ? SCAN_ATTENDED : SCAN_MASKED;
    }
    return found;
}

static bool present(const struct problem *problem) {
    return problem->mask;
}

static enum cover cover(const struct head *head, const struct tile *tile,
                        const struct kernels *kernels) {
    (void)kernels;
    const int rows = head->mask.row == 0 ? 1 : tile->rows;
    const int keys = head->mask.column == 0 ? 1 : tile->keys;
    int found = 0;
    for (int i = 0; i < rows && found != (SCAN_ATTENDED | SCAN_MASKED); i++) {
        found |= scan(bytes_at(head, tile->row + i, tile->key), keys);
    }
    return found == SCAN_ATTENDED ? COVER_ALL
           : found == SCAN_MASKED ? COVER_NONE
                                  : COVER_SOME;
}

static void apply(const struct head *head, const struct tile *tile,
                  const struct kernels *kernels, float *scores, int64_t ld) {
    const uint8_t *bytes = bytes_at(head, tile->row, tile->key);
    if (head->mask.column != 0) {
        kernels->mask_bytes(scores, ld, tile->rows, tile->keys, bytes, head->mask.row);
        return;
    }
    for (int i = 0; i < tile->rows; i++) {
        for (int j = 0; bytes[i * head->mask.row] == 0 && j < tile->keys; j++) {
            scores[i * ld + j] = -INFINITY;
        }
    }
}

const struct mask attn_mask_boolean = {
    .name = "mask",
    .present = present,
    .cover = cover,
    .apply = apply,
};
