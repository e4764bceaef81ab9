/*
 * Rules that every tensor of a call must keep.
 */
#ifndef ATTN_DESC_TENSOR_H
#define ATTN_DESC_TENSOR_H

#include "attn/common.h"
#include "base/compiler.h"

/*
 * What a tensor is expected to be. Axes are letters: b batch, h query heads, g
 * key-value heads, i queries, j keys, d key dim, v value dim, p blocks of queries, r
 * blocks of keys, l relative keys, n buckets, t two; a and c batch of queries and of
 * keys, 1 where sequences are packed; s starts of packed sequences.
 */
struct expected {
    const char *name;
    const char *axes; /* a letter each, slowest first */
    int rank;
    int64_t shape[4];
    int optional;          /* so many leading axes may be missing or have size 1 */
    int32_t dtype, dtype2; /* either; dtype2 may be 0 */
    bool halves, bytes;    /* also f16 and bf16; also i8 */
    bool repeat_last;      /* the last stride may be 0 */
};

/* The bytes from the first to the end of the last element. */
struct extent {
    const char *name;
    uintptr_t begin, end; /* equal: no elements */
};

/*
 * Checks a tensor, writes to stride[] its strides along the expected axes (0 where
 * it is repeated or has one element) and to *extent the bytes it covers.
 */
attn_status attn_tensor_check(const attn_tensor *tensor,
                              const struct expected *expected, int64_t stride[4],
                              struct extent *extent);

/* The bytes of a tensor alone, which has no other fault. */
attn_status attn_tensor_extent(const attn_tensor *tensor, const char *name,
                               struct extent *extent);

/* Fails if two different indices of an output share an element. */
attn_status attn_tensor_check_distinct(const attn_tensor *tensor, const char *name);

/*
 * True if two outputs that each are distinct share no element although their bytes
 * meet, because one lies in the gaps of the other: query, key and value of a token side
 * by side. It is enough for that, not necessary.
 */
bool attn_tensor_interleaved(const attn_tensor *a, const attn_tensor *b);

/* "(2, 3, 4)"; returns text. */
enum { SHAPE_TEXT = 160 };
const char *attn_shape_text(char text[SHAPE_TEXT], const int64_t *shape, int rank);

#endif
