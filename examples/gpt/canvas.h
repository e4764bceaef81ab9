/*
 * A picture made of pixels, rectangles and letters.
 */
#ifndef GPT_CANVAS_H
#define GPT_CANVAS_H

#include <stdbool.h>
#include <stddef.h>

struct colour_rgb {
    unsigned char red, green, blue;
};

struct canvas {
    int width, height;
    struct colour_rgb *pixel; /* (height, width) */
};

/* Filled with a colour. */
void canvas_open(struct canvas *canvas, int width, int height,
                 struct colour_rgb colour);

/* What lies outside of the picture is not drawn. */
void canvas_fill(struct canvas *canvas, int x, int y, int width, int height,
                 struct colour_rgb colour);

/* Pixels that a letter takes at scale 1, the space behind and below it included. */
enum { LETTER_WIDTH = 6, LETTER_HEIGHT = 10 };

/* Which way text goes from (x, y). */
enum direction { RIGHTWARDS, UPWARDS };

/* ASCII, from its upper left corner; turned to the left for UPWARDS. Every pixel of a
 * letter is a square of scale pixels. */
void canvas_text(struct canvas *canvas, int x, int y, int scale,
                 enum direction direction, struct colour_rgb colour, const char *text);

/* As a PNG; false and a message if it cannot be written. */
bool canvas_save(const struct canvas *canvas, const char *path);

void canvas_close(struct canvas *canvas);

#endif
