/*
 * Gaps hold a pattern that no kernel writes; -0.125 is as good as any.
 */
#include "tests/support/rows.h"

#include <float.h>
#include <math.h>
#include <string.h>

static const float untouched = -0.125f;

float *rows_at(const struct rows *rows, int r, int c) {
    return rows->at + r * rows->ld + c;
}

void rows_open(struct rows *rows, int count, int n, int gap, int at_end) {
    *rows = (struct rows){.rows = count, .n = n, .ld = n + gap};
    /* The gap after the last row is not there. */
    size_t floats = count > 0 ? (size_t)((count - 1) * rows->ld + n) : 0;
    size_t bytes = floats * sizeof(float);
    rows->at =
        at_end ? guard_before(&rows->guard, bytes) : guard_after(&rows->guard, bytes);
    for (int r = 0; r + 1 < count; r++) {
        for (ptrdiff_t c = n; c < rows->ld; c++) {
            *rows_at(rows, r, (int)c) = untouched;
        }
    }
}

void rows_close(struct rows *rows) {
    guard_free(&rows->guard);
}

void rows_need_gaps(const struct rows *rows) {
    for (int r = 0; r + 1 < rows->rows; r++) {
        for (ptrdiff_t c = rows->n; c < rows->ld; c++) {
            assert_true(*rows_at(rows, r, (int)c) == untouched);
        }
    }
}

static float number(int fill, int r, struct random *random) {
    static const float special[] = {NAN,      INFINITY,  -INFINITY,  0.0f,
                                    -0.0f,    0x1p-149f, -0x1p-130f, FLT_MAX,
                                    -FLT_MAX, 1.0f,      -3.5f};
    switch (fill) {
    case FILL_WIDE:
        return 115.0f * random_float(random);
    case FILL_EQUAL:
        return 1.5f * (float)(r + 1);
    case FILL_MASKED:
        return r % 3 == 2 || random_percent(random, 33) ? -INFINITY
                                                        : random_float(random);
    case FILL_SPECIAL:
        return random_percent(random, 50)
                   ? random_float(random)
                   : special[random_between(random, 0, (int64_t)COUNT_OF(special) - 1)];
    default:
        return random_float(random);
    }
}

void rows_fill(struct rows *rows, int fill, struct random *random) {
    for (int r = 0; r < rows->rows; r++) {
        for (int c = 0; c < rows->n; c++) {
            *rows_at(rows, r, c) = number(fill, r, random);
        }
    }
}

void rows_copy(struct rows *to, const struct rows *from) {
    assert_true(to->rows == from->rows && to->n == from->n);
    for (int r = 0; r < from->rows && from->n > 0; r++) {
        memcpy(rows_at(to, r, 0), rows_at(from, r, 0), (size_t)from->n * sizeof(float));
    }
}
