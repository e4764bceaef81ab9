/*
 * Everything that a run of the program is made of.
 */
#ifndef GPT_RUN_H
#define GPT_RUN_H

#include "adam.h"
#include "data.h"
#include "model.h"
#include "options.h"
#include "terminal.h"
#include "tokens.h"

/* How well each step did, in bits per character. */
struct history {
    int step;    /* how many are done */
    float *loss; /* (steps): of the step's own text, before it was learned from */
    float *held; /* (steps): of some text held out, after it; NaN: not measured */
};

struct run {
    struct options options; /* with a complete recipe */
    struct terminal terminal;
    struct workers *workers;
    char *checkpoint; /* the file to save to */
    struct data data;
    struct tokens tokens;
    struct model model;
    struct adam adam;
    struct history history;
    double seconds; /* of training, in this run */
    int steps;      /* done in it */
};

#endif
