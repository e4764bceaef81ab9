/*
 * Matrices for kernels: rows x n floats with a row stride, the last of them right
 * before an unmapped page or the first right after one, and gaps between rows that are
 * watched.
 */
#ifndef TEST_ROWS_H
#define TEST_ROWS_H

#include "tests/support/guard.h"
#include "tests/support/random.h"
#include "tests/support/test.h"

struct rows {
    struct guard guard;
    float *at;
    int rows, n;
    ptrdiff_t ld;
};

/* Zeros; gap floats between rows; at_end: before the page that is not there. */
void rows_open(struct rows *rows, int count, int n, int gap, int at_end);
void rows_close(struct rows *rows);

/* What rows_fill() puts in. */
enum {
    FILL_RANDOM,  /* variance 1 */
    FILL_WIDE,    /* from -200 to 200 */
    FILL_EQUAL,   /* one number in a row */
    FILL_MASKED,  /* one third -infinity, whole rows too */
    FILL_SPECIAL, /* NaN, infinities, zeros of both signs, subnormals, FLT_MAX */
    FILLS
};

void rows_fill(struct rows *rows, int fill, struct random *random);
void rows_copy(struct rows *to, const struct rows *from);

/* Fails the test if something was written between the rows. */
void rows_need_gaps(const struct rows *rows);

float *rows_at(const struct rows *rows, int r, int c);

#endif
