/*
 * attn/packed.h - packed weights of a layer.
 *
 * For parameters that do not change any more: a copy of every weight of two dimensions
 * or more, in the order in which products read it. It spares each call the packing,
 * which with up to thirty rows is a tenth to a quarter of the time, and takes about as
 * much memory as the weights.
 *
 *     size = attn_layer_packed_size(layer);
 *     memory = aligned_alloc(64, size);
 *     attn_layer_pack(layer, memory, size);
 *     attn_layer_set_packed(layer, memory, size);
 *
 * Layers of the same options and kernels may share them, whatever their bounds. Forward
 * calls read packed weights where that is faster, else tensors, as backward calls do:
 * those must stay, and after a change of what they hold, pack again. Until then
 * products have the old weights and the new biases, which are not packed. Sums may run
 * in another order than without, so bits may differ; in a reproducible layer they do
 * not.
 */
#ifndef ATTN_PACKED_H
#define ATTN_PACKED_H

#include "layer.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Bytes of packed weights; 0 for NULL, and where packing is of no use: if the kernels
 * are neither AVX2 nor AVX-512, and BLAS has none for small matrices either. The
 * functions below then look at nothing, and do nothing. Since 0.1.
 */
ATTN_API size_t attn_layer_packed_size(const attn_layer *layer);

/**
 * Writes packed weights to memory at a multiple of 64, of attn_layer_packed_size() or
 * more, on the calling thread. May run beside forward calls of the layer.
 * ATTN_ERR_INVALID, also: a parameter was not given. Since 0.1.
 */
ATTN_API attn_status attn_layer_pack(const attn_layer *layer, void *memory,
                                     int64_t size);

/**
 * Lets forward calls read what attn_layer_pack() wrote, which must live as long as they
 * do. NULL: tensors again. So does attn_layer_set_parameter(), for that parameter.
 * ATTN_ERR_INVALID: that is not what is in this memory. Since 0.1.
 */
ATTN_API attn_status attn_layer_set_packed(attn_layer *layer, const void *memory,
                                           int64_t size);

#ifdef __cplusplus
}
#endif

#endif
