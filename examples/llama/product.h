/*
 * Products with weights, by BLAS.
 */
#ifndef LLAMA_PRODUCT_H
#define LLAMA_PRODUCT_H

/* What becomes of the numbers that the result holds already. */
enum keep { OVERWRITE, ADD };

/* out (rows, outputs) = in (rows, inputs) weight^T, where weight is (outputs, inputs).
 */
void product(enum keep keep, float *out, const float *in, const float *weight, int rows,
             int outputs, int inputs);

/* So many threads for products, if BLAS is OpenBLAS; 0: as many as it likes. */
void product_threads(int threads);

#endif
