/*
 * Kernels with one right result for each bit: copies, masks, scans, and sums of two
 * numbers. Every set is compared with loops written here, on ordinary and special
 * numbers, in memory that ends at, or starts after, a page that is not there.
 */
#include <math.h>
#include <string.h>

#include "tests/support/rows.h"

#include "tests/kernel/each.h"

static struct random numbers = {7};

static int same(float a, float b) {
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

/* Calls check for every kernel set, size, fill and end of memory. */
static void for_each(void (*check)(const struct kernels *k, int rows, int n, int fill,
                                   int at_end)) {
    int32_t isa = 0;
    const struct kernels *k;
    while ((k = each_kernels(&isa)) != NULL) {
        for (size_t i = 0; i < COUNT_OF(each_rows) * COUNT_OF(each_columns); i++) {
            int rows = each_rows[i % COUNT_OF(each_rows)];
            int n = each_columns[i / COUNT_OF(each_rows)];
            for (int fill = 0; fill < FILLS; fill++) {
                check(k, rows, n, fill, fill % 2);
                check(k, rows, n, fill, !(fill % 2));
            }
        }
    }
}

static void check_transpose(const struct kernels *k, int rows, int n, int fill,
                            int at_end) {
    struct rows from, to;
    rows_open(&from, rows, n, 3, at_end);
    rows_open(&to, n, rows, 5, at_end);
    rows_fill(&from, fill, &numbers);
    k->transpose(to.at, to.ld, from.at, from.ld, rows, n);
    for (int i = 0; i < rows * n; i++) {
        assert_true(same(*rows_at(&to, i % n, i / n), *rows_at(&from, i / n, i % n)));
    }
    rows_need_gaps(&to);
    rows_close(&from);
    rows_close(&to);
}

/* s and bias, the bias with a row stride of 0 in half of the cases; step 0: one column.
 */
static void check_bias(const struct kernels *k, int rows, int n, int fill, int at_end,
                       int step) {
    struct rows s, added, masked, bias;
    int one_row = n % 2, columns = step == 0 && n > 0 ? 1 : n;
    rows_open(&s, rows, n, 2, at_end);
    rows_open(&added, rows, n, 2, at_end);
    rows_open(&masked, rows, n, 2, at_end);
    rows_open(&bias, one_row && rows > 0 ? 1 : rows, columns, 4, at_end);
    ptrdiff_t ld = one_row ? 0 : bias.ld;
    rows_fill(&s, fill, &numbers);
    rows_fill(&bias, (fill + 3) % FILLS, &numbers);
    rows_copy(&added, &s);
    rows_copy(&masked, &s);
    k->add_bias(added.at, added.ld, rows, n, bias.at, ld, step);
    k->mask_bias(masked.at, masked.ld, rows, n, bias.at, ld, step);
    for (int i = 0; i < rows * n; i++) {
        int r = i / n, c = i % n;
        float x = *rows_at(&s, r, c), b = bias.at[r * ld + (ptrdiff_t)c * step];
        assert_true(same(*rows_at(&added, r, c), x + b));
        assert_true(same(*rows_at(&masked, r, c), b == -INFINITY ? -INFINITY : x));
    }
    rows_need_gaps(&added);
    rows_need_gaps(&masked);
    rows_close(&s);
    rows_close(&added);
    rows_close(&masked);
    rows_close(&bias);
}

static void check_bias_matrix(const struct kernels *k, int rows, int n, int fill,
                              int at_end) {
    check_bias(k, rows, n, fill, at_end, 1);
}

static void check_bias_column(const struct kernels *k, int rows, int n, int fill,
                              int at_end) {
    check_bias(k, rows, n, fill, at_end, 0);
}

static void check_mask_bytes(const struct kernels *k, int rows, int n, int fill,
                             int at_end) {
    static const uint8_t bytes[] = {0, 1, 0, 2, 0x80, 0xff, 0};
    struct rows s, masked;
    struct guard guard;
    size_t size = rows > 0 ? (size_t)((rows - 1) * (n + 3) + n) : 0;
    uint8_t *mask = at_end ? guard_before(&guard, size) : guard_after(&guard, size);
    for (size_t i = 0; i < size; i++) {
        mask[i] = bytes[random_between(&numbers, 0, (int64_t)COUNT_OF(bytes) - 1)];
    }
    rows_open(&s, rows, n, 1, at_end);
    rows_open(&masked, rows, n, 1, at_end);
    rows_fill(&s, fill, &numbers);
    rows_copy(&masked, &s);
    k->mask_bytes(masked.at, masked.ld, rows, n, mask, n + 3);
    for (int i = 0; i < rows * n; i++) {
        float want =
            mask[i / n * (n + 3) + i % n] == 0 ? -INFINITY : *rows_at(&s, i / n, i % n);
        assert_true(same(*rows_at(&masked, i / n, i % n), want));
    }
    rows_need_gaps(&masked);
    rows_close(&s);
    rows_close(&masked);
    guard_free(&guard);
}

static void check_scans(const struct kernels *k, int rows, int n, int fill,
                        int at_end) {
    struct rows x;
    rows_open(&x, rows, n, 6, at_end);
    rows_fill(&x, fill, &numbers);
    /* One element that differs, at any place, decides. */
    if (fill == FILL_EQUAL && rows > 0 && n > 0) {
        int i = (int)random_between(&numbers, 0, rows * n - 1);
        static const float odd[] = {-INFINITY, NAN, INFINITY, 2.0f};
        *rows_at(&x, i / n, i % n) = odd[random_between(&numbers, 0, 3)];
    }
    int found = 0;
    bool finite = true;
    for (int i = 0; i < rows * n; i++) {
        float value = *rows_at(&x, i / n, i % n);
        found |= value == -INFINITY ? SCAN_MASKED : SCAN_ATTENDED;
        finite = finite && isfinite(value);
    }
    assert_int_equal(k->scan_bias(x.at, x.ld, rows, n), found);
    assert_int_equal(k->all_finite(x.at, x.ld, rows, n), finite);
    rows_close(&x);
}

static void check_scale(const struct kernels *k, int rows, int n, int fill,
                        int at_end) {
    static const float factor[] = {0.5f, 0.0f, -3.0f, 0x1p-100f, INFINITY};
    struct rows from, to;
    rows_open(&from, rows, n, 2, at_end);
    rows_open(&to, rows, n, 7, at_end);
    rows_fill(&from, fill, &numbers);
    k->scale(to.at, to.ld, from.at, from.ld, rows, n, factor);
    for (int i = 0; i < rows * n; i++) {
        float want = *rows_at(&from, i / n, i % n) * factor[i / n];
        assert_true(same(*rows_at(&to, i / n, i % n), want));
    }
    rows_need_gaps(&to);
    k->scale(from.at, from.ld, from.at, from.ld, rows, n, factor);
    for (int i = 0; i < rows * n; i++) {
        assert_true(same(*rows_at(&to, i / n, i % n), *rows_at(&from, i / n, i % n)));
    }
    rows_close(&from);
    rows_close(&to);
}

static void check_add_columns(const struct kernels *k, int rows, int n, int fill,
                              int at_end) {
    struct rows s, total, want;
    rows_open(&s, rows, n, 2, at_end);
    rows_open(&total, 1, n, 0, at_end);
    rows_open(&want, 1, n, 0, at_end);
    rows_fill(&s, fill, &numbers);
    rows_fill(&total, FILL_RANDOM, &numbers);
    rows_copy(&want, &total);
    k->add_columns(total.at, s.at, s.ld, rows, n);
    for (int i = 0; i < rows * n; i++) {
        want.at[i % n] += *rows_at(&s, i / n, i % n);
    }
    for (int c = 0; c < n; c++) {
        assert_true(same(total.at[c], want.at[c]));
    }
    rows_close(&s);
    rows_close(&total);
    rows_close(&want);
}

#define KERNEL_TEST(name)                                                              \
    static void name(void **state) {                                                   \
        (void)state;                                                                   \
        for_each(check_##name);                                                        \
    }

KERNEL_TEST(transpose)
KERNEL_TEST(bias_matrix)
KERNEL_TEST(bias_column)
KERNEL_TEST(mask_bytes)
KERNEL_TEST(scans)
KERNEL_TEST(scale)
KERNEL_TEST(add_columns)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transpose),   cmocka_unit_test(bias_matrix),
        cmocka_unit_test(bias_column), cmocka_unit_test(mask_bytes),
        cmocka_unit_test(scans),       cmocka_unit_test(scale),
        cmocka_unit_test(add_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
