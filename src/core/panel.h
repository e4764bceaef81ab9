/*
 * The panel: tiles of one key-value head's keys and values, made ready for products and
 * kept while rows of several tiles and heads use them. Slot t mod slots holds tile t.
 */
#ifndef ATTN_CORE_PANEL_H
#define ATTN_CORE_PANEL_H

#include "core/call.h"
#include "core/product.h"

struct panel_slot {
    int64_t tile; /* -1: empty */
    bool keys, values, plain_keys, turned_values, key_blocks, value_blocks, scanned;
    bool key_pieces, value_pieces;
    bool odd_keys, odd_values; /* then: some are none that pieces may be made of */
    bool finite; /* once scanned: no value of the tile is infinite or NaN */
};

struct panel {
    const struct kernels *kernels;
    int slots, tile_k;
    int columns; /* as in the recipe */
    float *keys, *values, *value_blocks;
    float *plain_keys, *turned_values, *key_blocks; /* of the backward pass */
    float *rows;                                    /* a tile on its way */
    uint16_t *key_pieces, *value_pieces;
    float *strip; /* keys of a strip, transposed */
    struct panel_slot *slot;
    /* the head that the slots belong to */
    struct source key, value;
    int64_t length;
};

/* Drops what the slots hold unless it belongs to the head's keys and values. */
void attn_panel_bind(struct panel *panel, const struct head *head);

/* The transposed keys of tile t: key_dim rows of tile_k floats. */
struct factor attn_panel_keys(struct panel *panel, const struct head *head, int64_t t);

/* The values of tile t: value_dim floats apart. */
const float *attn_panel_values(struct panel *panel, const struct head *head, int64_t t);

/* The keys of tile t: key_dim floats apart. */
const float *attn_panel_plain_keys(struct panel *panel, const struct head *head,
                                   int64_t t);

/* The transposed values of tile t: value_dim rows of tile_k floats. */
struct factor attn_panel_turned_values(struct panel *panel, const struct head *head,
                                       int64_t t);

/* The values, and the keys, of tile t as products take them best: a row each. */
struct factor attn_panel_value_rows(struct panel *panel, const struct head *head,
                                    int64_t t);
struct factor attn_panel_key_rows(struct panel *panel, const struct head *head,
                                  int64_t t);

/*
 * A factor in pieces. It is odd if no pieces can be made of some keys, which then stand
 * for nothing, or values, which are 0.
 */
struct pieces {
    struct strips strips;
    bool odd;
};

/* The transposed keys, and the values, of tile t in pieces. */
struct pieces attn_panel_key_pieces(struct panel *panel, const struct head *head,
                                    int64_t t);
struct pieces attn_panel_value_pieces(struct panel *panel, const struct head *head,
                                      int64_t t);

/* True if all values of tile t are finite. */
bool attn_panel_finite(struct panel *panel, const struct head *head, int64_t t);

#endif
