/*
 * Choosing one token after the other.
 */
#ifndef GPT_WRITE_H
#define GPT_WRITE_H

#include "run.h"

/* How a text is written. */
struct manner {
    int32_t cache;     /* ATTN_F32, ... : keys and values of earlier tokens stay, stored
                          so; 0: the whole text is read anew for each token */
    int chunk;         /* tokens of the prompt to read at once; 0: all */
    float temperature; /* 1: as the model thinks; 0: always the likeliest token */
};

/* A text, and what it took to write it. */
struct writing {
    uint16_t *token; /* the prompt, and room for what is written behind it */
    int prompt;
    int length;     /* tokens to write */
    float *ahead;   /* (length): how much more likely each was than the next, as a
                       difference of logits, for temperature 0; or NULL: not wanted */
    double seconds; /* result */
    size_t bytes;   /* result: of the cache */
};

/* Writes the text. The model must have room for all of it: see model_open(). */
void write_text(struct run *run, const struct manner *manner, struct writing *writing);

#endif
