/*
 * Template: rows of a storage type to and from f32. Include after a vec_*.h.
 */
#ifndef ATTN_KERNEL_TMPL_CONVERT_H
#define ATTN_KERNEL_TMPL_CONVERT_H

#include "kernel/tmpl_some.h"

static inline int stored_bytes(int32_t dtype) {
    return dtype == ATTN_F32 ? 4 : dtype == ATTN_I8 ? 1 : 2;
}

/* Element i of stored numbers. */
static inline const char *stored_at(int32_t dtype, const void *from, ptrdiff_t i) {
    return (const char *)from + i * stored_bytes(dtype);
}

/* n elements, WIDTH or fewer, from element i on; `dtype` is a constant. */
static inline __attribute__((always_inline)) vec
load_stored(int32_t dtype, const void *from, ptrdiff_t i, int n) {
    switch (dtype) {
    case ATTN_F16: {
        const uint16_t *p = (const uint16_t *)from + i;
        return n < WIDTH ? vec_load_f16_part(p, n) : vec_load_f16(p);
    }
    case ATTN_BF16: {
        const uint16_t *p = (const uint16_t *)from + i;
        return n < WIDTH ? vec_load_bf16_part(p, n) : vec_load_bf16(p);
    }
    case ATTN_I8: {
        const int8_t *p = (const int8_t *)from + i;
        return n < WIDTH ? vec_load_i8_part(p, n) : vec_load_i8(p);
    }
    default:
        return load_some((const float *)from + i, n, 0.0f);
    }
}

static inline __attribute__((always_inline)) void
store_stored(int32_t dtype, void *to, ptrdiff_t i, int n, vec x) {
    uint16_t *half = (uint16_t *)to + i;
    switch (dtype) {
    case ATTN_F16:
        if (n < WIDTH) {
            vec_store_f16_part(half, n, x);
        } else {
            vec_store_f16(half, x);
        }
        break;
    case ATTN_BF16:
        if (n < WIDTH) {
            vec_store_bf16_part(half, n, x);
        } else {
            vec_store_bf16(half, x);
        }
        break;
    default:
        store_some((float *)to + i, n, x);
    }
}

/* One of the two types is ATTN_F32. */
static inline __attribute__((always_inline)) void
convert_rows(int32_t type_to, void *to, ptrdiff_t ld_to, int32_t type_from,
             const void *from, ptrdiff_t ld_from, int rows, int n) {
    for (int r = 0; r < rows; r++) {
        const ptrdiff_t at_to = r * ld_to, at_from = r * ld_from;
        int i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            store_stored(type_to, to, at_to + i, WIDTH,
                         load_stored(type_from, from, at_from + i, WIDTH));
        }
        if (i < n) {
            store_stored(type_to, to, at_to + i, n - i,
                         load_stored(type_from, from, at_from + i, n - i));
        }
    }
}

/* Each type has a loop of its own. */
static void kernel_widen(int32_t dtype, float *to, ptrdiff_t ld_to, const void *from,
                         ptrdiff_t ld_from, int rows, int n) {
    switch (dtype) {
    case ATTN_F16:
        convert_rows(ATTN_F32, to, ld_to, ATTN_F16, from, ld_from, rows, n);
        break;
    case ATTN_BF16:
        convert_rows(ATTN_F32, to, ld_to, ATTN_BF16, from, ld_from, rows, n);
        break;
    case ATTN_I8:
        convert_rows(ATTN_F32, to, ld_to, ATTN_I8, from, ld_from, rows, n);
        break;
    default:
        convert_rows(ATTN_F32, to, ld_to, ATTN_F32, from, ld_from, rows, n);
    }
}

static void kernel_narrow(int32_t dtype, void *to, ptrdiff_t ld_to, const float *from,
                          ptrdiff_t ld_from, int rows, int n) {
    switch (dtype) {
    case ATTN_F16:
        convert_rows(ATTN_F16, to, ld_to, ATTN_F32, from, ld_from, rows, n);
        break;
    case ATTN_BF16:
        convert_rows(ATTN_BF16, to, ld_to, ATTN_F32, from, ld_from, rows, n);
        break;
    default:
        convert_rows(ATTN_F32, to, ld_to, ATTN_F32, from, ld_from, rows, n);
    }
}

#endif
