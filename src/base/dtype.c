/*
 * Types of numbers, as attn/common.h has them.
 */
#include "base/dtype.h"

#include <stdbool.h>

#include "attn/common.h"
#include "base/arith.h"

static const struct {
    const char *name;
    int64_t size;
} types[] = {
    [ATTN_F32] = {"f32", 4},   [ATTN_F16] = {"f16", 2}, [ATTN_BF16] = {"bf16", 2},
    [ATTN_BOOL] = {"bool", 1}, [ATTN_I32] = {"i32", 4}, [ATTN_I64] = {"i64", 8},
    [ATTN_I8] = {"i8", 1},
};

static bool is_type(int32_t dtype) {
    return dtype > 0 && dtype < (int32_t)COUNT_OF(types);
}

int64_t attn_dtype_size(int32_t dtype) {
    return is_type(dtype) ? types[dtype].size : 0;
}

const char *attn_dtype_name(int32_t dtype) {
    return is_type(dtype) ? types[dtype].name : "unknown type";
}
