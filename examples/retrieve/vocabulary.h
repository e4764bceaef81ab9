/*
 * The terms of the text, numbered from 0.
 */
#ifndef RETRIEVE_VOCABULARY_H
#define RETRIEVE_VOCABULARY_H

#include <stdint.h>

#include "words.h"

struct term {
    char term[TERM_LENGTH + 1];
    char name[TERM_LENGTH + 1]; /* the shortest way it was written, to show to people */
    uint64_t hash;              /* of term: the same in every run */
    int passages;               /* how many it occurs in */
    float idf;                  /* how rare that is */
};

struct vocabulary {
    struct term *term;
    int count;
    int *slot; /* hash table of numbers + 1, 0 is free */
    int slots; /* a power of two, more than twice count */
};

/* The number of a term, or -1. */
int vocabulary_find(const struct vocabulary *vocabulary, const char *term);

/* The number of a term, which is added if it is new. */
int vocabulary_add(struct vocabulary *vocabulary, const char *term, const char *name);

void vocabulary_close(struct vocabulary *vocabulary);

#endif
