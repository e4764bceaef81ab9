/*
 * Scratch memory of a thread: regions that are booked by name when a plan is made and
 * fetched by the same name when it runs.
 */
#ifndef ATTN_CORE_WORKSPACE_H
#define ATTN_CORE_WORKSPACE_H

#include "base/compiler.h"

enum region {
    REGION_PANEL_KEYS,         /* key tiles, transposed */
    REGION_PANEL_VALUES,       /* value tiles, made contiguous */
    REGION_PANEL_VALUE_BLOCKS, /* value tiles in blocks of columns */
    REGION_PANEL_KEY_PIECES,   /* key tiles in pieces */
    REGION_PANEL_VALUE_PIECES, /* value tiles in pieces */
    REGION_PANEL_STRIP,        /* keys of a strip of pieces, transposed */
    REGION_PANEL_ROWS,         /* a tile of rows that are not floats or lie in pages */
    REGION_PANEL_SLOTS,        /* what the panel holds */
    REGION_QUERY,              /* a query tile, made contiguous */
    REGION_QUERY_PIECES,       /* the same in pieces */
    REGION_PLAIN_SCORES,       /* a tile of scores without pieces */
    REGION_WEIGHT_PIECES,      /* weights of a strip, in pieces */
    REGION_PIECE_SUMS,         /* what those make */
    REGION_SCORES,             /* a tile of scores, or whole rows */
    REGION_SUM_OF_VALUES,      /* weighted sums of the rows of a block */
    REGION_MAXIMUM,            /* of each row of a block */
    REGION_SUM,                /* of the weights of each row of a block */
    REGION_FACTOR,             /* per row of a tile: rescale, later 1 / sum */
    REGION_FINITE,             /* rows of a factor with what is not finite zeroed */
    REGION_ATTENDED,           /* which pairs of a tile the masks leave */
    REGION_COVER,              /* how much the masks leave of each tile of keys */
    REGION_SMALL,              /* queries and scores of the small engine */
    /* of the decode engine */
    REGION_STACK,       /* the heads of a stack */
    REGION_TILE_VALUES, /* weighted sums of a tile's values */
    REGION_PART,        /* states of the rows for parts of the keys */
    REGION_FACTORS,     /* of a step of the softmax, for each of several */
    REGION_KEEP,        /* a tile of dropout: bytes, 0 where a weight is dropped */
    /* of relative positions and segments; a band is the distances of a tile */
    REGION_BAND,           /* a number for each distance of a band */
    REGION_SHIFTED_QUERY,  /* a query tile plus a bias */
    REGION_BAND_KEYS,      /* relative keys of a band, made contiguous */
    REGION_BAND_TURNED,    /* the same, transposed */
    REGION_BAND_SCORES,    /* a row of a band for each query */
    REGION_BAND_GRADIENTS, /* gradients of relative keys */
    REGION_DIFFER,         /* a key tile: whether the segment is another */
    REGION_SEGMENT_SCORES, /* two numbers for each query */
    /* of additive scores */
    REGION_ADDITIVE_QUERY,  /* powers of a query tile */
    REGION_ADDITIVE_KEYS,   /* powers of a key tile */
    REGION_ADDITIVE_VECTOR, /* the vector of a head */
    REGION_ADDITIVE_APART,  /* bytes: which queries and keys of a tile have none */
    /* of the backward pass */
    REGION_PANEL_TURNED_VALUES, /* value tiles, transposed */
    REGION_PANEL_PLAIN_KEYS,    /* key tiles, made contiguous */
    REGION_PANEL_KEY_BLOCKS,    /* the same in blocks of columns */
    REGION_GRAD_OUT,            /* rows of grad_out, made contiguous */
    REGION_RAW,                 /* a tile of scores before the softcap */
    REGION_GRAD_SCORES,         /* a tile of gradients of weights, then of scores */
    REGION_DELTA,               /* of each row of a block: M - grad_lse */
    REGION_GRAD_QUERY,          /* gradient of the queries of a block */
    REGION_GRAD_KEY,            /* gradient of a tile of keys */
    REGION_GRAD_VALUE,          /* gradient of a tile of values */
    REGION_COLUMN_SUMS,         /* of a tile */
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
