/*
 * The printed answer.
 */
#ifndef RETRIEVE_SHOW_H
#define RETRIEVE_SHOW_H

#include "search.h"

/* What is searched, and how it is cut and hashed. */
void show_text(const struct search *search);

/* Question number query of the attention, step by step. */
void show_question(const struct search *search, const struct attention *attention,
                   int query, const char *question, const struct bag *bag);

/* What the map is that follows. */
void show_map_title(const struct search *search, float temperature);

/* What an attention took: for the output, and with more outputs. */
void show_cost(const struct attention *attention, const char *more);

/* How the library went about it, and on what. */
void show_machine(const struct attention *attention);

#endif
