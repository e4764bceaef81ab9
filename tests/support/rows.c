/*
 * From a place in a sequence to numbers.
 */
#include "tests/support/rows.h"

static struct element_row row_at(const attn_tensor *tensor, const attn_tensor *scales,
                                 int64_t b, int64_t h, int64_t i) {
    return (struct element_row){
        .data = element_at(tensor, b, h, i, 0),
        .dtype = tensor->dtype,
        .scale = tensor->dtype == ATTN_I8 ? element_float(scales, 0, b, h, i) : 1,
    };
}

struct element_row rows_query(const struct test_inputs *inputs, int64_t b, int64_t h,
                              int64_t i) {
    return row_at(&inputs->query, NULL, b, h, i);
}

struct element_row rows_key(const struct test_inputs *inputs, int64_t b, int64_t g,
                            int64_t j) {
    return row_at(&inputs->key, &inputs->key_scales, b, g, j);
}

struct element_row rows_value(const struct test_inputs *inputs, int64_t b, int64_t g,
                              int64_t j) {
    return row_at(&inputs->value, &inputs->value_scales, b, g, j);
}
