/*
 * A strip: a stack of rows against as many keys as the decode engine scores at a time,
 * before any of their values. Memory is read fastest in long pieces.
 */
#ifndef ATTN_ENGINE_STRIP_H
#define ATTN_ENGINE_STRIP_H

#include "engine/engine.h"

/* A head of the stack, and what the masks leave of its rows in the tile at hand. */
struct member {
    struct head head;
    enum cover cover;
    unsigned todo;
};

/* Rows [row, row + rows) of some heads that share keys, one head below the other. */
struct stack {
    struct member *member;
    int members, rows, total;
    int64_t row;
    struct matrix query;
};

/* A tile, or plain ones side by side that are met at once. */
struct span {
    struct tile tile;
    enum cover cover;
    bool plain;
    int column; /* of its first score */
};

/* What some head attends of the tiles [first, end) of keys, the scores side by side. */
struct strip {
    int64_t first, end;
    float *scores;
    int64_t ld;
    struct softmax *softmax; /* that takes it in */
    float *factor;           /* by which what that had before is to be multiplied */
    bool rescale;
    int spans, columns;
    struct span span[SPLIT_TILES_MAX];
};

/* Floats from one row of a strip's scores to the next. */
int64_t attn_strip_stride(const struct recipe *recipe);

/* The scores of a strip whose tiles and scores are set, up to this key. */
void attn_strip_score(struct work *work, const struct stack *stack, struct strip *strip,
                      int64_t end_key);

/* Its scores become weights, and the softmax knows them. */
void attn_strip_weigh(struct work *work, struct strip *strip);

/* Adds its values to those of the softmax. */
void attn_strip_add(struct work *work, const struct stack *stack,
                    const struct strip *strip);

#endif
