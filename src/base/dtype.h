/*
 * What types of numbers are called, and how long they are.
 */
#ifndef ATTN_BASE_DTYPE_H
#define ATTN_BASE_DTYPE_H

#include <stdint.h>

/* Bytes of an element, 0 for what is no type. */
int64_t attn_dtype_size(int32_t dtype);

/* "f32", "bool"; "unknown type" for what is no type. */
const char *attn_dtype_name(int32_t dtype);

#endif
