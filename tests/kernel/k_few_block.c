/*
 * The kernels for a few rows and keys or values in blocks: block_scores, block_values.
 *
 * Values must give the bits of few_values, in sums of as many keys. Scores are compared
 * with float64 within the bound of a sum of dim terms, and bit for bit with what the
 * two rows give alone, in a block of their own. Rows of a block that do not count hold
 * NaN.
 */
#include <math.h>
#include <string.h>

#include "tests/kernel/cells.h"
#include "tests/kernel/sets.h"
#include "tests/support/check.h"
#include "tests/support/stored.h"
#include "tests/support/test.h"

static const struct kernels *k;

static const int32_t types[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_I8};
static const int row_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 23};
static const int dims[] = {1, 2, 7, 8, 31, 32, 33, 40, 64, 71, 80, 128, 129};

/* Which rows of which blocks: the last two of a shorter one. */
static const struct extent {
    int keys, lane, n;
} extents[] = {{16, 0, 0}, {16, 0, 16}, {16, 0, 1},  {16, 15, 1},
               {16, 3, 9}, {16, 0, 64}, {16, 5, 43}, {16, 9, 39},
               {7, 0, 7},  {1, 0, 1},   {13, 4, 8},  {16, 3, 1100}};

/* One call. The rows of b, those that count, are kept beside the blocks. */
struct call {
    int32_t dtype;
    int rows, dim;
    struct extent extent;
    struct matrix a; /* query or weights */
    struct cells b, blocks;
};

/* Where element c of a row lies in its block, by the words of kernel/block.h. */
static int place(const struct call *call, bool keys, int row, int c) {
    const int width = call->extent.keys, lane = (call->extent.lane + row) % width;
    const int block = (call->extent.lane + row) / width * width * call->dim;
    const int group = c / 32,
              columns = call->dim - group * 32 < 32 ? call->dim % 32 : 32;
    return block +
           (keys ? c * width + lane : group * 32 * width + lane * columns + c % 32);
}

static uint32_t some_element(int32_t dtype, struct random *random) {
    const float x = random_float(random);
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return dtype == ATTN_I8 ? (uint32_t)random_bits(random) & 0xff
                            : stored_narrowed(dtype, bits);
}

static void call_open(struct call *call, bool keys, int number, struct random *random) {
    const struct extent *e = &call->extent;
    const int size = stored_size(call->dtype);
    const int blocks = (e->lane + e->n + e->keys - 1) / e->keys;
    const int across = keys ? call->dim : e->n;
    matrix_open(&call->a,
                (struct shape){number % PLACES, call->rows, across, number % 4});
    matrix_fill(&call->a, number % 5 == 0 ? FILL_TINY : FILL_RANDOM, random);
    cells_open(&call->b, (struct shape){PLACE_AFTER, e->n, call->dim, 0}, size);
    cells_open(
        &call->blocks,
        (struct shape){(number + 1) % PLACES, 1, blocks * e->keys * call->dim, 0},
        size);
    for (int i = 0; i < call->blocks.n; i++) {
        cells_set(&call->blocks, 0, i, UINT32_MAX); /* NaN, or the byte -1 */
    }
    for (int j = 0; j < e->n; j++) {
        for (int c = 0; c < call->dim; c++) {
            const uint32_t bits = some_element(call->dtype, random);
            cells_set(&call->b, j, c, bits);
            cells_set(&call->blocks, 0, place(call, keys, j, c), bits);
        }
    }
}

static void call_close(struct call *call) {
    matrix_close(&call->a);
    cells_close(&call->b);
    cells_close(&call->blocks);
}

/* The score of row r with key j, as the only ones. */
static float alone(const struct call *call, int r, int j, float scale) {
    struct cells block;
    float score;
    cells_open(&block, (struct shape){PLACE_ODD, 1, call->dim, 0}, call->b.size);
    for (int c = 0; c < call->dim; c++) {
        cells_set(&block, 0, c, cells_get(&call->b, j, c));
    }
    k->block_scores(call->dtype, 1, 1, 0, 1, call->dim, scale,
                    call->a.at + r * call->a.ld, call->a.ld, block.at, 0, &score, 1);
    cells_close(&block);
    return score;
}

static void check_score(const struct call *call, const struct matrix *scores, int r,
                        int j, float scale) {
    double sum = 0, size = 0;
    for (int c = 0; c < call->dim; c++) {
        const double x = matrix_get(&call->a, r, c);
        const double y = stored_float(call->dtype, cells_get(&call->b, j, c));
        sum += x * y;
        size += fabs(x * y);
    }
    const double factor = fabs((double)scale), right = scale * sum;
    const double bound =
        (call->dim + 2) * U * factor * size + (call->dim * factor + 1) * 0x1p-149;
    const float got = matrix_get(scores, r, j);
    if (!check_number(got, right, bound)) {
        matrix_fail("block_scores", scores, r, j, got, right);
    }
    if ((r + j) % 13 == 0 && !same_bits(got, alone(call, r, j, scale))) {
        matrix_fail("block_scores, alone", scores, r, j, got, right);
    }
}

