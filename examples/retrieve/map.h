/*
 * The map of the text: which passages attend which.
 */
#ifndef RETRIEVE_MAP_H
#define RETRIEVE_MAP_H

#include "search.h"

/* Draws the weights (passages, passages) of all passages on each other, and says which
 * files they tie together. */
void map_show(const struct search *search, const float *weight);

#endif
