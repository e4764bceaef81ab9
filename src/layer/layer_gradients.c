/*
 * The gradients of what the attention of a layer brings, which blocks of a stack add
 * to.
 */
#include <string.h>

#include "base/status.h"
#include "layer/layer.h"

/* Sets a tensor to 0. Its last stride is 1. */
static void clear(const attn_tensor *tensor) {
    attn_tensor t = *tensor;
    while (t.rank < 4) {
        memmove(t.shape + 1, t.shape, 3 * sizeof *t.shape);
        memmove(t.stride + 1, t.stride, 3 * sizeof *t.stride);
        t.shape[0] = 1;
        t.rank++;
    }
    const int64_t step = t.shape[3] > 1 ? t.stride[3] : 0;
    for (int64_t i = 0; i < t.shape[0]; i++) {
        for (int64_t j = 0; j < t.shape[1]; j++) {
            for (int64_t k = 0; k < t.shape[2]; k++) {
                float *row = (float *)t.data + i * (t.shape[0] > 1 ? t.stride[0] : 0) +
                             j * (t.shape[1] > 1 ? t.stride[1] : 0) +
                             k * (t.shape[2] > 1 ? t.stride[2] : 0);
                for (int64_t l = 0; l < t.shape[3]; l++) {
                    row[l * step] = 0.0f;
                }
            }
        }
    }
}

enum { TABLE_GRADIENTS = 9 };

/* The gradients of what attention brings. */
static void list_gradients(const attn_tensor *list[TABLE_GRADIENTS],
                           const attn_backward_args *args) {
    const attn_tensor *const gradients[TABLE_GRADIENTS] = {
        args->grad_bias,          args->grad_alibi_slopes,  args->grad_sinks,
        args->grad_relative_bias, args->grad_relative_keys, args->grad_content_bias,
        args->grad_position_bias, args->grad_segment_keys,  args->grad_segment_bias,
    };
    memcpy(list, gradients, sizeof gradients);
}

bool attn_layer_wants_gradients(const attn_backward_args *args) {
    const attn_tensor *list[TABLE_GRADIENTS];
    list_gradients(list, args);
    for (int i = 0; i < TABLE_GRADIENTS; i++) {
        if (list[i] != NULL) {
            return true;
        }
    }
    return false;
}

void attn_layer_clear_gradients(const attn_backward_args *args) {
    const attn_tensor *list[TABLE_GRADIENTS];
    list_gradients(list, args);
    for (int i = 0; i < TABLE_GRADIENTS; i++) {
        if (list[i] != NULL && args->accumulate == 0) {
            clear(list[i]);
        }
    }
}

attn_status attn_layer_gradients_apart(const attn_backward_args *a,
                                       const attn_backward_args *b) {
    const attn_tensor *of_a[TABLE_GRADIENTS], *of_b[TABLE_GRADIENTS];
    list_gradients(of_a, a);
    list_gradients(of_b, b);
    for (int i = 0; i < TABLE_GRADIENTS; i++) {
        for (int j = 0; j < TABLE_GRADIENTS && of_a[i] != NULL; j++) {
            struct extent one, other;
            if (of_b[j] == NULL) {
                continue;
            }
            TRY(attn_tensor_extent(of_a[i], "a gradient", &one));
            TRY(attn_tensor_extent(of_b[j], "a gradient", &other));
            REQUIRE(one.begin >= other.end || other.begin >= one.end, ATTN_ERR_INVALID,
                    "a gradient of attention overlaps one of cross_attention: their "
                    "byte ranges meet");
        }
    }
    return ATTN_OK;
}
