/*
 * The kernel sets to test. A program has a list of checks and runs all of them once for
 * each set that the build has:
 *
 *     int failed = 0;
 *     while (sets_next()) {
 *         failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
 *     }
 *     return sets_finish(failed, COUNT_OF(checks));
 *
 * Every check starts with sets_begin().
 */
#ifndef TEST_KERNEL_SETS_H
#define TEST_KERNEL_SETS_H

#include "kernel/kernel.h"

/* Unit roundoff of float: 2^-24. */
#define U 0x1p-24

/* Goes on to the next set that the build has; false after the last. */
bool sets_next(void);

const char *sets_name(void);

/* The set to check. Skips the check if the processor does not run it. */
const struct kernels *sets_begin(void);

/*
 * What main() returns: 0 if no check failed and each of them began for each set that
 * the build has and the processor runs. Neither is asked of the library here.
 */
int sets_finish(int failed, size_t checks);

/* Runs tests of products in pieces for each set that has them and runs here: plain C,
 * and AMX. Returns how many failed. */
int sets_run_pieces(int (*run)(const struct piece_kernels *kernels, const char *name));

#endif
