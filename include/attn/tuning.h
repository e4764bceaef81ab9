/*
 * attn/tuning.h - tiles chosen by measuring, for those who want the last few percent.
 *
 * libattn knows good tiles for the BLAS libraries it knows. For others, and on other
 * processors, attn_context_tune() tries a handful and keeps the fastest in the context:
 * plans and layers that are made from then on use it for problems with the same dims
 * and as many query heads to a key-value head. Nothing is ever measured without being
 * asked for. What was found can be kept as text and be given to a context of another
 * process, on a machine of the same kind.
 *
 * Tiles are part of what decides the bits of a result, beside the problem, the kernels
 * and the BLAS library: contexts with the same tuning give the same bits.
 *
 * These functions must not run at the same time as other calls on the same context.
 * After tune and import its setters fail, as after the first plan.
 */
#ifndef ATTN_TUNING_H
#define ATTN_TUNING_H

#include "sdpa.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Measures, on the calling thread, attention like that of the descriptor up to these
 * bounds: its heads, dims and engine, and causal or not; other masks and score terms
 * are left out, since they do not favour a tile. A problem that takes too long is
 * measured in part. Choices within what the BLAS policy allows are tried in turns:
 * tiles and sizes of products, those by BLAS or by kernels of our own, keys transposed
 * or as they lie, one softmax over all keys or several, decoding or products for few
 * queries. One takes the place of the default if it is at least 3 % faster; it takes
 * the place of what was found before for these dims. Lengths do not tell problems
 * apart: tune for the ones that take most of the time. One shorter than a tile decides
 * nothing about tiles and products, and leaves them as they were. attn_plan_explain()
 * tells the rate that was measured, and that of what was there before.
 *
 * milliseconds is how long that may last, 1 to 60000; 0 stands for 200. Each choice is
 * tried at least once all the same. Memory comes from the context. ATTN_ERR_INVALID: an
 * argument, or what attn_plan_create() would say; ATTN_ERR_UNSUPPORTED: additive
 * scores, which have no products; ATTN_ERR_NO_MEMORY. Since 0.1.
 */
ATTN_API attn_status attn_context_tune(attn_context *context, const attn_desc *desc,
                                       const attn_bounds *bounds, int32_t milliseconds);

/**
 * Writes what the context has been tuned to: lines of names and integers, the first of
 * which say for which version of libattn, processor, kernel set, BLAS library and
 * policy. Works like snprintf: writes at most size bytes with the terminating 0,
 * returns the length of the whole text without it. 0 if context is NULL. Since 0.1.
 */
ATTN_API size_t attn_context_tuning_export(const attn_context *context, char *text,
                                           size_t size);

/**
 * Replaces the context's tuning by an exported one. ATTN_ERR_UNSUPPORTED if that was
 * made for another version, processor, kernel set, BLAS library or policy, with both
 * named; ATTN_ERR_INVALID if the text is no such export, or a number is not one that
 * attn_context_tune() could have chosen; ATTN_ERR_NO_MEMORY. Since 0.1.
 */
ATTN_API attn_status attn_context_tuning_import(attn_context *context,
                                                const char *text);

#ifdef __cplusplus
}
#endif

#endif
