/*
 * RMSNorm (Zhang and Sennrich 2019): every row is scaled to length sqrt(dim), and each
 * of its numbers multiplied by a gain.
 */
#ifndef GPT_NORM_H
#define GPT_NORM_H

#include "workers.h"

/* out (rows, dim) from in (rows, dim), with the scale (rows) of each row. */
void norm_forward(struct workers *workers, float *out, float *scale, const float *in,
                  const float *gain, int rows, int dim);

/* Adds the gradient of in to d_in, and writes that of gain to d_gain. */
void norm_backward(struct workers *workers, float *d_in, float *d_gain,
                   const float *d_out, const float *in, const float *scale,
                   const float *gain, int rows, int dim);

#endif
