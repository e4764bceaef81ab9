/*
 * Packing of key and value tiles, each on first use.
 */
#include "core/panel.h"

#include <string.h>

#include "base/arith.h"
#include "base/mem.h"

/* True if two sources of one call are the same rows. */
static bool same(const struct source *a, const struct source *b) {
    return a->data == b->data && a->scales == b->scales && a->pages == b->pages &&
           a->first == b->first;
}

void attn_panel_bind(struct panel *panel, const struct head *head) {
    if (same(&panel->key, &head->key) && same(&panel->value, &head->value) &&
        panel->length == head->keys) {
        return;
    }
    panel->key = head->key;
    panel->value = head->value;
    panel->length = head->keys;
    for (int i = 0; i < panel->slots; i++) {
        panel->slot[i].tile = -1;
    }
}

/* The slot of tile t, emptied if it held another. */
static struct panel_slot *slot_of(struct panel *panel, int64_t t) {
    struct panel_slot *slot = &panel->slot[t % panel->slots];
    if (slot->tile != t) {
        *slot = (struct panel_slot){.tile = t};
    }
    return slot;
}

static int keys_of_tile(const struct panel *panel, const struct head *head, int64_t t) {
    return (int)min_i64(panel->tile_k, head->keys - t * panel->tile_k);
}

/* The rows of a tile where they lie or, if that is not possible, copied to be read
 * once. */
static const float *rows_once(struct panel *panel, const struct source *source,
                              int64_t row, int rows, int dim, int64_t *stride) {
    const float *data = attn_source_floats(source, row, rows);
    *stride = source->stride;
    if (data == NULL) {
        attn_source_read(source, panel->kernels, row, rows, dim, panel->rows, dim);
        data = panel->rows;
        *stride = dim;
    }
    return data;
}

/* The matrix of a tile transposed, if not yet done. */
static struct factor turn(struct panel *panel, const struct head *head, int64_t t,
                          const struct source *source, int dim, bool *done,
                          float *memory) {
    float *packed = memory + (t % panel->slots) * dim * panel->tile_k;
    const int columns = panel->columns > 0 ? panel->columns : panel->tile_k;
    const struct factor turned = {packed, columns, columns, (int64_t)dim * columns};
    if (*done) {
        return turned;
    }
    const int keys = keys_of_tile(panel, head, t);
    const int64_t key = t * panel->tile_k;
    *done = true;
    int64_t stride = 0;
    const float *rows = source->order == ORDER_KEY_BLOCKS
                            ? NULL
                            : rows_once(panel, source, key, keys, dim, &stride);
    for (int j = 0; j < keys; j += columns, packed += turned.step) {
        const int count = (int)min_i64(columns, keys - j);
        if (rows == NULL) {
            attn_source_read_turned(source, panel->kernels, key + j, count, dim, packed,
                                    columns);
        } else {
            panel->kernels->transpose(packed, columns, rows + j * stride, stride, count,
                                      dim);
        }
    }
    return turned;
}

/* True if rows are the one block that they would be copied to, aligned as that would
 * be: vectors that straddle lines of the cache would cost more than copying. */
static bool are_block(const float *rows, const struct source *source, int dim,
                      int columns) {
    return rows != NULL && dim == columns && source->stride == dim &&
           (uintptr_t)rows % MEM_ALIGNMENT == 0;
}

/* The same as it is, in blocks of columns. */
static struct factor block(struct panel *panel, const struct head *head, int64_t t,
                           const struct source *source, int dim, bool *done,
                           float *memory) {
    const int columns = panel->columns;
    const int64_t step = (int64_t)panel->tile_k * columns;
    float *packed = memory + (t % panel->slots) * ceil_div(dim, columns) * step;
    const struct factor blocks = {packed, columns, columns, step};
    if (*done) {
        return blocks;
    }
    const int keys = keys_of_tile(panel, head, t);
    const float *floats = attn_source_floats(source, t * panel->tile_k, keys);
    if (are_block(floats, source, dim, columns)) {
        return (struct factor){floats, columns, columns, step};
    }
    *done = true;
    int64_t stride;
    const float *rows = rows_once(panel, source, t * panel->tile_k, keys, dim, &stride);
    panel->kernels->to_blocks(packed, step, rows, stride, keys, dim);
    return blocks;
}

