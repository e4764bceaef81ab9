/*
 * Merges of any number of states against the formula, some numbers by hand, states that
 * are empty or not finite, merges of merges, and sizes of 0.
 */
#include <math.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/merge.h"

static void all_sizes(void **state) {
    (void)state;
    for (uint64_t number = 0; number < 400; number += TEST_SHARE) {
        const struct merge_problem problem = merge_compose(number);
        struct merge_call call;
        merge_open(&call, &problem);
        merge_run_and_check(&call, NULL);
        merge_close(&call);
    }
}

static void all_sizes_on_threads(void **state) {
    (void)state;
    attn_context *context = merge_context(3);
    for (uint64_t number = 1000; number < 1060; number += TEST_SHARE) {
        struct merge_problem problem = merge_compose(number);
        problem.rows *= 15;
        struct merge_call call;
        merge_open(&call, &problem);
        merge_run_and_check(&call, context);
        merge_close(&call);
    }
    attn_context_destroy(context);
}

/* Sums of 1 and 3: a quarter and three quarters; then one of 4 more. */
static void by_hand(void **state) {
    (void)state;
    float x[3][2] = {{8, -4}, {0, 4}, {2, 10}}, to[2];
    float l[3] = {0, logf(3), logf(4)}, sum;
    attn_tensor outs[3], lses[3], out, lse;
    const attn_tensor *out_list[3], *lse_list[3];
    static const int64_t shape[4] = {1, 1, 1, 2};
    for (int i = 0; i < 3; i++) {
        attn_tensor_init(&outs[i], ATTN_F32, 4, shape, x[i]);
        attn_tensor_init(&lses[i], ATTN_F32, 3, shape, &l[i]);
        out_list[i] = &outs[i];
        lse_list[i] = &lses[i];
    }
    attn_tensor_init(&out, ATTN_F32, 4, shape, to);
    attn_tensor_init(&lse, ATTN_F32, 3, shape, &sum);
    assert_int_equal(attn_merge(NULL, 2, out_list, lse_list, &out, &lse), ATTN_OK);
    assert_true(fabs(to[0] - 2.0) < 1e-6 && fabs(to[1] - 2.0) < 1e-6);
    assert_true(fabs(sum - log(4)) < 1e-6);
    assert_int_equal(attn_merge(NULL, 3, out_list, lse_list, &out, NULL), ATTN_OK);
    assert_true(fabs(to[0] - 2.0) < 1e-6 && fabs(to[1] - 6.0) < 1e-6);
    assert_true(fabs(sum - log(4)) < 1e-6); /* not asked for, not touched */
}

/* One state is what comes out. */
static void one_state(void **state) {
    (void)state;
    const struct merge_problem problem = {1, 2, 3, 17, 130, 50, 20, 0, 1};
    struct merge_call call;
    merge_open(&call, &problem);
    merge_run_and_check(&call, NULL);
    for (int64_t n = 0; n < element_count(&call.lse); n++) {
        const float lse = *(float *)element_nth(&call.lse, n);
        assert_true(lse == *(float *)element_nth(&call.lses[0], n));
        for (int64_t e = n * 130; e < (n + 1) * 130; e++) {
            const float right = *(float *)element_nth(&call.outs[0], e);
            assert_true(*(float *)element_nth(&call.out, e) ==
                        (lse == -INFINITY ? 0 : right));
        }
    }
    merge_close(&call);
}

/* Which of n states are empty. */
enum { FIRST, LAST, BOTH_ENDS, ALL_BUT_FIRST, ALL_BUT_LAST, ALL, PATTERNS };

static int is_empty(int pattern, int32_t i, int32_t n) {
    switch (pattern) {
    case FIRST:
        return i == 0;
    case LAST:
        return i == n - 1;
    case BOTH_ENDS:
        return i == 0 || i == n - 1;
    case ALL_BUT_FIRST:
        return i > 0;
    case ALL_BUT_LAST:
        return i < n - 1;
    default:
        return 1;
    }
}

/* Each row of the same states; NaN and infinity in their out do not arrive. */
static void empty_states(void **state) {
    (void)state;
    static const int32_t counts[] = {1, 2, 3, 7, 33, 64};
    for (size_t c = 0; c < COUNT_OF(counts); c++) {
        for (int pattern = 0; pattern < PATTERNS; pattern++) {
            const struct merge_problem problem = {
                counts[c], 2, 2, 9, 133, 5, 0, 1, (uint64_t)pattern};
            struct merge_call call;
            merge_open(&call, &problem);
            for (int32_t i = 0; i < problem.count; i++) {
                for (int64_t row = 0; row < element_count(&call.lse); row++) {
                    if (is_empty(pattern, i, problem.count)) {
                        merge_make_empty(&call, i, row);
                    }
                }
            }
            merge_run_and_check(&call, NULL);
            for (int64_t n = 0; pattern == ALL && n < element_count(&call.out); n++) {
                assert_true(*(float *)element_nth(&call.out, n) == 0);
            }
            merge_close(&call);
        }
    }
}

