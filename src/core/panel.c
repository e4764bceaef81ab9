/*
 * Packing of key and value tiles, each on first use.
 */
#include "core/panel.h"

#include <string.h>

#include "base/arith.h"

void attn_panel_bind(struct panel *panel, const struct head *head) {
    if (panel->key == head->key && panel->value == head->value &&
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

/* The matrix of a tile, from rows `stride` floats apart; turned if not yet done. */
static const float *turn(struct panel *panel, const struct head *head, int64_t t,
                         const float *rows, int64_t stride, int dim, bool *done,
                         float *memory) {
    float *packed = memory + (t % panel->slots) * dim * panel->tile_k;
    if (!*done) {
        panel->kernels->transpose(packed, panel->tile_k,
                                  rows + t * panel->tile_k * stride, stride,
                                  keys_of_tile(panel, head, t), dim);
        *done = true;
    }
    return packed;
}

/* The same as it is, copied only where rows are not contiguous. */
static const float *straighten(struct panel *panel, const struct head *head, int64_t t,
                               const float *rows, int64_t stride, int dim, bool *done,
                               float *memory) {
    const float *tile = rows + t * panel->tile_k * stride;
    if (stride == dim) {
        return tile;
    }
    float *packed = memory + (t % panel->slots) * dim * panel->tile_k;
    if (!*done) {
        const int keys = keys_of_tile(panel, head, t);
        for (int64_t j = 0; j < keys; j++) {
            memcpy(packed + j * dim, tile + j * stride, (size_t)dim * sizeof *packed);
        }
        *done = true;
    }
    return packed;
}

const float *attn_panel_keys(struct panel *panel, const struct head *head, int64_t t) {
    return turn(panel, head, t, head->key, head->key_stride, head->problem->key_dim,
                &slot_of(panel, t)->keys, panel->keys);
}

const float *attn_panel_values(struct panel *panel, const struct head *head,
                               int64_t t) {
    return straighten(panel, head, t, head->value, head->value_stride,
                      head->problem->value_dim, &slot_of(panel, t)->values,
                      panel->values);
}

const float *attn_panel_plain_keys(struct panel *panel, const struct head *head,
                                   int64_t t) {
    return straighten(panel, head, t, head->key, head->key_stride,
                      head->problem->key_dim, &slot_of(panel, t)->plain_keys,
                      panel->plain_keys);
}

const float *attn_panel_turned_values(struct panel *panel, const struct head *head,
                                      int64_t t) {
    return turn(panel, head, t, head->value, head->value_stride,
                head->problem->value_dim, &slot_of(panel, t)->turned_values,
                panel->turned_values);
}

bool attn_panel_finite(struct panel *panel, const struct head *head, int64_t t) {
    struct panel_slot *slot = slot_of(panel, t);
    if (!slot->scanned) {
        const float *values = head->value + t * panel->tile_k * head->value_stride;
        slot->finite = panel->kernels->all_finite(values, head->value_stride,
                                                  keys_of_tile(panel, head, t),
                                                  head->problem->value_dim);
        slot->scanned = true;
    }
    return slot->finite;
}
