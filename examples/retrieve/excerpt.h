/*
 * Passages as people see them: their place and the lines that matter.
 */
#ifndef RETRIEVE_EXCERPT_H
#define RETRIEVE_EXCERPT_H

#include "search.h"

/* Prints file:first-last of a passage. */
void excerpt_place(const struct search *search, int passage);

/* Prints the lines of a passage in which the question's terms stand closest, those
 * terms highlighted, each line indented by indent columns. */
void excerpt_lines(const struct search *search, int passage, const struct bag *question,
                   int indent);

#endif
