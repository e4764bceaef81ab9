/*
 * Message and exit.
 */
#include "bench/fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/progress.h"

void fail(int status, const char *format, ...) {
    progress_clear();
    va_list arguments;
    va_start(arguments, format);
    fputs("attn_bench: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(status);
}
