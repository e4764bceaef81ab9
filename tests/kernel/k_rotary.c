/*
 * The rotations of pairs, bit for bit: two products, rounded, and their sum or
 * difference, rounded. In place and not, with one row of angles for all rows and one
 * for each. Where an operand is NaN the result is; which NaN, the set may choose.
 */
#include "tests/kernel/matrix.h"
#include "tests/kernel/sets.h"
#include "tests/support/test.h"

static const struct kernels *k;

/* Where element `which` (0 or 1) of pair i lies in a row. */
static int place(bool halves, int half, int i, int which) {
    return halves ? i + which * half : 2 * i + which;
}

struct angles {
    struct matrix cosines, sines;
    ptrdiff_t ld;
};

static void angles_open(struct angles *angles, struct shape shape, int fill,
                        struct random *random) {
    const bool one_row = random_percent(random, 30);
    if (one_row) {
        shape = shape_of_columns(shape);
    }
    matrix_open(&angles->cosines, shape);
    matrix_open(&angles->sines, shape);
    matrix_fill(&angles->cosines, fill, random);
    matrix_fill(&angles->sines, fill, random);
    angles->ld = one_row ? 0 : angles->cosines.ld;
}

static void angles_close(struct angles *angles) {
    matrix_close(&angles->cosines);
    matrix_close(&angles->sines);
}

static void check_pair(const char *name, const struct matrix *to,
                       const struct matrix *from, const struct angles *angles, int r,
                       int i, int x_at, int y_at) {
    const float x = matrix_get(from, r, x_at), y = matrix_get(from, r, y_at);
    const float c = angles->cosines.at[r * angles->ld + i];
    const float s = angles->sines.at[r * angles->ld + i];
    const float xc = x * c, ys = y * s, xs = x * s, yc = y * c;
    const float right_x = xc - ys, right_y = xs + yc;
    if (!same_value(matrix_get(to, r, x_at), right_x)) {
        matrix_fail(name, to, r, x_at, matrix_get(to, r, x_at), right_x);
    }
    if (!same_value(matrix_get(to, r, y_at), right_y)) {
        matrix_fail(name, to, r, y_at, matrix_get(to, r, y_at), right_y);
    }
}

/*
 * Of halves, `apart` more elements than there are pairs lie between x and y: those in
 * between are not the kernel's.
 */
static void check_rotation(struct shape shape, bool halves, int apart, bool in_place,
                           int fill, int angle_fill, struct random *random) {
    const char *name = halves ? "rotate_halves" : "rotate_pairs";
    const int n = shape.n, half = n + apart;
    struct shape wide = shape;
    wide.n = halves ? n + half : 2 * n;
    struct matrix from, to;
    struct angles angles;
    matrix_open(&from, wide);
    matrix_fill(&from, fill, random);
    wide.gap = in_place ? wide.gap : 4 - wide.gap;
    matrix_open(&to, wide);
    if (in_place || n < half) {
        matrix_copy(&to, &from);
    }
    angles_open(&angles, shape, angle_fill, random);
    const float *source = in_place ? to.at : from.at;
    const ptrdiff_t ld_source = in_place ? to.ld : from.ld;
    if (halves) {
        k->rotate_halves(to.at, to.ld, source, ld_source, shape.rows, n, half,
                         angles.cosines.at, angles.sines.at, angles.ld);
    } else {
        k->rotate_pairs(to.at, to.ld, source, ld_source, shape.rows, n,
                        angles.cosines.at, angles.sines.at, angles.ld);
    }
    for (int r = 0; r < shape.rows; r++) {
        for (int i = 0; i < n; i++) {
            check_pair(name, &to, &from, &angles, r, i, place(halves, half, i, 0),
                       place(halves, half, i, 1));
        }
        for (int c = n; halves && c < half; c++) {
            if (!same_bits(matrix_get(&to, r, c), matrix_get(&from, r, c))) {
                matrix_fail(name, &to, r, c, matrix_get(&to, r, c),
                            matrix_get(&from, r, c));
            }
        }
    }
    matrix_close(&from);
    matrix_close(&to);
    angles_close(&angles);
}

static void check_all(bool halves, uint64_t seed) {
    struct random random = random_stream(seed, 0);
    for (int number = 0; number < SHAPES; number++) {
        const struct shape shape = shape_number(number, k->width);
        for (int fill = 0; fill < FILLS; fill++) {
            const int apart = (number + fill) % 3 * 5;
            const int angle_fill = fill % 3 == 0 ? fill : FILL_RANDOM;
            check_rotation(shape, halves, apart, false, fill, angle_fill, &random);
            check_rotation(shape, halves, apart, true, fill, angle_fill, &random);
        }
    }
}

static void rotate_halves(void **state) {
    (void)state;
    k = sets_begin();
    check_all(true, 61);
}

static void rotate_pairs(void **state) {
    (void)state;
    k = sets_begin();
    check_all(false, 62);
}

/* A row of the input may repeat: a head that all others share. */
static void a_row_that_repeats(void **state) {
    (void)state;
    k = sets_begin();
    float from[6] = {1, 2, 3, 4, 5, 6}, to[4][6];
    const float cosines[3] = {0, 2, 1}, sines[3] = {1, 3, 0};
    const float halves[6] = {-4, -11, 3, 1, 16, 6};
    const float pairs[6] = {-2, 1, -6, 17, 5, 6};
    k->rotate_halves(to[0], 6, from, 0, 4, 3, 3, cosines, sines, 0);
    for (int r = 0; r < 4; r++) {
        assert_memory_equal(to[r], halves, sizeof halves);
    }
    k->rotate_pairs(to[0], 6, from, 0, 4, 3, cosines, sines, 0);
    for (int r = 0; r < 4; r++) {
        assert_memory_equal(to[r], pairs, sizeof pairs);
    }
}

int main(void) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(rotate_halves),
        cmocka_unit_test(rotate_pairs),
        cmocka_unit_test(a_row_that_repeats),
    };
    int failed = 0;
    while (sets_next()) {
        failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
    }
    return sets_finish(failed, COUNT_OF(checks));
}
