/*
 * Matrices with canaries in guarded memory.
 */
#include "tests/kernel/matrix.h"

#include <math.h>
#include <string.h>

#include "tests/kernel/sets.h"
#include "tests/support/test.h"

enum { MARGIN = 17 }; /* floats at the end that is not beside a page without access */

static const uint32_t canary = 0x7fc5a5a5;

struct shape shape_number(int number, int width) {
    static const int rows[] = {0, 1, 11};
    const int sizes[] = {0,         1,         width - 1,     width, width + 1,
                         2 * width, 3 * width, 4 * width + 3, 257};
    struct shape shape;
    shape.place = number % PLACES;
    shape.gap = number / PLACES % 2 * 3;
    shape.rows = rows[number / PLACES / 2 % 3];
    shape.n = sizes[number / PLACES / 2 / 3];
    return shape;
}

struct shape shape_of_rows(struct shape shape) {
    return (struct shape){shape.place, 1, shape.rows, 0};
}

struct shape shape_of_columns(struct shape shape) {
    return (struct shape){shape.place, 1, shape.n, 0};
}

void matrix_open(struct matrix *matrix, struct shape shape) {
    matrix->rows = shape.rows;
    matrix->n = shape.n;
    matrix->ld = shape.n + shape.gap;
    size_t extent = 0;
    if (shape.rows > 0) {
        extent = (size_t)(shape.rows - 1) * (size_t)matrix->ld + (size_t)shape.n;
    }
    matrix->floats = extent + MARGIN;
    const size_t bytes = matrix->floats * sizeof(float);
    if (shape.place == PLACE_BEFORE) {
        matrix->memory = guard_before(&matrix->guard, bytes);
        matrix->at = matrix->memory + MARGIN;
    } else {
        matrix->memory = guard_after(&matrix->guard, bytes);
        matrix->at = matrix->memory + (shape.place == PLACE_ODD ? 1 : 0);
    }
    for (size_t i = 0; i < matrix->floats; i++) {
        memcpy(&matrix->memory[i], &canary, sizeof canary);
    }
}

/* Whether a float of the memory belongs to an element. */
static bool is_element(const struct matrix *matrix, size_t i) {
    const ptrdiff_t offset = matrix->memory + i - matrix->at;
    return offset >= 0 && matrix->n > 0 && offset / matrix->ld < matrix->rows &&
           offset % matrix->ld < matrix->n;
}

void matrix_close(struct matrix *matrix) {
    for (size_t i = 0; i < matrix->floats; i++) {
        if (memcmp(&matrix->memory[i], &canary, sizeof canary) != 0 &&
            !is_element(matrix, i)) {
            fail_msg("%s wrote %td floats after the start of %d x %d, stride %td",
                     sets_name(), matrix->memory + i - matrix->at, matrix->rows,
                     matrix->n, matrix->ld);
        }
    }
    guard_free(&matrix->guard);
}

float some_nan(struct random *random) {
    const uint32_t bits = (uint32_t)random_bits(random) | 0x7fc00000;
    float nan;
    memcpy(&nan, &bits, sizeof nan);
    return nan;
}

/* An element of a row in which all have the same number `common`. */
static float element(int fill, float common, struct random *random) {
    const float x = random_float(random);
    const int chance = (int)(random_bits(random) % 100);
    switch (fill) {
    case FILL_WIDE:
        return x * 60.0f;
    case FILL_EQUAL:
        return common;
    case FILL_HUGE:
        return chance < 50 ? 1e30f : -1e30f;
    case FILL_ZEROS:
        return chance < 50 ? 0.0f : -0.0f;
    case FILL_TINY:
        return x * 0x1p-130f;
    case FILL_MASKED:
        return chance < 40 ? -INFINITY : x;
    case FILL_ALL_MASKED:
        return -INFINITY;
    case FILL_INFINITE:
        return chance < 5 ? INFINITY : chance < 20 ? -INFINITY : x;
    case FILL_NAN:
        return chance < 5 ? some_nan(random) : chance < 20 ? -INFINITY : x;
    case FILL_WHOLE:
        return chance < 40 ? copysignf(0.0f, x) : (float)(chance % 9 - 4);
    default:
        return x;
    }
}

void matrix_fill(struct matrix *matrix, int fill, struct random *random) {
    for (int r = 0; r < matrix->rows; r++) {
        float *row = matrix->at + r * matrix->ld;
        const float common = random_float(random) * 10.0f;
        for (int c = 0; c < matrix->n; c++) {
            row[c] = element(fill, common, random);
        }
        if (fill == FILL_DOMINANT && matrix->n > 0) {
            row[random_between(random, 0, matrix->n - 1)] += 80.0f;
        }
    }
}

void matrix_set(struct matrix *matrix, float x) {
    for (int r = 0; r < matrix->rows; r++) {
        for (int c = 0; c < matrix->n; c++) {
            matrix->at[r * matrix->ld + c] = x;
        }
    }
}

void matrix_copy(struct matrix *to, const struct matrix *from) {
    for (int r = 0; r < to->rows && to->n > 0; r++) {
        memcpy(to->at + r * to->ld, from->at + r * from->ld,
               (size_t)to->n * sizeof(float));
    }
}

float matrix_get(const struct matrix *matrix, int r, int c) {
    return matrix->at[r * matrix->ld + c];
}

bool same_bits(float a, float b) {
    return memcmp(&a, &b, sizeof a) == 0;
}

bool same_value(float a, float b) {
    return same_bits(a, b) || (isnan(a) && isnan(b));
}

void matrix_fail(const char *kernel, const struct matrix *matrix, int r, int c,
                 double got, double expected) {
    fail_msg("%s %s: %d x %d, stride %td: [%d][%d] is %.9g, should be %.9g",
             sets_name(), kernel, matrix->rows, matrix->n, matrix->ld, r, c, got,
             expected);
}
