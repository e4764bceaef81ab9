/*
 * Failing system calls for programs that link the static library with
 *
 *     -Wl,--wrap=malloc,--wrap=calloc,... (tests/CMakeLists.txt)
 *
 * Every call of malloc, calloc, realloc, aligned_alloc, posix_memalign and
 * pthread_create from the program and from libattn goes through wrap.c; the C library's
 * and the BLAS library's own calls do not.
 */
#ifndef TEST_WRAP_H
#define TEST_WRAP_H

/* The n-th allocation from now, counted from 1, fails; 0: none. Starts a new count. */
void wrap_fail_allocation(long n);

/* Allocations since then, and blocks allocated since then less those freed. */
long wrap_allocations(void);
long wrap_live(void);

/* The n-th thread from now, counted from 1, and all after it cannot be created; 0: all
 * can. Starts a new count. */
void wrap_fail_threads_from(long n);

/* Threads asked for since then. */
long wrap_threads(void);

#endif
