/*
 * The descriptor as the setters leave it, and what becomes of it.
 */
#ifndef ATTN_DESC_DESC_H
#define ATTN_DESC_DESC_H

#include "attn/sdpa.h"
#include "core/problem.h"

struct attn_desc {
    struct problem facts; /* heads and dims 0 until set */
    bool has_scale;
    int32_t engine;
};

/* No window reaches further: positions and window then add up within int64. */
#define WINDOW_MAX (INT64_C(1) << 60)

/* Largest size of a query offset. */
#define OFFSET_MAX (INT64_C(1) << 53)

/* The problem of a descriptor: rules that join several setters, and defaults. */
attn_status attn_desc_resolve(struct problem *problem, const struct attn_desc *desc);

#endif
