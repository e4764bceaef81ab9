/*
 * Gradients of random problems over all features at once, with random sets of gradients
 * that come in and go out.
 *
 *     test_backward_compose            the list of every run
 *     test_backward_compose 1000 50    problems 1000 to 1049
 *     test_backward_compose "b2 ..."   one problem, all data, each gradient that comes
 *                                      in alone and all together
 *
 * Whatever fails is printed as a problem string; the last form runs it again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/backward.h"
#include "tests/support/compose.h"
#include "tests/support/random.h"
#include "tests/support/run.h"

static uint64_t first = 1, count = 300;
static const char *only;

static int run_number(uint64_t number) {
    struct random random = random_stream(number, 6);
    int data;
    struct test_problem problem = compose_differentiable(number, &data);
    unsigned given = (unsigned)random_between(&random, 1, ALL_INCOMING);
    unsigned wanted = ALL_GRADIENTS & ((unsigned)random_bits(&random) << GRAD_QUERY);
    /* At least one that every problem has. */
    wanted |= 1u << (unsigned)random_between(&random, GRAD_QUERY, GRAD_VALUE);
    return backward_run_and_check(&problem, data,
                                  random_percent(&random, 40) ? ONLY_OF_OUT : given,
                                  random_percent(&random, 60) ? ALL_GRADIENTS : wanted);
}

static int run_only(void) {
    struct test_problem problem = run_parse(only);
    int wrong = 0;
    for (int data = 0; data < DATA_KINDS; data++) {
        wrong += backward_run_and_check(&problem, data, ALL_INCOMING, ALL_GRADIENTS);
        for (unsigned w = 0; w < INCOMING; w++) {
            wrong += backward_run_and_check(&problem, data, 1u << w, ALL_GRADIENTS);
        }
    }
    return wrong;
}

static void random_problems(void **state) {
    (void)state;
    int wrong = only != NULL ? run_only() : 0;
    for (uint64_t number = first; number < first + count && only == NULL;
         number += TEST_SHARE) {
        wrong += run_number(number);
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
