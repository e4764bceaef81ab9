/*
 * Writing text with a model.
 */
#ifndef GPT_SAMPLE_H
#define GPT_SAMPLE_H

#include "run.h"

struct sample {
    uint16_t *token;
    int prompt; /* of them are given, */
    int count;  /* of all */
};

/* Goes on from the prompt as the options say. */
struct sample sample_write(struct run *run);

/* Prints it. */
void sample_show(const struct run *run, const struct sample *sample);

/* Writes it to text.txt in the folder of the run. */
void sample_save(const struct run *run, const struct sample *sample);

void sample_close(struct sample *sample);

#endif
