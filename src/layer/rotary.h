/*
 * Rotary position embeddings (Su et al., "RoFormer", 2021): one call of attn_rotary(),
 * checked and reduced to pointers and strides, and what runs it.
 */
#ifndef ATTN_LAYER_ROTARY_H
#define ATTN_LAYER_ROTARY_H

#include "attn/rotary.h"
#include "core/call.h"
#include "exec/context.h"
#include "kernel/kernel.h"

/*
 * Angles are made for this many rows and pairs at a time: the block of sines and
 * cosines lies on the stack and, with the features that it turns, in the first cache.
 * 128 pairs are a whole head of dim 256.
 */
enum { ROTARY_ROWS = 16, ROTARY_PAIRS = 128 };

struct rotary {
    int64_t batch, heads, rows, dim;
    int64_t pairs; /* rotary_dim / 2 */
    bool interleaved, inverse;
    bool in_place;    /* output is input */
    bool shared;      /* a row has the same angles in all batch elements */
    bool by_position; /* angles follow from positions; false: cosines has a row for each
                         row of each batch element */
    int64_t positions; /* so many there are, from 0 on */
    double base;
    struct view input, output;
    struct integers position_ids, offsets; /* rows of ids are the axis COLUMN */
    struct view cosines, sines;
};

/* Checks arguments; fills in *rotary. Reads positions and offsets, no other data. */
attn_status attn_rotary_bind(struct rotary *rotary, const attn_rotary_args *args);

/* Rotates. context NULL: on the calling thread. */
void attn_rotary_run(const struct rotary *rotary, struct attn_context *context,
                     const struct kernels *kernels);

/* Sines and cosines of a block, a row each. */
struct angles {
    float cosines[ROTARY_ROWS][ROTARY_PAIRS];
    float sines[ROTARY_ROWS][ROTARY_PAIRS];
};

/* What positions are divided by: base^(2 k / rotary_dim) for n pairs from `pair` on. */
void attn_rotary_powers(double *powers, const struct rotary *rotary, int64_t pair,
                        int n);

/*
 * Fills in *angles for n pairs from `pair` on, of rows of a batch element. The powers
 * are those of the same pairs; not looked at where cosines are given.
 */
void attn_rotary_angles(struct angles *angles, const struct rotary *rotary,
                        const double *powers, int64_t b, int64_t row, int rows,
                        int64_t pair, int n);

#endif
