/*
 * Scratch memory of a thread: regions that are booked by name when a plan is made and
 * fetched by the same name when it runs.
 */
#ifndef ATTN_CORE_WORKSPACE_H
#define ATTN_CORE_WORKSPACE_H

#include "base/compiler.h"

enum region {
    REGION_PANEL_KEYS,    /* key tiles, transposed */
    REGION_PANEL_VALUES,  /* value tiles, made contiguous */
    REGION_PANEL_SLOTS,   /* what the panel holds */
    REGION_QUERY,         /* a query tile, made contiguous */
    REGION_SCORES,        /* a tile of scores, or whole rows */
    REGION_SUM_OF_VALUES, /* weighted sums of the rows of a block */
    REGION_MAXIMUM,       /* of each row of a block */
    REGION_SUM,           /* of the weights of each row of a block */
    REGION_FACTOR,        /* per row of a tile: rescale, later 1 / sum */
    REGION_FINITE_VALUES, /* a value tile with what is not finite zeroed */
    REGION_COVER,         /* how much the masks leave of each tile of keys */
    REGIONS
};

struct layout {
    size_t offset[REGIONS];
    size_t bytes[REGIONS];
    size_t total; /* of one thread */
};

/*
 * Books count x count2 elements of this size; a region booked twice gets the larger.
 * False if the size overflows.
 */
bool attn_layout_book(struct layout *layout, enum region region, int64_t count,
                      int64_t count2, size_t element);

/* Places the booked regions one after the other. False if the total overflows. */
bool attn_layout_place(struct layout *layout);

/* The region in the memory of one thread. */
static inline void *layout_at(const struct layout *layout, void *memory,
                              enum region region) {
    return (char *)memory + layout->offset[region];
}

#endif
