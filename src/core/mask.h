/*
 * Masks: which query attends which key.
 *
 * Each mask is one file with the same verbs. A tile of scores is first covered: a tile
 * that some mask excludes whole is skipped before any product, one that all masks leave
 * whole is not touched, and only for the others are the excluded scores set to -inf, by
 * selection, so that what stood there, NaN included, is gone.
 */
#ifndef ATTN_CORE_MASK_H
#define ATTN_CORE_MASK_H

#include "core/call.h"
#include "kernel/kernel.h"

/* How much of a tile a mask leaves. */
enum cover { COVER_NONE, COVER_SOME, COVER_ALL };

struct mask {
    const char *name;
    bool (*present)(const struct problem *problem);
    /* May say SOME for a tile that is NONE or ALL, never the reverse. */
    enum cover (*cover)(const struct head *head, const struct tile *tile,
                        const struct kernels *kernels);
    /* Sets excluded scores to -inf. */
    void (*apply)(const struct head *head, const struct tile *tile,
                  const struct kernels *kernels, float *scores, int64_t ld);
};

enum { MASKS_MAX = 6 };

/* The masks that a problem has, in the order they are asked. */
struct mask_list {
    int count;
    const struct mask *mask[MASKS_MAX];
};

void attn_masks_select(struct mask_list *list, const struct problem *problem);

/* The cover of a tile, and in *todo a bit for each mask that must be applied to it. */
enum cover attn_masks_cover(const struct mask_list *list, const struct head *head,
                            const struct tile *tile, const struct kernels *kernels,
                            unsigned *todo);

void attn_masks_apply(const struct mask_list *list, const struct head *head,
                      const struct tile *tile, const struct kernels *kernels,
                      unsigned todo, float *scores, int64_t ld);

/* Excludes, from `rows` rows of a tile's scores, keys whose integers of batch element b
 * do not stand in this relation to value. */
void attn_mask_unrelated(const struct integers *keys, int64_t b,
                         const struct tile *tile, enum relation relation, int64_t value,
                         const struct kernels *kernels, int rows, float *scores,
                         int64_t ld);

/* The keys [*first, *end) outside of which the band excludes all of these rows. */
void attn_band_keys(const struct head *head, int64_t row, int64_t rows, int64_t *first,
                    int64_t *end);

/*
 * The band of a row as it would be without ends and without a prefix: row r after it
 * attends keys from *first + r to before *end + r.
 */
void attn_band_line(const struct head *head, int64_t row, int64_t *first, int64_t *end);

extern const struct mask attn_mask_band;
extern const struct mask attn_mask_documents;
extern const struct mask attn_mask_ranks;
extern const struct mask attn_mask_blocks;
extern const struct mask attn_mask_boolean;
extern const struct mask attn_mask_bias;

#endif
