/*
 * How a backward call is cut into pieces of work that have their outputs to themselves.
 *
 * One phase computes everything, if the heads are enough to keep all threads busy: a
 * piece is the query heads of a key-value head, and more where a bias or the like is
 * shared by more. Otherwise there are up to three, each with pieces of its own and with
 * the tiles computed anew: queries by rows, keys by key tiles, and what is summed over
 * both. All sums go in the same order in either way. Sinks have a phase of their own,
 * since they need no tiles.
 */
#ifndef ATTN_PLAN_PHASES_H
#define ATTN_PLAN_PHASES_H

#include "plan/plan.h"

struct phase {
    struct call call; /* with only the gradients of this phase */
    int64_t batches;  /* batch elements of a piece: 1 or all */
    int64_t heads;    /* query heads of a piece */
    int64_t rows;     /* rows of a piece, a multiple of tile_q or all */
    int64_t tiles;    /* key tiles of a piece */
    /* how many ranges of each */
    int64_t batch_ranges, head_ranges, row_ranges, tile_ranges;
};

enum { PHASES_MAX = 4 };

struct phases {
    int count;
    int32_t tasks; /* threads worth using */
    struct phase phase[PHASES_MAX];
};

/* Cuts a call up. */
void attn_plan_phases(struct phases *phases, const struct attn_plan *plan,
                      const struct call *call);

int64_t attn_phase_pieces(const struct phase *phase);

/* A piece of a phase. */
struct part {
    int64_t b, b_end;
    int64_t head, head_end;
    int64_t row, row_end;
    int64_t tile, tile_end;
};

struct part attn_phase_part(const struct phase *phase, const struct attn_plan *plan,
                            int64_t i);

#endif
