/*
 * Cross-entropy: how surprised a prediction is by what came.
 */
#ifndef GPT_LOSS_H
#define GPT_LOSS_H

#include <stdbool.h>
#include <stdint.h>

#include "workers.h"

/* loss (rows): minus the natural logarithm of the probability that the softmax of a row
 * of logits (rows, kinds) gives its target. With gradients, logits become the gradient
 * of the average loss by them. */
void loss_rows(struct workers *workers, double *loss, float *logits,
               const uint16_t *target, int rows, int kinds, bool gradients);

#endif
