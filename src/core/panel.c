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

const float *attn_panel_keys(struct panel *panel, const struct head *head, int64_t t) {
    struct panel_slot *slot = slot_of(panel, t);
    const int64_t dim = head->problem->key_dim;
    float *packed = panel->keys + (t % panel->slots) * dim * panel->tile_k;
    if (!slot->keys) {
        const float *keys = head->key + t * panel->tile_k * head->key_stride;
        panel->kernels->transpose(packed, panel->tile_k, keys, head->key_stride,
                                  keys_of_tile(panel, head, t), (int)dim);
        slot->keys = true;
    }
    return packed;
}

const float *attn_panel_values(struct panel *panel, const struct head *head,
                               int64_t t) {
    const int64_t dim = head->problem->value_dim;
    const float *values = head->value + t * panel->tile_k * head->value_stride;
    if (head->value_stride == dim) {
        return values;
    }
    struct panel_slot *slot = slot_of(panel, t);
    float *packed = panel->values + (t % panel->slots) * dim * panel->tile_k;
    if (!slot->values) {
        const int keys = keys_of_tile(panel, head, t);
        for (int j = 0; j < keys; j++) {
            memcpy(packed + j * dim, values + j * head->value_stride,
                   (size_t)dim * sizeof *packed);
        }
        slot->values = true;
    }
    return packed;
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
