/*
 * Names of the types that a cache stores numbers in.
 */
#ifndef COMMON_STORAGE_H
#define COMMON_STORAGE_H

#include <stdint.h>

/* ATTN_F32, ATTN_F16, ATTN_BF16 or ATTN_I8 for f32, f16, bf16 or i8; 0 for others. */
int32_t storage_type(const char *name);

/* The other way. */
const char *storage_name(int32_t type);

#endif
