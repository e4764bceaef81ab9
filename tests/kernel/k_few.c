/*
 * The kernels for a few rows, whose other factor lies in memory in any storage type:
 * few_scores, few_values, scale_columns.
 *
 * Scores are compared with float64 within the bound of a sum of dim terms, and bit for
 * bit with what the two rows give alone, elsewhere in memory. Values are compared bit
 * for bit with the chain that their promise leaves, and with the same in two parts.
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

/* Rows up to more than any kernel takes at once, and all remainders of that. */
static const int row_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 71};

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* What an element stands for. */
static float element(const struct cells *cells, int32_t dtype, int r, int c) {
    return float_of(stored_widened(dtype, cells_get(cells, r, c)));
}

/* The numbers of a fill, rounded to the type; bytes of any value. */
static void fill_cells(struct cells *cells, int32_t dtype, int fill,
                       struct random *random) {
    struct matrix numbers;
    matrix_open(&numbers, (struct shape){PLACE_AFTER, cells->rows, cells->n, 0});
    matrix_fill(&numbers, fill, random);
    for (int r = 0; r < cells->rows; r++) {
        for (int c = 0; c < cells->n; c++) {
            const float x = matrix_get(&numbers, r, c);
            uint32_t bits;
            memcpy(&bits, &x, sizeof bits);
            bits = dtype == ATTN_I8 ? (uint32_t)random_bits(random) & 0xff
                                    : stored_narrowed(dtype, bits);
            cells_set(cells, r, c, bits);
        }
    }
    matrix_close(&numbers);
}

/* One call, with everything that it reads and writes. */
struct few {
    int32_t dtype;
    int rows, n, dim;
    float scale;
    struct matrix a, to, old; /* query or weights; scores or sums, before and after */
    struct cells b;           /* keys or values */
    ptrdiff_t ld;             /* of b: 0 is one row for all */
};

static const void *row_of(const struct few *few, int j) {
    return few->b.at + j * few->ld * few->b.size;
}

/* Element c of the row that the kernel takes for row j of b. */
static float b_at(const struct few *few, int j, int c) {
    return element(&few->b, few->dtype, few->ld == 0 ? 0 : j, c);
}

/* The sizes are those of `few`; the type, place and gaps change with `number`. */
static void few_open(struct few *few, int number, bool scores, struct random *random) {
    static const int fills[] = {FILL_RANDOM, FILL_RANDOM, FILL_TINY, FILL_NAN,
                                FILL_ZEROS};
    const int place = number % PLACES, gap = number % 2 * 3;
    const int across = scores ? few->dim : few->n, out = scores ? few->n : few->dim;
    few->dtype = types[number % (int)COUNT_OF(types)];
    matrix_open(&few->a, (struct shape){place, few->rows, across, gap});
    matrix_open(&few->to, (struct shape){place, few->rows, out, 2 * gap});
    matrix_open(&few->old, (struct shape){place, few->rows, out, 0});
    cells_open(&few->b, (struct shape){place, few->n, few->dim, number % 5},
               stored_size(few->dtype));
    matrix_fill(&few->a, fills[random_between(random, 0, 4)], random);
    fill_cells(&few->b, few->dtype, fills[random_between(random, 0, 4)], random);
    if (!scores) { /* scores are not read: they hold NaN */
        matrix_fill(&few->old, FILL_RANDOM, random);
    }
    matrix_copy(&few->to, &few->old);
    few->ld = number % 17 == 0 ? 0 : few->b.ld;
}

static void few_close(struct few *few) {
    matrix_close(&few->a);
    matrix_close(&few->to);
    matrix_close(&few->old);
    cells_close(&few->b);
}

/* The score of two rows that lie alone, each in another place than before. */
static float alone(const struct few *few, int r, int j) {
    const struct shape shape = {(r + j) % PLACES, 1, few->dim, 0};
    struct matrix row, score;
    struct cells other;
    matrix_open(&row, shape);
    matrix_open(&score, (struct shape){PLACE_ODD, 1, 1, 0});
    cells_open(&other, shape, few->b.size);
    for (int c = 0; c < few->dim; c++) {
        row.at[c] = matrix_get(&few->a, r, c);
        cells_set(&other, 0, c, cells_get(&few->b, few->ld == 0 ? 0 : j, c));
    }
    k->few_scores(few->dtype, 1, 1, few->dim, few->scale, row.at, row.ld, other.at,
                  other.ld, score.at, score.ld);
    const float result = score.at[0];
    matrix_close(&row);
    matrix_close(&score);
    cells_close(&other);
    return result;
}

static void check_scores(const struct few *few, struct random *random) {
    for (int r = 0; r < few->rows; r++) {
        for (int j = 0; j < few->n; j++) {
            double sum = 0, size = 0;
            for (int c = 0; c < few->dim; c++) {
                const double x = matrix_get(&few->a, r, c), y = b_at(few, j, c);
                sum += x * y;
                size += fabs(x * y);
            }
            const double factor = fabs((double)few->scale);
            const double bound =
                (few->dim + 2) * U * factor * size + (few->dim * factor + 1) * 0x1p-149;
            const double right = few->scale * sum;
            const float got = matrix_get(&few->to, r, j);
            if (!check_number(got, right, isfinite(bound) ? bound : 0)) {
                matrix_fail("few_scores", &few->to, r, j, got, right);
            }
            if (random_percent(random, 3) && !same_value(got, alone(few, r, j))) {
                matrix_fail("few_scores, alone", &few->to, r, j, got, right);
            }
        }
    }
}

