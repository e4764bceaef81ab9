/*
 * The list of masks. The order is by cost of asking: a mask that excludes a tile
 * spares the others.
 */
#include "core/mask.h"

#include "exec/tuning.h"

static const struct mask *const all_masks[MASKS_MAX] = {
    &attn_mask_band,  &attn_mask_blocks,  &attn_mask_documents,
    &attn_mask_ranks, &attn_mask_boolean, &attn_mask_bias,
};

void attn_masks_select(struct mask_list *list, const struct problem *problem) {
    list->count = 0;
    for (int i = 0; i < MASKS_MAX; i++) {
        if (all_masks[i]->present(problem)) {
            list->mask[list->count++] = all_masks[i];
        }
    }
}

enum cover attn_masks_cover(const struct mask_list *list, const struct head *head,
                            const struct tile *tile, const struct kernels *kernels,
                            unsigned *todo) {
    *todo = 0;
    for (int i = 0; i < list->count; i++) {
        switch (list->mask[i]->cover(head, tile, kernels)) {
        case COVER_NONE:
            return COVER_NONE;
        case COVER_SOME:
            *todo |= 1u << i;
            break;
        case COVER_ALL:
            break;
        }
    }
    return *todo == 0 ? COVER_ALL : COVER_SOME;
}

void attn_masks_apply(const struct mask_list *list, const struct head *head,
                      const struct tile *tile, const struct kernels *kernels,
                      unsigned todo, float *scores, int64_t ld) {
    for (int i = 0; i < list->count; i++) {
        if ((todo >> i & 1) != 0) {
            list->mask[i]->apply(head, tile, kernels, scores, ld);
        }
    }
}

void attn_mask_unrelated(const struct integers *keys, int64_t b,
                         const struct tile *tile, enum relation relation, int64_t value,
                         const struct kernels *kernels, int rows, float *scores,
                         int64_t ld) {
    uint8_t keep[TUNED_TILE_K]; /* no tile has more keys */
    const char *numbers = keys->data;
    const int64_t at = b * keys->stride[BATCH] + tile->key * keys->stride[COLUMN];
    kernels->relate(keep, relation, numbers + at * (keys->wide ? 8 : 4), keys->wide,
                    tile->keys, value);
    kernels->mask_bytes(scores, ld, rows, tile->keys, keep, 0);
}
