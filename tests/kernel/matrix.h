/*
 * Matrices for kernels: between pages that cannot be touched, with canaries in the gaps
 * between rows and at the ends, and with the numbers that kernels get wrong.
 */
#ifndef TEST_KERNEL_MATRIX_H
#define TEST_KERNEL_MATRIX_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/support/guard.h"
#include "tests/support/random.h"

/* Where a matrix lies. */
enum {
    PLACE_BEFORE, /* ends at a page without access */
    PLACE_AFTER,  /* starts after one, at a multiple of any vector's size */
    PLACE_ODD,    /* starts one float later */
    PLACES
};

struct shape {
    int place, rows, n, gap; /* gap: floats between rows */
};

/* All places, 0, 1 and 11 rows (some kernels take four at once), sizes around the
 * vector's, with gaps and without. */
enum { SHAPES = PLACES * 3 * 9 * 2 };
struct shape shape_number(int number, int width);

struct matrix {
    struct guard guard;
    float *memory; /* with the canaries at the ends */
    size_t floats;
    float *at;
    ptrdiff_t ld;
    int rows, n;
};

/* Every float is a canary: a NaN of its own. */
void matrix_open(struct matrix *matrix, struct shape shape);

/* Fails the test if some canary outside the elements is gone. */
void matrix_close(struct matrix *matrix);

/* A row of n numbers as long as a matrix has rows, or one as wide as it. */
struct shape shape_of_rows(struct shape shape);
struct shape shape_of_columns(struct shape shape);

/* What the elements are filled with. */
enum {
    FILL_RANDOM,     /* of size 1 */
    FILL_WIDE,       /* of size 60: exp underflows */
    FILL_EQUAL,      /* one number a row */
    FILL_DOMINANT,   /* one element a row is 80 larger */
    FILL_HUGE,       /* 1e30 and -1e30 */
    FILL_ZEROS,      /* 0 and -0 */
    FILL_TINY,       /* subnormals */
    FILL_MASKED,     /* some -inf */
    FILL_ALL_MASKED, /* only -inf */
    FILL_INFINITE,   /* some inf and -inf */
    FILL_NAN,        /* some NaN and -inf */
    FILL_WHOLE,      /* -4 to 4, many 0 and -0: what is made of them has no rounding */
    FILLS
};
void matrix_fill(struct matrix *matrix, int fill, struct random *random);

void matrix_set(struct matrix *matrix, float x);

/* The elements of `from`, which has the same rows and n. */
void matrix_copy(struct matrix *to, const struct matrix *from);

/* A quiet NaN with any sign and payload. */
float some_nan(struct random *random);

float matrix_get(const struct matrix *matrix, int r, int c);

/* The same bits. */
bool same_bits(float a, float b);

/* The same bits, or both NaN. */
bool same_value(float a, float b);

/* Fails the test with the set, the kernel, the shape and the place of an element. */
void matrix_fail(const char *kernel, const struct matrix *matrix, int r, int c,
                 double got, double expected);

#endif
