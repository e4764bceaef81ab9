/*
 * The end of the program when something is wrong. A benchmark has nothing to save.
 */
#ifndef BENCH_FAIL_H
#define BENCH_FAIL_H

/* Exit statuses. */
enum {
    FAILED = 1, /* a call failed, a result was wrong, memory or a file was missing */
    MISUSED = 2 /* the arguments or a case file cannot be understood */
};

/* Prints "attn_bench: " and the message, and ends the program. */
_Noreturn void fail(int status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