static void run_scores(struct call *call, int number, struct random *random) {
    const float scale = number % 3 == 0 ? 1.0f : -0.7f;
    const struct extent *e = &call->extent;
    struct matrix scores;
    call_open(call, true, number, random);
    matrix_open(&scores, (struct shape){number % PLACES, call->rows, e->n, number % 3});
    k->block_scores(call->dtype, call->rows, e->keys, e->lane, e->n, call->dim, scale,
                    call->a.at, call->a.ld, call->blocks.at,
                    (ptrdiff_t)64 * (number % 5), scores.at, scores.ld);
    for (int r = 0; r < call->rows; r++) {
        for (int j = 0; j < e->n; j++) {
            check_score(call, &scores, r, j, scale);
        }
    }
    matrix_close(&scores);
    call_close(call);
}

/* Sums of values in rows, which go into the total as soon as they are of SUM_KEYS. */
static void sum_rows(const struct call *call, const struct matrix *sums,
                     const struct matrix *total, int taken) {
    const int n = call->extent.n;
    for (int j = 0; j < n;) {
        const int left = SUM_KEYS - taken, some = n - j < left ? n - j : left;
        k->few_values(call->dtype, call->rows, some, call->dim, call->a.at + j,
                      call->a.ld, call->b.at + j * call->b.ld * call->b.size,
                      call->b.ld, sums->at, sums->ld);
        j += some;
        taken = (taken + some) % SUM_KEYS;
        for (int r = 0; r < call->rows && taken == 0; r++) {
            for (int c = 0; c < call->dim; c++) {
                total->at[r * total->ld + c] += sums->at[r * sums->ld + c];
                sums->at[r * sums->ld + c] = 0.0f;
            }
        }
    }
}

static void check_bits(const char *what, const struct matrix *got,
                       const struct matrix *right, const struct call *call) {
    for (int r = 0; r < call->rows; r++) {
        for (int c = 0; c < call->dim; c++) {
            if (!same_bits(matrix_get(got, r, c), matrix_get(right, r, c))) {
                matrix_fail(what, got, r, c, matrix_get(got, r, c),
                            matrix_get(right, r, c));
            }
        }
    }
}

static void run_values(struct call *call, int number, struct random *random) {
    const struct extent *e = &call->extent;
    const struct shape shape = {number % PLACES, call->rows, call->dim, number % 3};
    const int taken = number % 4 == 0   ? SUM_KEYS - 1 - number % 40
                      : number % 4 == 1 ? number % SUM_KEYS
                                        : 0;
    struct matrix got, right, total, right_total;
    call_open(call, false, number, random);
    matrix_open(&got, shape);
    matrix_open(&right, shape);
    matrix_open(&total, shape);
    matrix_open(&right_total, shape);
    matrix_fill(&got, FILL_RANDOM, random);
    matrix_fill(&total, FILL_RANDOM, random);
    matrix_copy(&right, &got);
    matrix_copy(&right_total, &total);
    k->block_values(call->dtype, call->rows, e->keys, e->lane, e->n, call->dim,
                    call->a.at, call->a.ld, call->blocks.at,
                    (ptrdiff_t)64 * (number % 5), got.at, got.ld, total.at, taken);
    sum_rows(call, &right, &right_total, taken);
    check_bits("block_values", &got, &right, call);
    check_bits("block_values, total", &total, &right_total, call);
    matrix_close(&got);
    matrix_close(&right);
    matrix_close(&total);
    matrix_close(&right_total);
    call_close(call);
}

/* Every type with every fifth of all combinations, another fifth each. */
static void run_all(void (*run)(struct call *, int, struct random *), uint64_t stream) {
    struct random random = random_stream(stream, 0);
    const int counts = COUNT_OF(row_counts), sizes = COUNT_OF(dims);
    const int all = counts * sizes * (int)COUNT_OF(extents) * (int)COUNT_OF(types);
    for (int i = 0; i < all; i += 5 * TEST_SHARE) {
        struct call call = {
            .dtype = types[i / counts / sizes / (int)COUNT_OF(extents)],
            .rows = row_counts[i % counts],
            .dim = dims[i / counts % sizes],
            .extent = extents[i / counts / sizes % (int)COUNT_OF(extents)],
        };
        run(&call, i, &random);
    }
}

static void scores(void **state) {
    (void)state;
    k = sets_begin();
    run_all(run_scores, 103);
}

static void values(void **state) {
    (void)state;
    k = sets_begin();
    run_all(run_values, 104);
}

int main(void) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(scores),
        cmocka_unit_test(values),
    };
    int failed = 0;
    while (sets_next()) {
        failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
    }
    return sets_finish(failed, COUNT_OF(checks));
}
