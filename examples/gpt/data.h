/*
 * What is learned from, and what is held out to see how much was learned.
 */
#ifndef GPT_DATA_H
#define GPT_DATA_H

#include "text.h"
#include "tokens.h"

/* Text, and the same as tokens once data_encode() has been called. */
struct section {
    char *text;
    size_t size;
    uint16_t *token;
    size_t count;
};

struct data {
    struct section train;
    struct section held; /* the last tenth of every file, from a new line on */
    uint64_t hash;       /* of both texts: tells whether they are those of before */
};

/* Divides the text. */
void data_open(struct data *data, const struct text *text);

/* Makes tokens of both sections. Ends the program where one is too short for this
 * context. */
void data_encode(struct data *data, const struct tokens *tokens, int context);

/* The tokens of one sequence of a step, of context + 1 tokens: any in the text. */
const uint16_t *data_sequence(const struct data *data, uint64_t seed, int step,
                              int batch, int index, int context);

/* How many sequences of context targets the section held out has. Sequence i has the
 * tokens from i * context to (i + 1) * context, of which the last is a target only. */
int data_held_sequences(const struct data *data, int context);

void data_close(struct data *data);

#endif
