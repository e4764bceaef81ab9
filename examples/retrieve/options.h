/*
 * The command line.
 */
#ifndef RETRIEVE_OPTIONS_H
#define RETRIEVE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "terminal.h"

enum { MOST_HEADS = 64 };

struct options {
    const char **question; /* at least one */
    int question_count;
    const char **path; /* files and folders to search; none: the project's own text */
    int path_count;
    int heads;
    int dim;
    uint64_t seed;
    int top; /* passages to print for a question */
    float temperature;
    int threads; /* 0: one for each processor */
    int width;   /* columns; 0: those of the terminal */
    bool map;
    enum colour colour;
};

/* Reads the command line; ends the program after --help and where it makes no sense. */
void options_read(struct options *options, int count, char **arguments);

void options_close(struct options *options);

#endif
