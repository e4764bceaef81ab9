/*
 * Writing with a cache beside writing without: the same text, sooner.
 */
#ifndef GPT_WAYS_H
#define GPT_WAYS_H

#include "sample.h"

/* Lets the model write what is likeliest behind the sample's prompt in both ways, and
 * prints how fast each was and whether the texts are the same. */
void ways_show(struct run *run, const struct sample *sample);

#endif
