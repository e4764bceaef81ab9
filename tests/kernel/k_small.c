/*
 * The kernel small against the kernels that it stands for, one after the other, to the
 * bit: sizes around the vector's, queries, keys and values with gaps between rows and
 * between pages that cannot be touched, bands, and numbers that products and softmax
 * get wrong. A second check says what it must not do: leave a masked key's trace, or
 * divide by nothing.
 */
#include <math.h>
#include <string.h>

#include "tests/kernel/matrix.h"
#include "tests/kernel/sets.h"
#include "tests/support/check.h"

static const struct kernels *k;

enum { QUERY, KEY, VALUE, RESULT, MAXIMUM, SUM, FACTOR, SCRATCH, MATRICES };

struct head {
    struct small small;
    struct matrix of[MATRICES], right_out;
    struct matrix turned, scores, right_maximum, right_sum, right_factor;
};

static struct shape some_shape(struct random *random, int rows, int n) {
    return (struct shape){.place = (int)random_between(random, 0, PLACES - 1),
                          .rows = rows,
                          .n = n,
                          .gap = (int)random_between(random, 0, 1) * 3};
}

static int scratch_floats(int key_dim) {
    const int w = k->width;
    return (SMALL_KEYS + (key_dim + w - 1) / w * w) * w;
}

static void head_open(struct head *head, const struct small *sizes, int fill,
                      struct random *random) {
    struct small *small = &head->small;
    *small = *sizes;
    const int rows = small->rows, keys = small->keys;
    const int lengths[] = {rows, keys, keys, rows, 1, 1, 1, 1};
    const int columns[] = {small->key_dim,
                           small->key_dim,
                           small->value_dim,
                           small->value_dim,
                           rows,
                           rows,
                           rows,
                           scratch_floats(small->key_dim)};
    for (int i = 0; i < MATRICES; i++) {
        matrix_open(&head->of[i], some_shape(random, lengths[i], columns[i]));
    }
    matrix_open(&head->right_out, some_shape(random, rows, small->value_dim));
    matrix_open(&head->turned, some_shape(random, small->key_dim, keys));
    matrix_open(&head->scores, some_shape(random, rows, keys));
    matrix_open(&head->right_maximum, some_shape(random, 1, rows));
    matrix_open(&head->right_sum, some_shape(random, 1, rows));
    matrix_open(&head->right_factor, some_shape(random, 1, rows));
    matrix_fill(&head->of[QUERY], fill, random);
    matrix_fill(&head->of[KEY], random_percent(random, 50) ? fill : FILL_RANDOM,
                random);
    matrix_fill(&head->of[VALUE], FILL_WIDE, random);
    small->query = head->of[QUERY].at;
    small->key = head->of[KEY].at;
    small->value = head->of[VALUE].at;
    small->ld_query = head->of[QUERY].ld;
    small->ld_key = head->of[KEY].ld;
    small->ld_value = head->of[VALUE].ld;
    small->out = head->of[RESULT].at;
    small->ld_out = head->of[RESULT].ld;
    small->maximum = head->of[MAXIMUM].at;
    small->sum = head->of[SUM].at;
    small->factor = head->of[FACTOR].at;
}

static void head_close(struct head *head) {
    for (int i = 0; i < MATRICES; i++) {
        matrix_close(&head->of[i]);
    }
    struct matrix *others[] = {&head->right_out,     &head->turned,
                               &head->scores,        &head->right_sum,
                               &head->right_maximum, &head->right_factor};
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        matrix_close(others[i]);
    }
}

static bool attends(const struct small *small, int r, int j) {
    return !small->band || (j >= r + small->first && j < r + small->end);
}

/* The same by the kernels for each step. */
static void step_by_step(struct head *head) {
    const struct small *small = &head->small;
    const int rows = small->rows, keys = small->keys;
    struct matrix *scores = &head->scores, *out = &head->right_out;
    float *maximum = head->right_maximum.at, *sum = head->right_sum.at;
    float *factor = head->right_factor.at;
    const float one = 1.0f;
    k->transpose(head->turned.at, head->turned.ld, small->key, small->ld_key, keys,
                 small->key_dim);
    k->product(rows, keys, small->key_dim, &small->scale, 0, small->query,
               small->ld_query, 1, head->turned.at, head->turned.ld, false, scores->at,
               scores->ld);
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < keys; j++) {
            if (!attends(small, r, j)) {
                scores->at[r * scores->ld + j] = -INFINITY;
            }
        }
        maximum[r] = -INFINITY;
        sum[r] = 0.0f;
    }
    k->softmax(scores->at, scores->ld, rows, keys, maximum, sum, factor);
    for (int r = 0; r < rows; r++) {
        factor[r] = sum[r] == 0.0f ? 0.0f : 1.0f / sum[r];
    }
    matrix_set(out, 0.0f);
    k->product(rows, small->value_dim, keys, &one, 0, scores->at, scores->ld, 1,
               small->value, small->ld_value, true, out->at, out->ld);
    k->scale(out->at, out->ld, out->at, out->ld, rows, small->value_dim, factor);
}

