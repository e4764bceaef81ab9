/*
 * Additive scores and their gradients against their formulas in float64, from powers
 * and from the numbers themselves, within the errors that kernel/kernel.h names; that
 * bits depend on a pair's own numbers alone, and that what has gradient 0 does not
 * arrive.
 */
#include <math.h>
#include <string.h>

#include "tests/kernel/matrix.h"
#include "tests/kernel/sets.h"
#include "tests/support/check.h"

static const struct kernels *k;

/* Queries, keys and a vector of so many features. */
struct pairs {
    struct matrix query, key, turned, vector;
    struct additive numbers;
};

/* Numbers of this size, now and then on the other side of the same, so that their sums
 * are small again. */
static void fill(struct matrix *matrix, float size, struct random *random) {
    for (int r = 0; r < matrix->rows; r++) {
        const float sign = random_percent(random, 50) ? 1.0f : -1.0f;
        for (int c = 0; c < matrix->n; c++) {
            const float some = fmaxf(-1.0f, fminf(1.0f, random_float(random)));
            const float part = random_percent(random, 30) ? sign : some;
            matrix->at[r * matrix->ld + c] = part * size;
        }
    }
}

static void pairs_open(struct pairs *pairs, struct shape shape, int keys, float size,
                       struct random *random) {
    struct shape of_keys = shape, turned = shape, vector = shape;
    of_keys.rows = turned.n = keys;
    turned.rows = shape.n;
    vector.rows = 1;
    matrix_open(&pairs->query, shape);
    matrix_open(&pairs->key, of_keys);
    matrix_open(&pairs->turned, turned);
    matrix_open(&pairs->vector, vector);
    fill(&pairs->query, size, random);
    fill(&pairs->key, size, random);
    matrix_fill(&pairs->vector, FILL_RANDOM, random);
    for (int j = 0; j < keys; j++) {
        for (int c = 0; c < shape.n; c++) {
            pairs->turned.at[c * pairs->turned.ld + j] = matrix_get(&pairs->key, j, c);
        }
    }
    pairs->numbers = (struct additive){
        .rows = shape.rows,
        .keys = keys,
        .dim = shape.n,
        .factor = 0.375f,
        .power = 2.0f,
        .query = pairs->query.at,
        .ld_query = pairs->query.ld,
        .vector = pairs->vector.at,
    };
}

static void pairs_close(struct pairs *pairs) {
    matrix_close(&pairs->query);
    matrix_close(&pairs->key);
    matrix_close(&pairs->turned);
    matrix_close(&pairs->vector);
}

/* Powers of a matrix, which must be within the limit. */
static void powers_open(struct matrix *powers, const struct matrix *of, float sign) {
    const struct shape shape = {PLACE_BEFORE, of->rows, of->n, 3};
    matrix_open(powers, shape);
    assert_true(k->additive.powers(powers->at, powers->ld, of->at, of->ld, of->rows,
                                   of->n, sign));
}

/* Powers of both in place of the numbers; keys as they lie in of_key. */
static void take_powers(struct additive *all, const struct pairs *pairs,
                        const struct matrix *of_key, struct matrix *query,
                        struct matrix *key) {
    powers_open(query, &pairs->query, -1.0f);
    powers_open(key, of_key, 1.0f);
    all->query = query->at;
    all->ld_query = query->ld;
    all->key = key->at;
    all->ld_key = key->ld;
}

static double right_score(const struct pairs *pairs, int r, int j, double *bound) {
    double sum = 0, size = 0;
    for (int c = 0; c < pairs->numbers.dim; c++) {
        const double v = matrix_get(&pairs->vector, 0, c);
        sum += v * tanh((double)matrix_get(&pairs->query, r, c) +
                        matrix_get(&pairs->key, j, c));
        size += fabs(v);
    }
    const double factor = pairs->numbers.factor * (double)pairs->numbers.power;
    *bound = (pairs->numbers.dim + 16) * U * factor * size + 0x1p-149;
    return factor * sum;
}

static void check_all(const struct pairs *pairs, const struct matrix *scores,
                      const char *kernel) {
    for (int r = 0; r < scores->rows; r++) {
        for (int j = 0; j < scores->n; j++) {
            double bound;
            const double right = right_score(pairs, r, j, &bound);
            if (!check_number(matrix_get(scores, r, j), right, bound)) {
                matrix_fail(kernel, scores, r, j, matrix_get(scores, r, j), right);
            }
        }
    }
}

