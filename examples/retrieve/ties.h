/*
 * The map of the text in numbers.
 */
#ifndef RETRIEVE_TIES_H
#define RETRIEVE_TIES_H

#include "search.h"

/* Prints how much weight stays within a file, and which files look at each other. */
void ties_show(const struct search *search, const float *weight);

#endif
