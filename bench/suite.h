/*
 * The problems of one run, each with the name it was given, in the order given.
 */
#ifndef BENCH_SUITE_H
#define BENCH_SUITE_H

#include "tests/support/problem.h"

struct suite_entry {
    char *name;        /* "" if it has none */
    int backward;      /* whether its text has the word "backward" */
    int cached;        /* or "cache" or "cache=N", */
    int64_t page_keys; /* with this N, else 0 */
    int tuned;         /* or "tuned" */
    struct test_problem problem;
};

struct suite {
    struct suite_entry *entry;
    int count;
};

/* Adds "name: problem" or "problem". Ends the program with a message that starts with
 * where if it is neither. */
void suite_add(struct suite *suite, const char *text, const char *where);

/* Adds every line of a case file, comments and empty lines left out. A word without a
 * slash that is no file here names one of the files in bench/cases: "masks". */
void suite_add_file(struct suite *suite, const char *name);

/* Adds every entry once more, tuned. */
void suite_tune(struct suite *suite);

void suite_close(struct suite *suite);

#endif
