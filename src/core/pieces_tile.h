/*
 * Scores and values of a tile by products of pieces (kernel/pieces.h), where the kernel
 * set has them and a sequence is long enough to repay making the pieces.
 *
 * Pairs with a query, key or value that no pieces can be made of, since it is infinite,
 * NaN, huge or next to nothing, are computed as without pieces. So what decides the
 * bits of a pair's score, and how a value is added to a row, is that pair alone,
 * whatever other rows hold.
 */
#ifndef ATTN_CORE_PIECES_TILE_H
#define ATTN_CORE_PIECES_TILE_H

#include "core/work.h"

/*
 * True if products of so many features may be made of pieces. With fewer, steps are
 * half empty, and what pieces leave out, 2^-21 of a product at the worst, could be more
 * than chains of so few floats may round.
 */
static inline bool pieces_repay(const struct kernels *kernels,
                                const struct problem *problem) {
    enum { DIM_LEAST = 32 };
    return kernels->pieces != NULL && problem->key_dim >= DIM_LEAST &&
           problem->value_dim >= DIM_LEAST;
}

/* True if products of this head are made of pieces. */
bool attn_pieces_fit(const struct toolbox *tools, const struct head *head);

/* Books what products of pieces need. */
bool attn_pieces_book(struct layout *layout, const struct toolbox *tools);

/* Rows of the query, in pieces. Where they are bfloat16 there may be no floats. */
struct matrix attn_pieces_query(const struct work *work, const struct head *head,
                                int64_t row, int rows);

/* scores = scale * query key^T for a tile. */
void attn_pieces_scores(struct work *work, const struct head *head,
                        const struct tile *tile, const struct matrix *query,
                        float *scores, int64_t ld);

/* sums = rescale sums + weights values for a tile with this cover, as of
 * attn_values_add(). */
void attn_pieces_values(struct work *work, const struct head *head,
                        const struct tile *tile, enum cover cover, const float *weights,
                        int64_t ld, bool begun, const float *rescale, float *sums);

/* out = weights values times a factor for each row, for values that are not odd. */
void attn_pieces_write(struct work *work, const struct head *head,
                       const struct tile *tile, const float *weights, int64_t ld,
                       const float *factor, float *out, int64_t ld_out);

/* True if some values of a tile are odd. */
bool attn_pieces_are_odd(struct work *work, const struct head *head,
                         const struct tile *tile);

#endif
