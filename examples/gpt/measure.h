/*
 * How well the text held out is predicted, in bits per character, which is the same
 * unit for all models, whatever their tokens are.
 */
#ifndef GPT_MEASURE_H
#define GPT_MEASURE_H

#include "run.h"

/* By the model, on so many sequences spread over the text; 0: on all of it. */
double measure_model(struct run *run, int sequences);

/* By bigrams of characters, on all that the model is measured on. */
double measure_characters(const struct run *run);

/* By bigrams of tokens, on the same. */
double measure_tokens(const struct run *run);

/* Turns a sum of losses into bits per character of the tokens lost on. */
double measure_bits(const struct run *run, double loss, const uint16_t *token,
                    size_t count);

#endif
