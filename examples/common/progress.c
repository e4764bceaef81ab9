/*
 * The line is rewritten in place and taken away at the end, so that it never mixes with
 * the result. Several threads may tick at once: one of them draws, the others go on
 * with their work.
 */
#define _DEFAULT_SOURCE /* clock_gettime, isatty */

#include "progress.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static const char *task;
static double began;
static double
    drawn; /* when the line was last drawn; guarded by drawing, as is visible */
static bool visible;
static atomic_flag drawing = ATOMIC_FLAG_INIT;

double progress_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void progress_begin(const char *name) {
    task = name;
    began = progress_clock();
}

void progress_tick(long done, long total) {
    if (atomic_flag_test_and_set(&drawing)) {
        return;
    }
    double now = progress_clock();
    if (now - began > 2 && now - drawn > 0.2 && isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r\033[K%s: %.0f s", task, now - began);
        if (total > 0) {
            fprintf(stderr, ", %ld of %ld", done, total);
        } else if (done > 0) {
            fprintf(stderr, ", %ld", done);
        }
        drawn = now;
        visible = true;
    }
    atomic_flag_clear(&drawing);
}

void progress_end(void) {
    if (visible) {
        fputs("\r\033[K", stderr);
    }
    visible = false;
}
