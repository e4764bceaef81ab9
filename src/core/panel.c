/*
 * Packing of key and value tiles, each on first use.
 */
#include "core/panel.h"

#include "base/arith.h"

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

/* The matrix of a tile transposed, if not yet done. */
static const float *turn(struct panel *panel, const struct head *head, int64_t t,
                         const struct source *source, int dim, bool *done,
                         float *memory) {
    float *packed = memory + (t % panel->slots) * dim * panel->tile_k;
    if (*done) {
        return packed;
    }
    const int keys = keys_of_tile(panel, head, t);
    *done = true;
    if (source->order == ORDER_KEY_BLOCKS) {
        attn_source_read_turned(source, panel->kernels, t * panel->tile_k, keys, dim,
                                packed, panel->tile_k);
        return packed;
    }
    const float *rows = attn_source_floats(source, t * panel->tile_k, keys);
    int64_t stride = source->stride;
    if (rows == NULL) {
        attn_source_read(source, panel->kernels, t * panel->tile_k, keys, dim,
                         panel->rows, dim);
        rows = panel->rows;
        stride = dim;
    }
    panel->kernels->transpose(packed, panel->tile_k, rows, stride, keys, dim);
    return packed;
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

const float *attn_panel_keys(struct panel *panel, const struct head *head, int64_t t) {
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

const float *attn_panel_turned_values(struct panel *panel, const struct head *head,
                                      int64_t t) {
    return turn(panel, head, t, &head->value, head->problem->value_dim,
                &slot_of(panel, t)->turned_values, panel->turned_values);
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
