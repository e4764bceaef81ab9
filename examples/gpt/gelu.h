/*
 * GELU (Hendrycks and Gimpel 2016): x times about the probability that a normal number
 * is smaller than x.
 */
#ifndef GPT_GELU_H
#define GPT_GELU_H

#include <stddef.h>

#include "workers.h"

void gelu_forward(struct workers *workers, float *out, const float *in, size_t count);

/* d is the gradient of out, and becomes that of in. */
void gelu_backward(struct workers *workers, float *d, const float *in, size_t count);

#endif
