/*
 * The command line.
 */
#ifndef GPT_OPTIONS_H
#define GPT_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "terminal.h"

/* What decides every bit of a training, besides the text. 0: not given. */
struct recipe {
    int32_t layers, heads, dim, context;
    int32_t vocabulary; /* tokens to learn, at most */
    int32_t batch;      /* sequences of a step */
    int32_t steps;
    int32_t seed;
    float rate; /* of learning, at its highest */
};

struct options {
    struct recipe recipe;
    const char *
        *path; /* files and folders to learn from; none: the project's own text */
    int path_count;
    int threads;            /* 0: one for each processor */
    const char *checkpoint; /* NULL: in the folder out, and not to be read */
    const char *out;
    int stop; /* after this step, as if interrupted; 0: never */

    const char *prompt;
    int length;        /* tokens to write after it */
    float temperature; /* 1: as the model thinks; 0: only what is likeliest */
    int top;           /* of so many tokens with the highest logits one is chosen */
    int32_t cache;     /* see struct manner in write.h */
    int chunk;

    bool check_gradients;
    enum colour colour;
    int width; /* columns; 0: those of the terminal */
};

/* Reads the command line; ends the program after --help and where it makes no sense. */
void options_read(struct options *options, int count, char **arguments);

/* Puts the usual value wherever none was given. */
void recipe_complete(struct recipe *recipe);

/* Takes what was not given from a recipe that was begun, and ends the program where
 * something else was given than that says; only steps may differ. */
void recipe_go_on(struct recipe *recipe, const struct recipe *begun);

/* What is wrong with a complete recipe, or NULL. */
const char *recipe_fault(const struct recipe *recipe);

void options_close(struct options *options);

#endif
