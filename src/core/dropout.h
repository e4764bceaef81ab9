/*
 * Dropout of weights: which are dropped is a function of numbers that belong to the
 * weight alone (see attn_desc_set_dropout() and kernel/tmpl_dropout.h), so that the
 * backward pass makes the mask again.
 */
#ifndef ATTN_CORE_DROPOUT_H
#define ATTN_CORE_DROPOUT_H

#include "core/call.h"
#include "kernel/kernel.h"

/* One byte for each weight of a tile, 0 where it is dropped. */
void attn_dropout_mask(const struct head *head, const struct tile *tile,
                       const struct kernels *kernels, uint8_t *keep, int64_t ld);

/* Sets what is dropped of a tile to 0 and multiplies the rest by 1 / (1 - p). */
void attn_dropout_apply(const struct head *head, const struct tile *tile,
                        const struct kernels *kernels, const uint8_t *keep,
                        int64_t ld_keep, float *weights, int64_t ld);

#endif
