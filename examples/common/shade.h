/*
 * Brightness on a terminal: from 0, dark, to 1, light.
 *
 * With colours and UTF-8 a character shows two cells, one above the other, by the upper
 * half block; otherwise one, by its shade. Both make a square of twice as many columns
 * as lines, since characters are about twice as high as wide.
 */
#ifndef COMMON_SHADE_H
#define COMMON_SHADE_H

#include "heat.h"
#include "terminal.h"

/* Rows of cells in a line of characters: 2 or 1. */
int shade_rows(const struct terminal *terminal);

/* Draws line number line of the heat map. */
void shade_line(const struct terminal *terminal, const struct heat *heat, int line);

/* Draws all degrees of brightness, from left to right. */
void shade_scale(const struct terminal *terminal);

#endif
