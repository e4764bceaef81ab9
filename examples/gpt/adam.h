/*
 * AdamW: Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter
 * 2019), and clipping of the gradient's length.
 */
#ifndef GPT_ADAM_H
#define GPT_ADAM_H

#include "weights.h"
#include "workers.h"

struct adam {
    float *first;  /* running averages of the gradients, */
    float *second; /* and of their squares, a number for each weight */
};

void adam_open(struct adam *adam, size_t count);

/* Moves the weights against their gradients. step counts from 1; rate is how far, at
 * most about, a weight moves. */
void adam_step(struct adam *adam, struct workers *workers, struct weights *weights,
               const struct weights *gradients, int step, double rate);

void adam_close(struct adam *adam);

#endif
