/*
 * Blocks: how the rows of one head lie in a page of a cache, for a few rows of queries
 * to meet them at the speed of the memory.
 *
 * Sixteen rows make a block; the last one of a page has what is left. In a block of
 * keys, [dim][rows], the elements 0 of all rows come first, then the elements 1: a
 * vector holds one element of many keys, so that no score is a sum over lanes. A block
 * of values is [group][rows][columns of the group], with groups of 32 columns and at
 * last what is left: a group's sums for all query heads that share a value stay in
 * registers. Both are read once, from start to end.
 */
#ifndef ATTN_KERNEL_BLOCK_H
#define ATTN_KERNEL_BLOCK_H

#include <stddef.h>

enum { BLOCK_LANES = 16, GROUP_COLUMNS = 32 };

/* Columns of the group that starts with column c. */
static inline int group_columns(int dim, int c) {
    return dim - c < GROUP_COLUMNS ? dim - c : GROUP_COLUMNS;
}

/* Where a row of the group that starts with column c does, in a block of so many rows.
 */
static inline ptrdiff_t block_group_row(int dim, int c, int rows, ptrdiff_t row) {
    return (ptrdiff_t)c * rows + row * group_columns(dim, c);
}

#endif