/* The same as it is, copied only where rows are not contiguous floats. */
static const float *straighten(struct panel *panel, const struct head *head, int64_t t,
                               const struct source *source, int dim, bool *done,
                               float *memory) {
    const int keys = keys_of_tile(panel, head, t);
    const float *rows = attn_source_floats(source, t * panel->tile_k, keys);
    if (rows != NULL && source->stride == dim) {
        return rows;
    }
    float *packed = memory + (t % panel->slots) * dim * panel->tile_k;
    if (!*done) {
        attn_source_read(source, panel->kernels, t * panel->tile_k, keys, dim, packed,
                         dim);
        *done = true;
    }
    return packed;
}

struct factor attn_panel_keys(struct panel *panel, const struct head *head, int64_t t) {
    return turn(panel, head, t, &head->key, head->problem->key_dim,
                &slot_of(panel, t)->keys, panel->keys);
}

const float *attn_panel_values(struct panel *panel, const struct head *head,
                               int64_t t) {
    return straighten(panel, head, t, &head->value, head->problem->value_dim,
                      &slot_of(panel, t)->values, panel->values);
}

const float *attn_panel_plain_keys(struct panel *panel, const struct head *head,
                                   int64_t t) {
    return straighten(panel, head, t, &head->key, head->problem->key_dim,
                      &slot_of(panel, t)->plain_keys, panel->plain_keys);
}

struct factor attn_panel_turned_values(struct panel *panel, const struct head *head,
                                       int64_t t) {
    return turn(panel, head, t, &head->value, head->problem->value_dim,
                &slot_of(panel, t)->turned_values, panel->turned_values);
}

/* True if rows of keys or values are used so often that copying them repays. */
static bool blocks_repay(const struct panel *panel, const struct head *head) {
    enum { ROWS_WORTH = 160 };
    return panel->columns > 0 &&
           head->rows >= ceil_div(ROWS_WORTH, head->problem->group);
}

struct factor attn_panel_value_rows(struct panel *panel, const struct head *head,
                                    int64_t t) {
    const int dim = head->problem->value_dim;
    if (!blocks_repay(panel, head)) {
        return factor_rows(attn_panel_values(panel, head, t), dim);
    }
    return block(panel, head, t, &head->value, dim, &slot_of(panel, t)->value_blocks,
                 panel->value_blocks);
}

struct factor attn_panel_key_rows(struct panel *panel, const struct head *head,
                                  int64_t t) {
    const int dim = head->problem->key_dim;
    if (!blocks_repay(panel, head)) {
        return factor_rows(attn_panel_plain_keys(panel, head, t), dim);
    }
    return block(panel, head, t, &head->key, dim, &slot_of(panel, t)->key_blocks,
                 panel->key_blocks);
}

bool attn_panel_finite(struct panel *panel, const struct head *head, int64_t t) {
    struct panel_slot *slot = slot_of(panel, t);
    if (!slot->scanned) {
        const int dim = head->problem->value_dim;
        slot->finite = panel->kernels->all_finite(
            attn_panel_values(panel, head, t), dim, keys_of_tile(panel, head, t), dim);
        slot->scanned = true;
    }
    return slot->finite;
}

/* Sets number l of all columns of a strip to 0. */
static void clear_row(uint16_t *strip, bool single, int l) {
    const int half = l % PIECES_SIDE / 16;
    uint16_t *row = strip + l / PIECES_SIDE * pieces_of_step(single) +
                    (int64_t)(l % 16) * PIECES_SIDE + half;
    for (int i = 0; i < pieces_of_step(single); i += PIECES_TILE) {
        for (int j = 0; j < PIECES_SIDE; j += 2) {
            row[i + j] = 0;
        }
    }
}

/* A strip of so many keys in pieces; false: some are odd. */
static bool split_keys(struct panel *panel, const struct head *head, int64_t key,
                       int count, uint16_t *strip) {
    const int dim = head->problem->key_dim;
    const struct source *source = &head->key;
    const struct kernels *kernels = panel->kernels;
    const uint16_t *bf16 = attn_source_bf16(source, key, count);
    if (bf16 != NULL) {
        kernels->pieces->take_turned(strip, bf16, source->stride, dim, count);
        return pieces_take_bf16_keys(kernels->pieces, bf16, source->stride, count, dim);
    }
    float *turned = panel->strip;
    if (source->order == ORDER_KEY_BLOCKS) {
        attn_source_read_turned(source, kernels, key, count, dim, turned, PIECES_SIDE);
    } else {
        int64_t stride;
        const float *rows = rows_once(panel, source, key, count, dim, &stride);
        kernels->transpose(turned, PIECES_SIDE, rows, stride, count, dim);
    }
    kernels->pieces->split_columns(strip, turned, PIECES_SIDE, dim, count,
                                   source_is_single(source));
    return pieces_take_keys(kernels->pieces, turned, PIECES_SIDE, dim, count);
}

