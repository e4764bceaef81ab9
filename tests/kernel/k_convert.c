/*
 * Rows of storage types to and from f32: every shape and length, at pages without
 * access, and rows that repeat. The values are compared bit for bit with their
 * definition; k_half has all of them.
 */
#include "tests/kernel/cells.h"
#include "tests/kernel/sets.h"
#include "tests/support/stored.h"
#include "tests/support/test.h"

static const struct kernels *k;

static const int32_t types[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_I8};

/* Fails with an element whose bits are not the expected ones. */
static void check_bits(const char *kernel, int32_t dtype, const struct cells *to, int r,
                       int c, uint32_t from, uint32_t expected) {
    const uint32_t got = cells_get(to, r, c);
    if (got != expected) {
        fail_msg("%s %s, type %d, %d x %d, stride %td: [%d][%d] is %#x, should be %#x "
                 "(from %#x)",
                 sets_name(), kernel, (int)dtype, to->rows, to->n, to->ld, r, c,
                 (unsigned)got, (unsigned)expected, (unsigned)from);
    }
}

/* One of the kernels; the other side of it is f32. */
static void check(int32_t dtype, bool widen, struct shape shape,
                  struct random *random) {
    struct cells from, to;
    const bool repeat = random_percent(random, 20);
    cells_open(&from, shape, widen ? stored_size(dtype) : 4);
    shape.gap = 4 - shape.gap;
    cells_open(&to, shape, widen ? 4 : stored_size(dtype));
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            cells_set(&from, r, c, stored_some_float(random_bits(random)));
        }
    }
    const ptrdiff_t ld_from = repeat ? 0 : from.ld;
    if (widen) {
        k->widen(dtype, (float *)(void *)to.at, to.ld, from.at, ld_from, shape.rows,
                 shape.n);
    } else {
        k->narrow(dtype, to.at, to.ld, (const float *)(const void *)from.at, ld_from,
                  shape.rows, shape.n);
    }
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            const uint32_t bits = cells_get(&from, repeat ? 0 : r, c);
            check_bits(widen ? "widen" : "narrow", dtype, &to, r, c, bits,
                       widen ? stored_widened(dtype, bits)
                             : stored_narrowed(dtype, bits));
        }
    }
    cells_close(&from);
    cells_close(&to);
}

/* All shapes, and all lengths of up to three vectors and one element. */
static void check_shapes(bool widen, uint64_t seed) {
    struct random random = random_stream(seed, 0);
    const int lengths = 3 * k->width + 2;
    for (size_t t = 0; t < COUNT_OF(types); t++) {
        if (types[t] == ATTN_I8 && !widen) {
            continue;
        }
        for (int number = 0; number < SHAPES; number++) {
            check(types[t], widen, shape_number(number, k->width), &random);
        }
        for (int number = 0; number < lengths * PLACES; number++) {
            const struct shape shape = {number % PLACES, 3, number / PLACES, 1};
            check(types[t], widen, shape, &random);
        }
    }
}

static void widen(void **state) {
    (void)state;
    k = sets_begin();
    check_shapes(true, 91);
}

static void narrow(void **state) {
    (void)state;
    k = sets_begin();
    check_shapes(false, 92);
}

int main(void) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(widen),
        cmocka_unit_test(narrow),
    };
    int failed = 0;
    while (sets_next()) {
        failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
    }
    return sets_finish(failed, COUNT_OF(checks));
}
