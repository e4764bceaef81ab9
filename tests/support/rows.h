/*
 * Rows of query, key and value, and where those of outputs lie, by sequence and by
 * place in the sequence.
 */
#ifndef TEST_ROWS_H
#define TEST_ROWS_H

#include "tests/support/element.h"
#include "tests/support/gen.h"

/* Where a row lies in tensors like the query, or like the key. */
struct rows_place {
    int64_t b, i;
};

struct rows_place rows_of_query(const struct test_inputs *inputs, int64_t b, int64_t i);
struct rows_place rows_of_key(const struct test_inputs *inputs, int64_t b, int64_t j);

/* The numbers of query i of head h, and of key or value j of key-value head g. */
struct element_row rows_query(const struct test_inputs *inputs, int64_t b, int64_t h,
                              int64_t i);
struct element_row rows_key(const struct test_inputs *inputs, int64_t b, int64_t g,
                            int64_t j);
struct element_row rows_value(const struct test_inputs *inputs, int64_t b, int64_t g,
                              int64_t j);

#endif