struct pieces attn_panel_key_pieces(struct panel *panel, const struct head *head,
                                    int64_t t) {
    const int dim = head->problem->key_dim, keys = keys_of_tile(panel, head, t);
    const bool single = source_is_single(&head->key);
    const int64_t step = pieces_of_strip(dim, single);
    uint16_t *packed = panel->key_pieces +
                       (t % panel->slots) * ceil_div(panel->tile_k, PIECES_SIDE) * step;
    struct panel_slot *slot = slot_of(panel, t);
    const struct strips strips = {packed, step, single};
    if (slot->key_pieces) {
        return (struct pieces){strips, slot->odd_keys};
    }
    slot->key_pieces = true;
    for (int j = 0; j < keys; j += PIECES_SIDE) {
        const int count = (int)min_i64(PIECES_SIDE, keys - j);
        if (!split_keys(panel, head, t * panel->tile_k + j, count,
                        packed + j / PIECES_SIDE * step)) {
            slot->odd_keys = true;
        }
    }
    return (struct pieces){strips, slot->odd_keys};
}

/* Values on their way into pieces: bfloat16 where it lies, or floats. */
struct values {
    const uint16_t *bf16; /* NULL: floats */
    const float *floats;
    int64_t stride;
};

/* Up to PIECES_SIDE columns, of so many keys. */
static void split_values(const struct panel *panel, const struct values *values,
                         bool single, int column, int keys, int columns,
                         uint16_t *strip) {
    const struct piece_kernels *kernels = panel->kernels->pieces;
    if (values->bf16 != NULL) {
        kernels->take_columns(strip, values->bf16 + column, values->stride, keys,
                              columns);
    } else {
        kernels->split_columns(strip, values->floats + column, values->stride, keys,
                               columns, single);
    }
}

static bool takes_values(const struct panel *panel, const struct values *values,
                         int64_t row, int rows, int dim) {
    const struct piece_kernels *kernels = panel->kernels->pieces;
    const int64_t at = row * values->stride;
    return values->bf16 != NULL ? pieces_take_bf16_values(kernels, values->bf16 + at,
                                                          values->stride, rows, dim)
                                : pieces_take_values(kernels, values->floats + at,
                                                     values->stride, rows, dim);
}

struct pieces attn_panel_value_pieces(struct panel *panel, const struct head *head,
                                      int64_t t) {
    const int dim = head->problem->value_dim, keys = keys_of_tile(panel, head, t);
    const bool single = source_is_single(&head->value);
    const int64_t step = pieces_of_strip(panel->tile_k, single);
    const int count = (int)ceil_div(dim, PIECES_SIDE);
    uint16_t *packed = panel->value_pieces + (t % panel->slots) * count * step;
    struct panel_slot *slot = slot_of(panel, t);
    const struct strips strips = {packed, step, single};
    if (slot->value_pieces) {
        return (struct pieces){strips, slot->odd_values};
    }
    slot->value_pieces = true;
    struct values values = {.bf16 =
                                attn_source_bf16(&head->value, t * panel->tile_k, keys),
                            .stride = head->value.stride};
    if (values.bf16 == NULL) {
        values.floats = rows_once(panel, &head->value, t * panel->tile_k, keys, dim,
                                  &values.stride);
    }
    for (int i = 0; i < count; i++) {
        const int column = i * PIECES_SIDE;
        split_values(panel, &values, single, column, keys,
                     (int)min_i64(PIECES_SIDE, dim - column), packed + i * step);
    }
    slot->odd_values = !takes_values(panel, &values, 0, keys, dim);
    for (int l = 0; l < keys && slot->odd_values; l++) {
        if (!takes_values(panel, &values, l, 1, dim)) {
            for (int i = 0; i < count; i++) {
                clear_row(packed + i * step, single, l);
            }
        }
    }
    return (struct pieces){strips, slot->odd_values};
}
