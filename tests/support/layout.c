/*
 * Strides and blocks.
 */
#include "tests/support/layout.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/element.h"

void layout_strides(attn_tensor *tensor, int bshd, struct random *random) {
    int32_t order[4] = {3, 2, 1, 0}; /* dimensions, fastest first */
    if (bshd) {
        order[1] = 1;
        order[2] = 2;
    }
    int64_t stride = 1;
    for (int32_t d = 0; d < tensor->rank; d++) {
        int32_t dimension = bshd ? order[d] : tensor->rank - 1 - d;
        tensor->stride[dimension] = stride;
        stride *= tensor->shape[dimension] > 0 ? tensor->shape[dimension] : 1;
        stride += random_percent(random, 30) ? random_between(random, 1, 6) : 0;
    }
}

void *layout_place(attn_tensor *tensor, struct random *random) {
    size_t size = element_size(tensor->dtype);
    size_t shift =
        random_percent(random, 50) ? 0 : (size_t)random_between(random, 1, 7);
    size_t bytes = ((shift + (size_t)element_extent(tensor)) * size + 127) / 64 * 64;
    char *block = aligned_alloc(64, bytes);
    assert_non_null(block);
    memset(block, 0xff, bytes);
    tensor->data = block + shift * size;
    return block;
}
