/*
 * Merging states of attention over parts of the keys: one call of attn_merge(),
 * checked, and what runs it.
 */
#ifndef ATTN_LAYER_MERGE_H
#define ATTN_LAYER_MERGE_H

#include "attn/merge.h"
#include "core/call.h"
#include "exec/context.h"

struct merge {
    int64_t batch, heads, rows, dim;
    int32_t count;
    const attn_tensor *const *outs, *const *lses; /* the caller's, checked */
    struct view out, lse;                         /* lse.data NULL: not asked for */
};

/* Checks arguments; fills in *merge. */
attn_status attn_merge_bind(struct merge *merge, int32_t count,
                            const attn_tensor *const *outs,
                            const attn_tensor *const *lses, const attn_tensor *out,
                            const attn_tensor *lse);

/* Merges. context NULL: on the calling thread. */
void attn_merge_run(const struct merge *merge, struct attn_context *context);

#endif
