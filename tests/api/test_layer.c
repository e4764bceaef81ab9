/*
 * Layers over all options, forwards and backwards, against the oracle.
 *
 *     test_layer FIRST [COUNT]: problems by number
 */
#include <stdlib.h>

#include "tests/support/layer_check.h"
#include "tests/support/run.h"

static uint64_t first_number = 0, count_of_numbers = 1000;

static void all_options(void **state) {
    (void)state;
    for (uint64_t n = 0; n < count_of_numbers; n += TEST_SHARE) {
        struct layer_problem problem = layer_compose(first_number + n);
        problem.packed = (first_number + n) % 3 == 1;
        layer_run_and_check(&problem);
    }
}

static void samples(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        struct layer_problem problem = layer_sample(n);
        layer_run_and_check(&problem);
        problem.plain = 0;
        problem.packed = 1;
        layer_run_and_check(&problem);
    }
}

/* Rows and features beyond the widths of vectors, tiles and ranges, on threads. */
static void larger_sizes(void **state) {
    (void)state;
    static const int64_t sizes[][3] = {{1, 33, 40}, {2, 18, 33}};
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        const int64_t *size = sizes[n % 2];
        struct layer_problem problem = layer_sample(n);
        problem.batch = size[0];
        problem.q_length = size[1];
        problem.kv_length = problem.inputs > 1 || problem.cross ? size[2] : 0;
        problem.stack.feed_forward_dim += 7;
        problem.threads = 3;
        problem.plain = 0;
        for (problem.packed = 0; problem.packed < 2; problem.packed++) {
            layer_run_and_check(&problem);
        }
    }
}

/* More rows than are summed at once, more columns than one range has, and so few rows
 * that BLAS computes them in parts. */
static void long_and_wide_sums(void **state) {
    (void)state;
    static const int64_t sizes[][3] = {
        {1, 150, 4}, {90, 2, 4}, {1, 2, 270}, {1, 7, 270}};
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        for (int layers = 0; layers < 2; layers++) {
            struct layer_problem problem = layer_sample(layers ? LAYER_STACK : 0);
            problem.batch = sizes[s][0];
            problem.q_length = sizes[s][1];
            problem.layers = layers;
            problem.stack.groups = 1;
            problem.stack.feed_forward_dim = 3;
            problem.outputs = 0;
            problem.plain = 0;
            problem.self.options.embed_dim = sizes[s][2];
            problem.self.options.heads = 1;
            problem.self.options.key_dim = 3;
            layer_run_and_check(&problem);
        }
    }
}

/* Products large enough for tiles. */
static void large_products(void **state) {
    (void)state;
    struct layer_problem problem = layer_sample(LAYER_STACK);
    problem.batch = 4;
    problem.q_length = 65;
    problem.layers = 1;
    problem.stack.groups = 1;
    problem.stack.feed_forward_dim = 64;
    problem.outputs = 0;
    problem.plain = 0;
    problem.threads = 3;
    problem.self.options.embed_dim = 128;
    problem.self.options.heads = 1;
    problem.self.options.key_dim = 32;
    for (problem.packed = 0; problem.packed < 2; problem.packed++) {
        layer_run_and_check(&problem);
    }
}

int main(int argc, char **argv) {
    const int skipped = run_skip_isa();
    if (skipped != 0) {
        return skipped;
    }
    if (argc > 1) {
        first_number = strtoull(argv[1], NULL, 10);
        count_of_numbers = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_options),    cmocka_unit_test(samples),
        cmocka_unit_test(larger_sizes),   cmocka_unit_test(long_and_wide_sums),
        cmocka_unit_test(large_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
