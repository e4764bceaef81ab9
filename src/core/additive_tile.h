/*
 * Additive scores (Bahdanau et al. 2015), scale sum_c v[c] tanh(q[c] + k[c]), in place
 * of the product of query and key.
 */
#ifndef ATTN_CORE_ADDITIVE_TILE_H
#define ATTN_CORE_ADDITIVE_TILE_H

#include "core/work.h"

/* Books scratch for one thread; false if a size overflows. */
bool attn_additive_book(struct layout *layout, const struct toolbox *tools);

/* attn_scores_product() where scores are additive. */
void attn_additive_scores(struct work *work, const struct head *head,
                          const struct tile *tile, struct matrix query, float *scores,
                          int64_t ld);

/*
 * Adds what the gradients of a tile's scores make of those of its queries and keys,
 * each NULL if not asked for, and of the vector, if the call asks for that. Where they
 * are 0 nothing arrives. Spoils them.
 */
void attn_additive_gradients(struct work *work, const struct head *head,
                             const struct tile *tile, struct matrix query,
                             float *gradients, int64_t ld, float *grad_query,
                             float *grad_key);

#endif