static void compare(const char *what, bool any_zero, const struct matrix *got,
                    const struct matrix *right) {
    for (int r = 0; r < got->rows; r++) {
        for (int c = 0; c < got->n; c++) {
            const float a = matrix_get(got, r, c), b = matrix_get(right, r, c);
            if (!same_value(a, b) && !(any_zero && a == b)) {
                matrix_fail(what, got, r, c, a, b);
            }
        }
    }
}

static struct small some_sizes(struct random *random, int number) {
    const int w = k->width;
    struct small small = {
        .rows = (int)random_between(random, 1, 2 * w + 3),
        /* every number of keys */
        .keys = 1 + number % SMALL_KEYS,
        .key_dim = (int)random_between(random, 1, 3 * w + 1),
        .value_dim = (int)random_between(random, 1, 4 * w + 1),
        .scale = random_percent(random, 12) ? 0.0f : 0.3f,
        .band = random_percent(random, 50),
    };
    small.first = random_percent(random, 50)
                      ? -(1 << 20)
                      : (int)random_between(random, -small.rows, small.keys);
    small.end = random_percent(random, 75)
                    ? (int)random_between(random, -small.rows, small.keys)
                    : 1 << 20;
    return small;
}

static void the_steps_to_the_bit(void **state) {
    (void)state;
    static const int fills[] = {FILL_RANDOM,   FILL_WIDE, FILL_EQUAL,
                                FILL_DOMINANT, FILL_HUGE, FILL_ZEROS,
                                FILL_TINY,     FILL_NAN,  FILL_INFINITE};
    k = sets_begin();
    struct random random = {11};
    for (int i = 0; i < 960; i++) {
        struct head head;
        const struct small sizes = some_sizes(&random, i);
        head_open(&head, &sizes, fills[i % (int)COUNT_OF(fills)], &random);
        step_by_step(&head);
        k->small(&head.small, head.of[SCRATCH].at);
        compare("small: maximum", true, &head.of[MAXIMUM], &head.right_maximum);
        compare("small: sum", false, &head.of[SUM], &head.right_sum);
        compare("small: factor", false, &head.of[FACTOR], &head.right_factor);
        compare("small: out", false, &head.of[RESULT], &head.right_out);
        head_close(&head);
    }
}

/* Keys outside the band may be anything; a row that has none inside is 0. */
static void what_the_band_leaves_out_is_not_there(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = {12};
    const int keys = 2 * k->width < 6 ? 2 * k->width : 6;
    const struct small sizes = {.rows = 4,
                                .keys = keys,
                                .key_dim = 5,
                                .value_dim = 3,
                                .scale = 1.0f,
                                .band = true,
                                .first = -(1 << 20),
                                .end = -1};
    struct head head;
    head_open(&head, &sizes, FILL_RANDOM, &random);
    for (int c = 0; c < sizes.key_dim; c++) {
        /* row 3 attends two keys, no row one beyond */
        for (int j = 2; j < keys; j++) {
            head.of[KEY].at[j * head.of[KEY].ld + c] = NAN;
        }
    }
    k->small(&head.small, head.of[SCRATCH].at);
    for (int r = 0; r < sizes.rows; r++) {
        for (int c = 0; c < sizes.value_dim; c++) {
            const float out = matrix_get(&head.of[RESULT], r, c);
            assert_true(isfinite(out));
            assert_true(r >= 2 || out == 0.0f);
            assert_true(r != 2 || out == matrix_get(&head.of[VALUE], 0, c));
        }
    }
    assert_true(head.small.maximum[1] == -INFINITY && head.small.sum[1] == 0.0f);
    assert_true(head.small.factor[1] == 0.0f && head.small.factor[2] == 1.0f);
    head_close(&head);
}

int main(void) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(the_steps_to_the_bit),
        cmocka_unit_test(what_the_band_leaves_out_is_not_there),
    };
    int failed = 0;
    while (sets_next()) {
        failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
    }
    return sets_finish(failed, COUNT_OF(checks));
}
