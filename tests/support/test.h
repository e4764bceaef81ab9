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

/*
 * Of long lists of cases one in so many runs. The build defines TEST_EMULATED where an
 * emulator runs the tests, some thirty times slower than a processor.
 */
#ifdef TEST_EMULATED
#define TEST_SHARE 7
#else
#define TEST_SHARE 1
#endif

/* What ctest takes for "skipped" when a whole program ends with it. */
enum { EXIT_SKIPPED = 77 };

#endif
