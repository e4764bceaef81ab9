/*
 * The attention of all heads as pictures.
 */
#ifndef GPT_PICTURE_H
#define GPT_PICTURE_H

#include "heads.h"

/* Writes attention.png, all heads in a grid, and a larger picture of each with the
 * tokens beside it, to the folder of the run. */
void picture_save(const struct run *run, const struct heads *heads);

#endif
