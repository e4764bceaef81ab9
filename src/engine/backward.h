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
 * gradients that the call asks for. Gradients of key tiles from *written on start from
 * 0; it moves on with what is written. Those of the queries of the block are complete,
 * and written, only if all tiles are there; sums over rows are only added to.
 */
void attn_backward_run(struct work *work, const struct call *call,
                       const struct block *block, int64_t tile, int64_t tile_end,
                       int64_t *written);

/* Sets the gradients of the key tiles [tile, tile_end) of the block's keys to 0. */
void attn_backward_clear_tiles(struct work *work, const struct call *call,
                               const struct block *block, int64_t tile,
                               int64_t tile_end);

/* A tile of rows: where it is, and its state. */
struct rows_state {
    const struct head *head;
    int64_t row;
    int count;
    float *maximum, *factor, *delta;
    float *grad_query;
};

/* Fills in the state from the forward call's; delta without what weights add to it. */
void attn_backward_start_rows(const struct work *work, const struct rows_state *rows);

/* Adds exp(sink - lse) times -delta to the gradient of the head's sink. */
void attn_backward_add_sink(const struct rows_state *rows);

void attn_backward_write_query(const struct rows_state *rows);

/* A tile of keys of a key-value head, whose gradients are at hand once it is open. */
struct key_tile {
    int64_t b, g, key;
    int keys;
    bool fresh; /* its gradients start from 0 */
    bool open;
    float *grad_key, *grad_value;
};

/* Brings the gradients of a tile to hand, if they are not. */
void attn_backward_open(struct key_tile *tile, const struct call *call);

/* Adds sum_j P (grad_weights + grad_key_sums) of a tile to the rows' delta. */
void attn_backward_add_delta(struct work *work, const struct rows_state *rows,
                             const struct tile *tile);

/* Adds a tile to all gradients that the call asks for. */
void attn_backward_tile(struct work *work, const struct rows_state *rows,
                        const struct tile *tile, struct key_tile *keys);

#endif
