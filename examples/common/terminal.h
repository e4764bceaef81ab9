/*
 * What the output goes to, and the pieces that drawings are made of.
 */
#ifndef COMMON_TERMINAL_H
#define COMMON_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

enum colour { COLOUR_AUTO, COLOUR_ALWAYS, COLOUR_NEVER };

struct terminal {
    int width;
    bool colour;
    bool utf8; /* else ASCII */
};

enum style { PLAIN, BOLD, DIM, TITLE, MATCH, BAR, GOOD, BAD };

/* Finds out what standard output is. width 0: that of the terminal. */
struct terminal terminal_open(enum colour colour, int width);

/* What is printed from here on has this style. Does nothing without colour. */
void terminal_style(const struct terminal *terminal, enum style style);

/* Prints text in a style, and PLAIN after it. */
void terminal_styled(const struct terminal *terminal, enum style style,
                     const char *text);

/* A bar of cells columns, as full as fraction says; padded with spaces. */
void terminal_bar(const struct terminal *terminal, double fraction, int cells);

/* A column as high as fraction says, one cell. */
void terminal_column(const struct terminal *terminal, double fraction);

/* Prints text of a file, up to columns columns of it: tabs become spaces, and what is
 * not printable a question mark, so that no text can play tricks on the terminal.
 * Returns the columns used. */
int terminal_text(const struct terminal *terminal, const char *text, size_t size,
                  int columns);

/* The first string where the terminal knows UTF-8, else the second. */
const char *terminal_pick(const struct terminal *terminal, const char *utf8,
                          const char *ascii);

#endif
