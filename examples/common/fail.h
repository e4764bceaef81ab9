/*
 * How the program gives up, and memory that is there or ends it.
 */
#ifndef COMMON_FAIL_H
#define COMMON_FAIL_H

#include <stddef.h>

#if defined(__GNUC__) || defined(__clang__)
#define PRINTS(text, first) __attribute__((format(printf, text, first)))
#else
#define PRINTS(text, first)
#endif

/* What the program is called, in messages; each example defines it. */
extern const char program_name[];

/* Exit statuses. */
enum {
    FAILED = 1, /* nothing could be done */
    MISUSED = 2 /* the command line makes no sense */
};

/* Prints the program's name and the message on stderr, and exits with the status. */
_Noreturn void fail(int status, const char *format, ...) PRINTS(2, 3);

/* Room for count items of this size, zeroed; free() gives it back. */
void *memory_get(size_t count, size_t size);

/* The same, at a multiple of 64 bytes: where vectors like to lie. */
void *memory_get_aligned(size_t count, size_t size);

/* The same memory with room for count items; what is new is not zeroed. */
void *memory_grow(void *memory, size_t count, size_t size);

#endif