/* One pair alone has the bits that it has among others. */
static void check_alone(const struct additive *all, bool powers,
                        const struct matrix *scores, struct random *random) {
    if (all->rows == 0 || all->keys == 0) {
        return;
    }
    const int r = (int)random_between(random, 0, all->rows - 1);
    const int j = (int)random_between(random, 0, all->keys - 1);
    struct additive one = *all;
    float alone;
    one.rows = one.keys = 1;
    one.query += r * all->ld_query;
    one.key += j;
    k->additive.scores(&one, powers, &alone, 1);
    assert_true(same_bits(alone, matrix_get(scores, r, j)));
}

static void check_scores(struct shape shape, int keys, float size,
                         struct random *random) {
    struct pairs pairs;
    struct matrix scores, query, key;
    const struct shape of_scores = {shape.place, shape.rows, keys, shape.gap};
    pairs_open(&pairs, shape, keys, size, random);
    struct additive few = pairs.numbers, turned = pairs.numbers;
    few.key = pairs.key.at;
    few.ld_key = pairs.key.ld;
    turned.key = pairs.turned.at;
    turned.ld_key = pairs.turned.ld;
    matrix_open(&scores, of_scores);
    k->additive.few(&few, scores.at, scores.ld);
    check_all(&pairs, &scores, "additive_few");
    k->additive.scores(&turned, false, scores.at, scores.ld);
    check_all(&pairs, &scores, "additive_scores of numbers");
    check_alone(&turned, false, &scores, random);
    if (size < ADDITIVE_MOST) {
        take_powers(&turned, &pairs, &pairs.turned, &query, &key);
        k->additive.scores(&turned, true, scores.at, scores.ld);
        check_all(&pairs, &scores, "additive_scores of powers");
        check_alone(&turned, true, &scores, random);
        matrix_close(&query);
        matrix_close(&key);
    }
    matrix_close(&scores);
    pairs_close(&pairs);
}

static const float sizes[] = {1.0f, 0.01f, 8.0f, 39.9f, 1e-30f, 60.0f, 1e30f};

/* Features in the lanes, or keys. */
static void scores(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(61, 0);
    for (int number = 0; number < SHAPES; number++) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            const int keys = (int)random_between(&random, 0, 2 * k->width + 3);
            check_scores(shape_number(number, k->width), keys, sizes[i], &random);
        }
    }
    const struct shape wide = {PLACE_ODD, 5, 5 * k->width + 3, 1};
    check_scores(wide, 3 * k->width - 1, 2.0f, &random);
}

/* What has no power is told apart, each such number in each place of a row. */
static void powers(void **state) {
    (void)state;
    static const float beyond[] = {40.0f, -40.0f, 1e30f, INFINITY, -INFINITY, NAN};
    k = sets_begin();
    struct matrix from, to;
    const struct shape shape = {PLACE_ODD, 1, 2 * k->width + 3, 1};
    matrix_open(&from, shape);
    matrix_open(&to, shape);
    matrix_set(&from, -39.99f);
    assert_true(k->additive.powers(to.at, to.ld, from.at, from.ld, 1, from.n, -1.0f));
    const double right = -exp(2.0 * -39.99f);
    for (int c = 0; c < from.n; c++) {
        assert_true(check_number(to.at[c], right, 3 * U * fabs(right)));
    }
    for (int c = 0; c < from.n; c++) {
        for (size_t i = 0; i < COUNT_OF(beyond); i++) {
            from.at[c] = beyond[i];
            assert_false(
                k->additive.powers(to.at, to.ld, from.at, from.ld, 1, from.n, 1.0f));
        }
        from.at[c] = -39.99f;
    }
    matrix_close(&from);
    matrix_close(&to);
}

/* Gradients by three sums, each with what was there before and with its bound. */
struct right {
    double value, bound;
};

static void add(struct right *sum, double value, double error) {
    sum->value += value;
    sum->bound += error + 0x1p-145;
}

enum { ROWS_MOST = 11, DIM_MOST = 300, KEYS_MOST = 40 };
static struct right of_query[ROWS_MOST][DIM_MOST], of_key[KEYS_MOST][DIM_MOST],
    of_vector[DIM_MOST];

static void make_right(const struct pairs *pairs, const struct matrix *g,
                       double vector_factor) {
    memset(of_query, 0, sizeof of_query);
    memset(of_key, 0, sizeof of_key);
    memset(of_vector, 0, sizeof of_vector);
    const double terms = 4 + pairs->numbers.rows * pairs->numbers.keys;
    for (int r = 0; r < g->rows; r++) {
        for (int j = 0; j < g->n; j++) {
            const double gradient = matrix_get(g, r, j);
            for (int c = 0; gradient != 0 && c < pairs->numbers.dim; c++) {
                const double x = (double)matrix_get(&pairs->query, r, c) +
                                 matrix_get(&pairs->key, j, c);
                const double t = tanh(x), slope = 1 / (cosh(x) * cosh(x));
                const double v = matrix_get(&pairs->vector, 0, c);
                const double part = pairs->numbers.factor * v * gradient;
                const double slope_error =
                    (32 + 4 * fmin(fabs(x), 100)) * U * slope + 0x1p-55;
                const double rounding = fabs(part) * (slope_error + terms * U * slope);
                add(&of_query[r][c], part * slope, rounding);
                add(&of_key[j][c], part * slope, rounding);
                add(&of_vector[c], vector_factor * gradient * t,
                    fabs(vector_factor * gradient) * (8 + terms) * U);
            }
        }
    }
}

