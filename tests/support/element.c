/*
 * Addresses of elements, from the strides that attn/common.h defines.
 */
#include "tests/support/element.h"

#include <math.h>

size_t element_size(int32_t dtype) {
    switch (dtype) {
    case ATTN_BOOL:
    case ATTN_I8:
        return 1;
    case ATTN_F16:
    case ATTN_BF16:
        return 2;
    case ATTN_I64:
        return 8;
    default:
        return 4;
    }
}

void *element_at(const attn_tensor *tensor, int64_t i0, int64_t i1, int64_t i2,
                 int64_t i3) {
    const int64_t index[4] = {i0, i1, i2, i3};
    int64_t place = 0;
    for (int32_t d = 0; d < tensor->rank; d++) {
        if (tensor->shape[d] > 1) {
            place += index[4 - tensor->rank + d] * tensor->stride[d];
        }
    }
    return (char *)tensor->data + place * (int64_t)element_size(tensor->dtype);
}

float element_float(const attn_tensor *tensor, int64_t i0, int64_t i1, int64_t i2,
                    int64_t i3) {
    const struct element_row row = {element_at(tensor, i0, i1, i2, i3), tensor->dtype,
                                    1};
    return (float)element_in(&row, 0);
}

void element_put(int32_t dtype, void *element, double x) {
    switch (dtype) {
    case ATTN_F32:
        *(float *)element = (float)x;
        break;
    case ATTN_I8:
        *(int8_t *)element = (int8_t)fmax(-128, fmin(127, nearbyint(x)));
        break;
    default:
        *(uint16_t *)element = (uint16_t)stored_nearest(dtype, x);
        break;
    }
}

int64_t element_count(const attn_tensor *tensor) {
    int64_t count = tensor->rank > 0;
    for (int32_t d = 0; d < tensor->rank; d++) {
        count *= tensor->shape[d];
    }
    return count;
}

void element_index(const attn_tensor *tensor, int64_t n, int64_t index[4]) {
    for (int32_t d = 3; d >= 0; d--) {
        int32_t own = d - 4 + tensor->rank;
        index[d] = own >= 0 ? n % tensor->shape[own] : 0;
        n = own >= 0 ? n / tensor->shape[own] : n;
    }
}

void *element_nth(const attn_tensor *tensor, int64_t n) {
    int64_t i[4];
    element_index(tensor, n, i);
    return element_at(tensor, i[0], i[1], i[2], i[3]);
}

int64_t element_int(const attn_tensor *tensor, int64_t i0, int64_t i1) {
    const void *element = element_at(tensor, 0, 0, i0, i1);
    return tensor->dtype == ATTN_I64 ? *(const int64_t *)element
                                     : *(const int32_t *)element;
}

void element_set_int(const attn_tensor *tensor, int64_t i0, int64_t i1, int64_t value) {
    void *element = element_at(tensor, 0, 0, i0, i1);
    if (tensor->dtype == ATTN_I64) {
        *(int64_t *)element = value;
    } else {
        *(int32_t *)element = (int32_t)value;
    }
}

int64_t element_extent(const attn_tensor *tensor) {
    int64_t last = 0;
    for (int32_t d = 0; d < tensor->rank; d++) {
        if (tensor->shape[d] == 0) {
            return 0;
        }
        last += tensor->shape[d] > 1 ? (tensor->shape[d] - 1) * tensor->stride[d] : 0;
    }
    return last + 1;
}