static void run_scores(int rows, int n, int dim, int number, struct random *random) {
    static const float scales[] = {1.0f, 0.125f, -0.7f};
    struct few few = {
        .rows = rows, .n = n, .dim = dim, .scale = scales[number % 7 % 3]};
    few_open(&few, number, true, random);
    k->few_scores(few.dtype, rows, n, dim, few.scale, few.a.at, few.a.ld, few.b.at,
                  few.ld, few.to.at, few.to.ld);
    check_scores(&few, random);
    few_close(&few);
}

/*
 * Calls run() for rows, n and dim of all kinds: one in five of all there are with every
 * type. The numbers of kinds have no factor in common with what is left out.
 */
static void run_sizes(void (*run)(int rows, int n, int dim, int number,
                                  struct random *random),
                      struct random *random) {
    const int w = k->width;
    const int counts[] = {0, 1, 7, 8, 9, w - 1, w, w + 1, 3 * w + 5};
    const int dims[] = {1,     w - 1,     w,     w + 1,     2 * w,      3 * w + 2,
                        4 * w, 5 * w + 1, 8 * w, 8 * w + 1, 15 * w + 3, 17 * w + 5};
    const int all = COUNT_OF(row_counts) * COUNT_OF(counts) * COUNT_OF(dims);
    for (int i = 0; i < all * (int)COUNT_OF(types); i += 5 * TEST_SHARE) {
        const int number = i + i / all, at = i % all; /* another type each time */
        run(row_counts[at % (int)COUNT_OF(row_counts)],
            counts[at / (int)COUNT_OF(row_counts) % (int)COUNT_OF(counts)],
            dims[at / (int)COUNT_OF(row_counts) / (int)COUNT_OF(counts)], number,
            random);
    }
}

static void scores(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(96, 0);
    run_sizes(run_scores, &random);
}

/* A sum as a chain of float operations, from what was there before. */
static float chain(const struct few *few, int r, int c, bool fused) {
    float sum = matrix_get(&few->old, r, c);
    for (int j = 0; j < few->n; j++) {
        const float w = matrix_get(&few->a, r, j), v = b_at(few, j, c);
        const float wv = w * v;
        sum = fused ? fmaf(w, v, sum) : sum + wv;
    }
    return sum;
}

static void check_values(const struct few *few) {
    int fused = 0, plain = 0;
    for (int r = 0; r < few->rows; r++) {
        for (int c = 0; c < few->dim; c++) {
            const float got = matrix_get(&few->to, r, c);
            fused += same_value(got, chain(few, r, c, true));
            plain += same_value(got, chain(few, r, c, false));
        }
    }
    if (fused < few->rows * few->dim && plain < few->rows * few->dim) {
        fail_msg("%s few_values, type %d, %d x %d x %d: not one chain of ascending j",
                 sets_name(), (int)few->dtype, few->rows, few->n, few->dim);
    }
}

/* The same, the first rows of values in a call and the others in a second. */
static void check_parts(struct few *few, int first) {
    struct matrix whole;
    matrix_open(&whole, (struct shape){PLACE_AFTER, few->rows, few->dim, 0});
    matrix_copy(&whole, &few->to);
    matrix_copy(&few->to, &few->old);
    k->few_values(few->dtype, few->rows, first, few->dim, few->a.at, few->a.ld,
                  row_of(few, 0), few->ld, few->to.at, few->to.ld);
    k->few_values(few->dtype, few->rows, few->n - first, few->dim, few->a.at + first,
                  few->a.ld, row_of(few, first), few->ld, few->to.at, few->to.ld);
    for (int r = 0; r < few->rows; r++) {
        for (int c = 0; c < few->dim; c++) {
            const float got = matrix_get(&few->to, r, c);
            const float right = matrix_get(&whole, r, c);
            if (!same_value(got, right)) {
                matrix_fail("few_values, in parts", &few->to, r, c, got, right);
            }
        }
    }
    matrix_close(&whole);
}

static void run_values(int rows, int n, int dim, int number, struct random *random) {
    struct few few = {.rows = rows, .n = n, .dim = dim};
    few_open(&few, number, false, random);
    k->few_values(few.dtype, rows, n, dim, few.a.at, few.a.ld, few.b.at, few.ld,
                  few.to.at, few.to.ld);
    check_values(&few);
    check_parts(&few, (int)random_between(random, 0, n));
    few_close(&few);
}

static void values(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(97, 0);
    run_sizes(run_values, &random);
}

static void check_columns(struct shape shape, int fill, int step,
                          struct random *random) {
    struct matrix s, old, factor;
    matrix_open(&s, shape);
    matrix_open(&old, shape);
    matrix_open(&factor, (struct shape){shape.place, 1,
                                        shape.n > 0 ? (shape.n - 1) * step + 1 : 0, 0});
    matrix_fill(&old, fill, random);
    matrix_copy(&s, &old);
    matrix_fill(&factor, shape.n % 2 ? FILL_RANDOM : fill, random);
    k->scale_columns(s.at, s.ld, shape.rows, shape.n, factor.at, step);
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            const float right = matrix_get(&old, r, c) * factor.at[(ptrdiff_t)c * step];
            if (!same_value(matrix_get(&s, r, c), right)) {
                matrix_fail("scale_columns", &s, r, c, matrix_get(&s, r, c), right);
            }
        }
    }
    matrix_close(&s);
    matrix_close(&old);
    matrix_close(&factor);
}

static void columns(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(98, 0);
    for (int number = 0; number < SHAPES; number++) {
        for (int fill = 0; fill < FILLS; fill++) {
            for (int step = 0; step < 3; step++) {
                check_columns(shape_number(number, k->width), fill, step, &random);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(scores),
        cmocka_unit_test(values),
        cmocka_unit_test(columns),
    };
    int failed = 0;
    while (sets_next()) {
        failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
    }
    return sets_finish(failed, COUNT_OF(checks));
}
