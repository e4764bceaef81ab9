/*
 * Layers over all options, forwards and backwards, against the oracle.
 *
 *     test_layer FIRST [COUNT]: problems by number
 */
#include <stdlib.h>

#include "tests/support/layer_check.h"
#include "tests/support/run.h"

static uint64_t first_number = 0, count_of_numbers = 600;

static void all_options(void **state) {
    (void)state;
    for (uint64_t n = 0; n < count_of_numbers; n += TEST_SHARE) {
        const struct layer_problem problem = layer_compose(first_number + n);
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
        cmocka_unit_test(all_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
