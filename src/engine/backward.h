/*
 * The backward pass over one block of rows. It is no struct engine, since a block here
 * meets a range of key tiles and leaves gradients open for the next block.
 */
#ifndef ATTN_ENGINE_BACKWARD_H
#define ATTN_ENGINE_BACKWARD_H

#include "engine/engine.h"

/* Books the scratch of one thread. */
bool attn_backward_book(struct layout *layout, const struct toolbox *tools);

/*
 * Adds what the block and the key tiles [tile, tile_end) give each other to the
 * gradients that the call asks for. Those of the keys and values start from 0 if
 * `fresh`. Those of the queries of the block are complete, and written, only if all
 * tiles are there; sums over rows are only added to.
 */
void attn_backward_run(struct work *work, const struct call *call,
                       const struct block *block, int64_t tile, int64_t tile_end,
                       bool fresh);

/* A tile of rows: where it is, and its state. */
struct rows_state {
    const struct head *head;
    int64_t row;
    int count;
    float *maximum, *factor, *delta;
    float *grad_query;
};

/* Adds sum_j P (grad_weights + grad_key_sums) of a tile to the rows' delta. */
void attn_backward_add_delta(struct work *work, const struct rows_state *rows,
                             const struct tile *tile);

/* Adds a tile to all gradients that the call asks for. */
void attn_backward_tile(struct work *work, const struct rows_state *rows,
                        const struct tile *tile);

#endif
