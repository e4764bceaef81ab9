/*
 * The descriptor as the setters leave it, and what becomes of it.
 */
#ifndef ATTN_DESC_DESC_H
#define ATTN_DESC_DESC_H

#include "attn/desc.h"
#include "core/problem.h"

/* The setters, a bit each in attn_desc.refused. */
enum setter {
    SETTER_HEADS,
    SETTER_DIMS,
    SETTER_SCORE,
    SETTER_SCALE,
    SETTER_SOFTCAP,
    SETTER_CAUSAL,
    SETTER_ALIGNMENT,
    SETTER_WINDOW,
    SETTER_LENGTHS,
    SETTER_PACKED,
    SETTER_DOCUMENTS,
    SETTER_PREFIX,
    SETTER_BLOCK_MASK,
    SETTER_MASK,
    SETTER_BIAS,
    SETTER_ALIBI,
    SETTER_SINKS,
    SETTER_DROPOUT,
    SETTER_RELATIVE_BIAS,
    SETTER_RELATIVE_KEYS,
    SETTER_QUERY_BIASES,
    SETTER_SEGMENTS,
    SETTER_RANKS,
    SETTER_CONVENTION,
    SETTER_ENGINE,
    SETTERS
};

enum { REFUSAL_TEXT = 128 };

struct attn_desc {
    struct problem facts; /* heads and dims 0 until set */
    bool has_scale;
    int32_t engine;
    /* setters whose last call failed: a plan of such a descriptor would compute
     * something else than was meant */
    uint32_t refused;
    struct {
        attn_status status;
        char text[REFUSAL_TEXT];
    } refusal[SETTERS];
};

/* A descriptor with nothing set. */
void attn_desc_setup(attn_desc *desc);

/* Notes that a setter failed with this status and attn_last_error(); returns status. */
attn_status attn_desc_refuse(attn_desc *desc, enum setter setter, attn_status status);

/* Notes that a setter did what it was asked; returns ATTN_OK. */
attn_status attn_desc_accept(attn_desc *desc, enum setter setter);

/* No window reaches further: positions and window then add up within int64. */
#define WINDOW_MAX (INT64_C(1) << 60)

/* Largest size of a query offset. */
#define OFFSET_MAX (INT64_C(1) << 53)

/* The problem of a descriptor: rules that join several setters, and defaults. */
attn_status attn_desc_resolve(struct problem *problem, const struct attn_desc *desc);

#endif
