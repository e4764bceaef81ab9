/*
 * Letters for pictures: ASCII, drawn on a grid.
 */
#ifndef GPT_FONT_H
#define GPT_FONT_H

#include <stdbool.h>

enum { FONT_COLUMNS = 5, FONT_ROWS = 9 };

/* What stands in the font where ASCII has DEL: a dot halfway up. */
#define FONT_DOT '\x7f'

/* Whether the letter has ink there. What is neither that nor printable ASCII looks like
 * '?'. */
bool font_pixel(char letter, int row, int column);

#endif
