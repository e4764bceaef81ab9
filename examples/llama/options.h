/*
 * The command line.
 */
#ifndef LLAMA_OPTIONS_H
#define LLAMA_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
    const char *model;
    const char *tokenizer; /* NULL: tokenizer.bin in the folder of the model */
    const char *prompt;
    const char *ids; /* the prompt in numbers, or NULL */
    bool tokens;     /* print numbers instead of text */
    bool go_on;      /* beyond tokens that end a text */
    int length;      /* tokens to write behind the prompt */
    int chunk;       /* tokens of the prompt to read at once; 0: all */
    int32_t cache;   /* ATTN_F32, ATTN_F16, ATTN_BF16 or ATTN_I8 */
    float temperature;
    float top_p;
    uint64_t seed;
    int threads; /* 0: one for each processor */
};

/* Reads the command line; ends the program after --help and where it makes no sense. */
void options_read(struct options *options, int count, char **arguments);

/* The numbers of --ids, each below kinds; free() gives them back. */
int *options_ids(const struct options *options, int kinds, int *count);

#endif