static void compare(const char *kernel, const struct matrix *sums, int r,
                    const struct right *right) {
    for (int c = 0; c < sums->n; c++) {
        const double before = 2.0; /* what matrix_set() has put there */
        const double got = matrix_get(sums, r, c), expected = before + right[c].value;
        const double bound = right[c].bound + 64 * U * (before + fabs(right[c].value));
        if (!check_number(got, expected, bound)) {
            matrix_fail(kernel, sums, r, c, got, expected);
        }
    }
}

static void check_gradients(struct shape shape, int keys, float size, int fill_g,
                            bool spoil, struct random *random) {
    struct pairs pairs;
    struct matrix g, query, key, to_query, to_key, to_vector;
    const struct shape of_g = {shape.place, shape.rows, keys, shape.gap};
    const struct shape rows = {PLACE_ODD, shape.rows, shape.n, 0};
    const struct shape of_keys = {PLACE_AFTER, keys, shape.n, 0};
    const struct shape one = {PLACE_BEFORE, 1, shape.n, 0};
    const bool powers = size < ADDITIVE_MOST && !spoil;
    pairs_open(&pairs, shape, keys, size, random);
    matrix_open(&g, of_g);
    matrix_fill(&g, fill_g, random);
    for (int j = 0; spoil && j < keys; j += 2) {
        for (int r = 0; r < shape.rows; r++) {
            g.at[r * g.ld + j] = 0.0f;
        }
        for (int c = 0; c < shape.n; c++) {
            pairs.key.at[j * pairs.key.ld + c] = some_nan(random);
        }
    }
    matrix_open(&to_query, rows);
    matrix_open(&to_key, of_keys);
    matrix_open(&to_vector, one);
    matrix_set(&to_query, 2.0f);
    matrix_set(&to_key, 2.0f);
    matrix_set(&to_vector, 2.0f);
    struct additive_gradients to = {
        .query = to_query.at, .key = to_key.at, .vector = to_vector.at, .factor = 3.0f};
    struct additive all = pairs.numbers;
    all.key = pairs.key.at;
    all.ld_key = pairs.key.ld;
    if (powers) {
        take_powers(&all, &pairs, &pairs.key, &query, &key);
    }
    make_right(&pairs, &g, to.factor);
    k->additive.gradients(&all, powers, g.at, g.ld, &to);
    for (int r = 0; r < shape.rows; r++) {
        compare("additive_gradients of queries", &to_query, r, of_query[r]);
    }
    for (int j = 0; j < keys; j++) {
        compare("additive_gradients of keys", &to_key, j, of_key[j]);
    }
    compare("additive_gradients of vector", &to_vector, 0, of_vector);
    /* each alone, too */
    to.query = to.vector = NULL;
    k->additive.gradients(&all, powers, g.at, g.ld, &to);
    to.key = NULL;
    k->additive.gradients(&all, powers, g.at, g.ld, &to);
    for (int r = 0; r < shape.rows; r++) {
        compare("additive_gradients without queries", &to_query, r, of_query[r]);
    }
    compare("additive_gradients without vector", &to_vector, 0, of_vector);
    if (powers) {
        matrix_close(&query);
        matrix_close(&key);
    }
    matrix_close(&g);
    matrix_close(&to_query);
    matrix_close(&to_key);
    matrix_close(&to_vector);
    pairs_close(&pairs);
}

static void gradients(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(62, 0);
    for (int number = 0; number < SHAPES; number++) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            const int keys = (int)random_between(&random, 0, KEYS_MOST - 1);
            const struct shape shape = shape_number(number, k->width);
            assert_true(shape.n <= DIM_MOST && shape.rows <= ROWS_MOST);
            check_gradients(shape, keys, sizes[i], FILL_RANDOM, false, &random);
            check_gradients(shape, keys, sizes[i], FILL_WHOLE, true, &random);
        }
    }
    const struct shape wide = {PLACE_ODD, 7, 83, 1};
    check_gradients(wide, 21, 2.0f, FILL_RANDOM, false, &random);
}

int main(void) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(scores),
        cmocka_unit_test(powers),
        cmocka_unit_test(gradients),
    };
    int failed = 0;
    while (sets_next()) {
        failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
    }
    return sets_finish(failed, COUNT_OF(checks));
}
