/*
 * What every test program includes: CMocka behind the headers it wants to see first,
 * the library, and the problem strings.
 */
#ifndef TEST_TEST_H
#define TEST_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attn.h"
#include "tests/support/problem.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Of long lists of cases one in so many runs; more than 1 where an emulator runs them.
 */
#ifndef TEST_SHARE
#define TEST_SHARE 1
#endif

/* What ctest takes for "skipped" when a whole program ends with it. */
enum { EXIT_SKIPPED = 77 };

#endif
