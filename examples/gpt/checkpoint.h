/*
 * A training on disk: all that it needs to go on as if nothing had happened.
 */
#ifndef GPT_CHECKPOINT_H
#define GPT_CHECKPOINT_H

#include "run.h"

struct checkpoint {
    struct recipe recipe;
    int step;           /* how many are done */
    uint64_t text_hash; /* data.hash of its text */
    int token_count;
    struct pair *pair;  /* (token_count - CHARACTERS) */
    float *loss, *held; /* (step) */
    size_t weight_count;
    float *weights, *first, *second; /* (weight_count) */
    void *file;                      /* what the pointers point into */
};

/* Saves the run to its file; false if it cannot, and why is printed. */
bool checkpoint_save(const struct run *run);

/* Reads a file. False if there is none; a file that is no whole checkpoint of this
 * program ends it. */
bool checkpoint_read(struct checkpoint *checkpoint, const char *path);

/* Puts weights, averages and history in place. The model must have been opened by the
 * checkpoint's recipe and tokens. */
void checkpoint_restore(const struct checkpoint *checkpoint, struct run *run);

void checkpoint_close(struct checkpoint *checkpoint);

#endif
