/*
 * Random problems over all features at once, with random sets of outputs.
 *
 *     test_compose            the list of every run
 *     test_compose 1000 50    problems 1000 to 1049
 *     test_compose "b2 ..."   one problem, all data and all outputs
 *
 * Whatever fails is printed as a problem string; the last form runs it again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/compose.h"
#include "tests/support/random.h"
#include "tests/support/run.h"

static uint64_t first = 1, count = 300;
static const char *only;

static void random_problems(void **state) {
    (void)state;
    int wrong = 0;
    for (uint64_t number = first; number < first + count && only == NULL;
         number += TEST_SHARE) {
        struct random random = random_stream(number, 5);
        int data;
        struct test_problem problem = compose_problem(number, &data);
        unsigned wanted =
            random_percent(&random, 40)
                ? ONLY_OUT
                : ONLY_OUT | (unsigned)random_bits(&random) % (1 << OUTPUTS);
        wrong += run_engines(&problem, data, wanted);
    }
    for (int data = 0; data < DATA_KINDS && only != NULL; data++) {
        wrong += run_text(only, data);
    }
    assert_int_equal(wrong, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_problems)};
    if (argc == 2) {
        only = argv[1];
    } else if (argc == 3) {
        first = strtoull(argv[1], NULL, 10);
        count = strtoull(argv[2], NULL, 10);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
