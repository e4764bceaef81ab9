/*
 * Which token comes next.
 */
#ifndef LLAMA_CHOOSE_H
#define LLAMA_CHOOSE_H

#include <stdint.h>

struct choice {
    float temperature; /* 1: as the model thinks; 0: the likeliest, without chance */
    float top_p;       /* among the likeliest tokens that together have this chance */
    uint64_t state;    /* of the random numbers; begins with any seed */
    struct candidate *candidate; /* (kinds): room to sort in */
    int kinds;
};

void choice_open(struct choice *choice, float temperature, float top_p, uint64_t seed,
                 int kinds);

/* By the logits (kinds) of all tokens. */
int choose(struct choice *choice, const float *logits);

void choice_close(struct choice *choice);

#endif
