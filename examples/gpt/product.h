/*
 * The large products of a network, by BLAS.
 */
#ifndef GPT_PRODUCT_H
#define GPT_PRODUCT_H

#include "workers.h"

/* Which factor is stored transposed. A layer out = in weight with the gradient d_out of
 * its output needs all three: out = in weight is NN, d_in = d_out weight^T is NT, and
 * d_weight = in^T d_out is TN. */
enum form { NN, NT, TN };

/* What becomes of the numbers that the result holds already. */
enum keep { OVERWRITE, ADD };

/* result (rows, columns) = left (rows, inner) right (inner, columns), where left is
 * stored as (inner, rows) for TN, and right as (columns, inner) for NT. */
void product(struct workers *workers, enum form form, enum keep keep, float *result,
             const float *left, const float *right, int rows, int columns, int inner);

/* Every thread that takes part in products calls this once before. */
void product_begin_thread(void);

#endif
