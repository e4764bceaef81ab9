/*
 * Rows in blocks, number by number: what a number means does not matter here.
 */
#include "cache/lane.h"

#include <string.h>

#include "base/arith.h"

/* Where a row lies: its block, the rows of that, and the one it is. */
struct lane {
    int64_t block; /* in numbers, from the start of the head */
    int rows, lane;
};

static struct lane lane_of(const struct attn_cache *cache, const struct part *part,
                           int64_t row) {
    const int64_t first = row - row % BLOCK_LANES;
    return (struct lane){
        .block = first * part->dim,
        .rows = (int)min_i64(BLOCK_LANES, cache->page_rows - first),
        .lane = (int)(row - first),
    };
}

/* Copies n numbers of this size, which are so many numbers apart. */
static void copy(char *to, int64_t to_step, const char *from, int64_t from_step, int n,
                 int64_t size) {
    if (size == 4) {
        for (int64_t i = 0; i < n; i++) {
            memcpy(to + i * to_step * 4, from + i * from_step * 4, 4);
        }
    } else if (size == 2) {
        for (int64_t i = 0; i < n; i++) {
            memcpy(to + i * to_step * 2, from + i * from_step * 2, 2);
        }
    } else {
        for (int64_t i = 0; i < n; i++) {
            to[i * to_step] = from[i * from_step];
        }
    }
}

void attn_lane_put(const struct attn_cache *cache, const struct part *part, char *head,
                   int64_t row, const char *numbers) {
    const int64_t size = source_bytes(cache->dtype);
    const struct lane at = lane_of(cache, part, row);
    if (part->order == ORDER_KEY_BLOCKS) {
        copy(head + (at.block + at.lane) * size, at.rows, numbers, 1, part->dim, size);
        return;
    }
    for (int c = 0; c < part->dim; c += GROUP_COLUMNS) {
        memcpy(head +
                   (at.block + block_group_row(part->dim, c, at.rows, at.lane)) * size,
               numbers + c * size, (size_t)(group_columns(part->dim, c) * size));
    }
}

void attn_lane_get(const struct attn_cache *cache, const struct part *part,
                   const char *head, int64_t row, char *numbers) {
    const int64_t size = source_bytes(cache->dtype);
    const struct lane at = lane_of(cache, part, row);
    if (part->order == ORDER_KEY_BLOCKS) {
        copy(numbers, 1, head + (at.block + at.lane) * size, at.rows, part->dim, size);
        return;
    }
    for (int c = 0; c < part->dim; c += GROUP_COLUMNS) {
        memcpy(numbers + c * size,
               head +
                   (at.block + block_group_row(part->dim, c, at.rows, at.lane)) * size,
               (size_t)(group_columns(part->dim, c) * size));
    }
}
