/*
 * The progress line. It is rewritten in place with a carriage return and cleared
 * before anything else is printed.
 */
#include "bench/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/clock.h"

static double first, last; /* when the line was first asked for, and last shown */
static int visible;

void progress_show(const char *format, ...) {
    double now = clock_seconds();
    if (first == 0) {
        first = now;
    }
    if (now - first < 2.0 || now - last < 0.2 || !isatty(fileno(stderr))) {
        return;
    }

    va_list arguments;
    va_start(arguments, format);
    fputs("\r\033[K", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    last = now;
    visible = 1;
}

void progress_clear(void) {
    if (visible) {
        fputs("\r\033[K", stderr);
    }
    visible = 0;
}
