/*
 * Tuning a context by measuring.
 */
#ifndef ATTN_PLAN_TUNE_H
#define ATTN_PLAN_TUNE_H

#include "desc/desc.h"
#include "plan/plan.h"

/* attn_context_tune(), within so many milliseconds. */
attn_status attn_plan_tune(struct attn_context *context, const struct attn_desc *desc,
                           const attn_bounds *bounds, int32_t milliseconds);

#endif
