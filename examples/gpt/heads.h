/*
 * What each head attends, on the first tokens of a text.
 */
#ifndef GPT_HEADS_H
#define GPT_HEADS_H

#include "run.h"
#include "sample.h"

enum { MOST_SHOWN = 48 }; /* tokens: more cannot be told apart in a picture */

struct heads {
    int layers, heads;
    int count;             /* of tokens */
    const uint16_t *token; /* (count): the sample's */
    float *weights;        /* (layers, heads, count, count) */
};

struct heads heads_open(struct run *run, const struct sample *sample);

/* The weights (count, count) of a head. */
const float *heads_weights(const struct heads *heads, int layer, int head);

/* Draws all heads on the terminal, those of a layer side by side. */
void heads_show(const struct run *run, const struct heads *heads);

void heads_close(struct heads *heads);

#endif