/* +infinity and NaN in an lse: all of its row, and no other. */
static void lses_that_are_not_finite(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY};
    for (int n = 0; n < 2 * 4 * 2; n++) {
        const struct merge_problem problem = {4, 1, 2, 11, 20, 3, 30, 1, (uint64_t)n};
        struct merge_call call;
        merge_open(&call, &problem);
        if (n % 2 == 1) { /* nothing else in the row */
            for (int32_t i = 0; i < 4; i++) {
                merge_make_empty(&call, i, 13);
            }
        }
        *(float *)element_nth(&call.lses[n / 2 % 4], 13) = bad[n / 8];
        merge_run_and_check(&call, NULL);
        assert_true(isnan(*(float *)element_nth(&call.lse, 13)));
        assert_true(isnan(*(float *)element_nth(&call.out, INT64_C(13) * 20)));
        assert_true(isfinite(*(float *)element_nth(&call.out, 13 * 20 - 1)));
        assert_true(isfinite(*(float *)element_nth(&call.out, INT64_C(14) * 20)));
        merge_close(&call);
    }
}

/* NaN and infinity of a state that counts reach their element alone, even where the
 * state has no weight left; largest numbers do not become infinite. */
static void outs_that_are_not_finite(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, 0x1.fp127f};
    for (int n = 0; n < 3 * 2; n++) {
        const struct merge_problem problem = {3, 1, 2, 11, 20, 0, 0, 1, (uint64_t)n};
        struct merge_call call;
        merge_open(&call, &problem);
        for (int32_t i = 0; i < 3; i++) {
            if (i == 1 || n / 2 == 2) {
                *(float *)element_nth(&call.outs[i], 45) = bad[n / 2];
            }
        }
        *(float *)element_nth(&call.lses[1], 2) = n % 2 == 0 ? 0.0f : -1000.0f;
        merge_run_and_check(&call, NULL);
        for (int64_t e = 0; e < element_count(&call.out); e++) {
            assert_int_equal(isfinite(*(float *)element_nth(&call.out, e)) != 0,
                             e != 45 || n / 2 == 2);
        }
        merge_close(&call);
    }
}

/* Distances that only float64 holds: the nearer state takes all. */
static void largest_lses(void **state) {
    (void)state;
    const struct merge_problem problem = {3, 1, 1, 5, 6, 0, 0, 1, 3};
    struct merge_call call;
    merge_open(&call, &problem);
    for (int64_t row = 0; row < 5; row++) {
        *(float *)element_nth(&call.lses[0], row) = -0x1.fffffep127f;
        *(float *)element_nth(&call.lses[1], row) = row % 2 ? 0x1.fffffep127f : 1e30f;
        *(float *)element_nth(&call.lses[2], row) = row % 2 ? 0x1.fffffep127f : -80;
    }
    merge_run_and_check(&call, NULL);
    merge_close(&call);
}

/* ---------------------------------------------------------------- merges of merges */

/* A state of which the oracle knows how far off it may be. */
struct known {
    attn_tensor *out, *lse;
    struct merge_number *out_numbers, *lse_numbers;
};

/* Merges two states into the first, in the library and in the oracle. */
static void merge_two(struct known *a, const struct known *b) {
    const int64_t rows = element_count(a->lse), dim = a->out->shape[3];
    for (int64_t row = 0; row < rows; row++) {
        const struct merge_number lse[2] = {a->lse_numbers[row], b->lse_numbers[row]};
        for (int64_t e = row * dim; e < (row + 1) * dim; e++) {
            const struct merge_number out[2] = {a->out_numbers[e], b->out_numbers[e]};
            a->out_numbers[e] = merge_out(2, lse, out);
        }
        a->lse_numbers[row] = merge_lse(2, lse);
    }
    const attn_tensor *outs[2] = {a->out, b->out}, *lses[2] = {a->lse, b->lse};
    assert_int_equal(attn_merge(NULL, 2, outs, lses, a->out, a->lse), ATTN_OK);
}

enum { TREE = 7, TREE_ROWS = 12, TREE_DIM = 10 };

/* Seven states two at a time, in any order and bracketing, in place: always the state
 * of all, within what the roundings on the way allow. */
