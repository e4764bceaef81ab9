/*
 * From a place in a sequence to numbers.
 */
#include "tests/support/rows.h"

static struct rows_place place_of(const attn_tensor *starts, int64_t b, int64_t i) {
    return starts->rank == 0 ? (struct rows_place){b, i}
                             : (struct rows_place){0, element_int(starts, 0, b) + i};
}

struct rows_place rows_of_query(const struct test_inputs *inputs, int64_t b,
                                int64_t i) {
    return place_of(&inputs->q_starts, b, i);
}

struct rows_place rows_of_key(const struct test_inputs *inputs, int64_t b, int64_t j) {
    return place_of(&inputs->k_starts, b, j);
}

static struct element_row row_at(const attn_tensor *tensor, const attn_tensor *scales,
                                 struct rows_place at, int64_t h) {
    return (struct element_row){
        .data = element_at(tensor, at.b, h, at.i, 0),
        .dtype = tensor->dtype,
        .scale = tensor->dtype == ATTN_I8 ? element_float(scales, 0, at.b, h, at.i) : 1,
    };
}

struct element_row rows_query(const struct test_inputs *inputs, int64_t b, int64_t h,
                              int64_t i) {
    return row_at(&inputs->query, NULL, rows_of_query(inputs, b, i), h);
}

struct element_row rows_key(const struct test_inputs *inputs, int64_t b, int64_t g,
                            int64_t j) {
    return row_at(&inputs->key, &inputs->key_scales, rows_of_key(inputs, b, j), g);
}

struct element_row rows_value(const struct test_inputs *inputs, int64_t b, int64_t g,
                              int64_t j) {
    return row_at(&inputs->value, &inputs->value_scales, rows_of_key(inputs, b, j), g);
}
