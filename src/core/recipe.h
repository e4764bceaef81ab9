/*
 * The recipe: everything that decides the bits of a sequence's result. It depends on
 * the problem, the sequence's own lengths, the kernels and the BLAS build and policy;
 * never on threads, batch, padding or the outputs asked for.
 */
#ifndef ATTN_CORE_RECIPE_H
#define ATTN_CORE_RECIPE_H

#include "base/arith.h"
#include "core/product.h"

enum { SPLIT_TILES_MAX = 16 };

struct recipe {
    int tile_q;       /* rows of a tile; rows are cut at multiples of it */
    int tile_k;       /* keys of a tile; keys are cut at multiples of it */
    struct cut cut;   /* of products */
    int columns;      /* of the blocks that keys and values are packed in for cut.own;
                         0: rows */
    bool pieces;      /* long sequences have products of pieces (core/pieces_tile.h) */
    bool turn_keys;   /* keys of tensors are transposed for their product; otherwise
                         BLAS takes them as rows */
    int64_t few_rows; /* sequences of up to so many queries have no products of
                         matrices, but kernels for a few rows; 0: none */
    int dense_keys;   /* others with up to so many keys have one softmax over all */
    int split_tiles;  /* of those, the keys are cut into splits of at least so many
                         tiles,  whose sums come together at the end; at most
                         SPLIT_TILES_MAX */
};

/* Columns of a matrix of so many that is packed in blocks. */
static inline int64_t panel_columns(const struct recipe *recipe, int64_t columns) {
    return recipe->columns > 0 ? round_up(columns, recipe->columns) : columns;
}

#endif
