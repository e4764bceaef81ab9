/*
 * Template: the table of all kernels of one instruction set. Define KERNELS_NAME and
 * KERNELS_ISA, include a vec_*.h, then this.
 */
#include "kernel/kernel.h"

#include "kernel/tmpl_activation.h"
#include "kernel/tmpl_additive.h"
#include "kernel/tmpl_additive_gradient.h"
#include "kernel/tmpl_convert.h"
#include "kernel/tmpl_dropout.h"
#include "kernel/tmpl_few.h"
#include "kernel/tmpl_few_block.h"
#include "kernel/tmpl_gradient.h"
#include "kernel/tmpl_math.h"
#include "kernel/tmpl_norm.h"
#include "kernel/tmpl_norm_gradient.h"
#include "kernel/tmpl_product.h"
#include "kernel/tmpl_product_ahead.h"
#include "kernel/tmpl_quantize.h"
#include "kernel/tmpl_relate.h"
#include "kernel/tmpl_rotary.h"
#include "kernel/tmpl_score.h"
#include "kernel/tmpl_softmax.h"

#include "kernel/tmpl_small.h"

/* The table of a set, with products in pieces or NULL. */
#define KERNELS_OF(isa_of_set, pieces_of_set)                                          \
    {                                                                                  \
        .isa = isa_of_set, .width = WIDTH, .pieces = pieces_of_set,                    \
        .product = kernel_product, .product_ahead = kernel_product_ahead,              \
        .product_turned = kernel_product_turned, .transpose = kernel_transpose,        \
        .to_blocks = kernel_to_blocks, .few_scores = kernel_few_scores,                \
        .few_values = kernel_few_values, .block_scores = kernel_block_scores,          \
        .block_values = kernel_block_values, .scale_columns = kernel_scale_columns,    \
        .softcap = kernel_softcap, .add_bias = kernel_add_bias,                        \
        .add_alibi = kernel_add_alibi, .mask_bias = kernel_mask_bias,                  \
        .mask_bytes = kernel_mask_bytes, .relate = kernel_relate,                      \
        .scan_bias = kernel_scan_bias, .all_finite = kernel_all_finite,                \
        .softmax = kernel_softmax, .small = kernel_small, .weights = kernel_weights,   \
        .scale = kernel_scale, .scale_add = kernel_scale_add,                          \
        .add_columns = kernel_add_columns, .dot_rows = kernel_dot_rows,                \
        .score_gradients = kernel_score_gradients,                                     \
        .softcap_gradients = kernel_softcap_gradients, .sum_alibi = kernel_sum_alibi,  \
        .additive = {.powers = kernel_additive_powers,                                 \
                     .scores = kernel_additive_scores,                                 \
                     .few = kernel_additive_few,                                       \
                     .gradients = kernel_additive_gradients},                          \
        .dropout_mask = kernel_dropout_mask, .drop = kernel_drop,                      \
        .rotate_halves = kernel_rotate_halves, .rotate_pairs = kernel_rotate_pairs,    \
        .norm = kernel_norm, .norm_gradient = kernel_norm_gradient,                    \
        .activate = kernel_activate,                                                   \
        .activation_gradient = kernel_activation_gradient, .gate = kernel_gate,        \
        .gate_gradient = kernel_gate_gradient, .widen = kernel_widen,                  \
        .narrow = kernel_narrow, .quantize = kernel_quantize,                          \
    }

const struct kernels KERNELS_NAME = KERNELS_OF(KERNELS_ISA, NULL);
