/*
 * Engines: loops over tiles. An engine computes one block of rows and leaves the
 * row statistics where the observer finds them.
 */
#ifndef ATTN_ENGINE_ENGINE_H
#define ATTN_ENGINE_ENGINE_H

#include "core/softmax.h"
#include "core/work.h"

/* Rows [row, end) of query heads [head, head_end) that share keys and values. */
struct block {
    int64_t b;
    int64_t head, head_end;
    int64_t row, row_end;
};

struct engine {
    const char *name;
    /* Books the scratch it needs for at most this many keys. */
    bool (*book)(struct layout *layout, const struct toolbox *tools, int64_t keys);
    /*
     * Computes a block of at most tools->block_rows rows over all heads, within the
     * rows that count; returns early if the call was stopped.
     */
    void (*run)(struct work *work, const struct call *call, const struct block *block);
};

extern const struct engine attn_engine_dense;
extern const struct engine attn_engine_flash;
extern const struct engine attn_engine_decode;
extern const struct engine attn_engine_small;

/* The most keys for which the small engine can stand in for the dense one; 0: none. */
int64_t attn_small_keys(const struct toolbox *tools);

/*
 * True if the small engine can stand in for the dense one in a sequence with so many
 * rows and keys, which changes no bit of the result.
 */
bool attn_small_fits(const struct toolbox *tools, const struct call *call, int64_t rows,
                     int64_t keys);

/* Books what all engines need. */
bool attn_engine_book(struct layout *layout, const struct toolbox *tools);

/*
 * A walk over the tiles of rows of a block, heads first and rows within. Start with
 * {0}; each step leaves the tile's head bound, also to the panel.
 */
struct cursor {
    struct head head;
    int64_t row;
    int rows;       /* 0 before the first step */
    int64_t before; /* rows of the block before these, over all heads */
};

/* The next tile of rows; false if there is none. */
bool attn_cursor_next(struct cursor *cursor, struct work *work, const struct call *call,
                      const struct block *block);

/* The softmax of so many rows of a block, behind `before` others over all heads. */
struct softmax attn_block_softmax(const struct work *work, int64_t before, int rows);

/* Scores of a tile that is masked whole. */
void attn_mask_tile(const struct tile *tile, float *scores, int64_t ld);

/* The softmax of the rows where the cursor stands. */
struct softmax attn_cursor_softmax(const struct cursor *cursor,
                                   const struct work *work);

/*
 * The second pass over a block that an engine has finished: weights, their means and
 * sums, and scores, as far as the call asks for them. It changes no other output.
 */
void attn_observe(struct work *work, const struct call *call,
                  const struct block *block);

/* True if the call asks for anything that attn_observe() writes. */
bool attn_observe_wanted(const struct call *call);

/* The same for rows [row, end) that have nothing to attend to. */
void attn_observe_empty_rows(const struct head *head, const struct kernels *kernels,
                             int64_t row, int64_t end);

#endif