static void any_bracketing(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        const struct merge_problem problem = {
            TREE, 1, 2, TREE_ROWS / 2, TREE_DIM, seed % 3 * 10.0, 20, 1, seed};
        struct merge_call call;
        struct known known[TREE];
        static struct merge_number out[TREE][TREE_ROWS * TREE_DIM];
        static struct merge_number lse[TREE][TREE_ROWS];
        struct random random = random_stream(104, seed);
        merge_open(&call, &problem);
        merge_expect(&call);
        for (int i = 0; i < TREE; i++) {
            for (int64_t e = 0; e < (int64_t)TREE_ROWS * TREE_DIM; e++) {
                out[i][e].value = *(float *)element_nth(&call.outs[i], e);
                out[i][e].error = 0;
            }
            for (int64_t row = 0; row < TREE_ROWS; row++) {
                lse[i][row].value = *(float *)element_nth(&call.lses[i], row);
                lse[i][row].error = 0;
            }
            known[i] = (struct known){&call.outs[i], &call.lses[i], out[i], lse[i]};
        }
        for (int left = TREE; left > 1; left--) {
            const int64_t a = random_between(&random, 0, left - 1);
            const int64_t b = (a + random_between(&random, 1, left - 1)) % left;
            merge_two(&known[a], &known[b]);
            known[b] = known[left - 1];
            if (a == left - 1) {
                known[b] = known[a];
            }
        }
        for (int64_t row = 0; row < TREE_ROWS; row++) {
            const double got = *(float *)element_nth(known[0].lse, row);
            const struct merge_number *number = &known[0].lse_numbers[row];
            assert_true(check_number(number->value, call.lse_value[row], 1e-12));
            assert_true(check_number(got, call.lse_value[row], number->error));
        }
        for (int64_t e = 0; e < (int64_t)TREE_ROWS * TREE_DIM; e++) {
            const double got = *(float *)element_nth(known[0].out, e);
            const struct merge_number *number = &known[0].out_numbers[e];
            assert_true(check_number(number->value, call.out_value[e], 1e-12));
            assert_true(check_number(got, call.out_value[e], number->error));
        }
        merge_close(&call);
    }
}

/* Nothing to do, or lse alone. */
static void sizes_of_0(void **state) {
    (void)state;
    attn_context *context = merge_context(2);
    for (int which = 0; which < 16; which++) {
        const struct merge_problem problem = {3,
                                              which & 1 ? 0 : 2,
                                              which & 2 ? 0 : 3,
                                              which & 4 ? 0 : 5,
                                              which & 8 ? 0 : 7,
                                              1,
                                              20,
                                              0,
                                              (uint64_t)which};
        struct merge_call call;
        merge_open(&call, &problem);
        for (int i = 0; i < 4; i++) {
            attn_tensor *out = i < 3 ? &call.outs[i] : &call.out;
            attn_tensor *lse = i < 3 ? &call.lses[i] : &call.lse;
            out->data = element_count(out) == 0 ? NULL : out->data;
            lse->data = element_count(lse) == 0 ? NULL : lse->data;
        }
        merge_expect(&call);
        merge_run(&call, which % 3 == 0 ? context : NULL);
        merge_check(&call);
        merge_close(&call);
    }
    attn_context_destroy(context);
}

/* Without elements the product of the other sizes may be anything. */
static void sizes_without_elements(void **state) {
    (void)state;
    static const int64_t shapes[][4] = {{INT64_C(1) << 40, INT64_C(1) << 40, 2, 0},
                                        {INT64_MAX, INT64_MAX, INT64_MAX, 0},
                                        {INT64_MAX, 0, INT64_MAX, 5},
                                        {INT64_C(1) << 50, 1, 1, 0}};
    for (size_t n = 0; n < COUNT_OF(shapes); n++) {
        /* an lse of so many rows can only repeat one, or have none */
        float one = 3;
        attn_tensor out = {.dtype = ATTN_F32, .rank = 4, .stride = {0, 0, 0, 1}};
        attn_tensor lse = {.dtype = ATTN_F32, .rank = 3, .stride = {0, 0, 1}};
        const attn_tensor *outs = &out, *lses = &lse;
        memcpy(out.shape, shapes[n], sizeof shapes[n]);
        out.shape[2] = n == 2 ? out.shape[2] : 1;
        memcpy(lse.shape, out.shape, 3 * sizeof *lse.shape);
        lse.data = &one;
        assert_int_equal(attn_merge(NULL, 1, &outs, &lses, &out, NULL), ATTN_OK);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sizes),
        cmocka_unit_test(all_sizes_on_threads),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(one_state),
        cmocka_unit_test(empty_states),
        cmocka_unit_test(lses_that_are_not_finite),
        cmocka_unit_test(outs_that_are_not_finite),
        cmocka_unit_test(largest_lses),
        cmocka_unit_test(any_bracketing),
        cmocka_unit_test(sizes_of_0),
        cmocka_unit_test(sizes_without_elements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
