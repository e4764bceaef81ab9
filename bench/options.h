/*
 * The command line.
 */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdint.h>

#include "bench/suite.h"

struct options {
    struct suite suite;
    int32_t threads; /* of every case; 0: as the problem says, or one */
    double seconds;
    const char *json; /* file to write, or NULL */
    int explain, check, profile;
};

/* Ends the program after --help and --version, and with status 2 on what it cannot
 * understand. */
void options_read(struct options *options, int count, char **arguments);

#endif
