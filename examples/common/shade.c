/*
 * Each cell is drawn on its own; the style goes back to plain at the end of a line.
 */
#include "shade.h"

#include <stddef.h>
#include <stdio.h>

/* From dark over violet and orange to light yellow, in the 256 colours of terminals. */
static int colour_of(double brightness) {
    static const unsigned char ramp[] = {234, 235, 53,  53,  89,  125,
                                         161, 167, 209, 215, 222, 230};
    return ramp[(int)(brightness * (double)(sizeof ramp - 1) + 0.5)];
}

static void draw_one(const struct terminal *terminal, double brightness) {
    static const char *const shades[] = {" ", "░", "▒", "▓", "█"};
    static const char ascii[] = " .:-=+*#%@";
    if (terminal->utf8) {
        fputs(shades[(int)(brightness * 4 + 0.5)], stdout);
    } else {
        putchar(ascii[(int)(brightness * 9 + 0.5)]);
    }
}

static void draw_pair(double upper, double lower) {
    printf("\033[38;5;%d;48;5;%dm▀", colour_of(upper), colour_of(lower));
}

int shade_rows(const struct terminal *terminal) {
    return terminal->colour && terminal->utf8 ? 2 : 1;
}

void shade_line(const struct terminal *terminal, const struct heat *heat, int line) {
    const double *cell =
        heat->cell + (ptrdiff_t)line * shade_rows(terminal) * heat->columns;
    for (int column = 0; column < heat->columns; column++) {
        if (shade_rows(terminal) == 2) {
            draw_pair(cell[column], cell[heat->columns + column]);
        } else {
            draw_one(terminal, cell[column]);
        }
    }
    terminal_style(terminal, PLAIN);
}

void shade_scale(const struct terminal *terminal) {
    enum { STEPS = 24 };
    for (int i = 0; i < STEPS; i++) {
        double brightness = (double)i / (STEPS - 1);
        if (shade_rows(terminal) == 2) {
            draw_pair(brightness, brightness);
        } else {
            draw_one(terminal, brightness);
        }
    }
    terminal_style(terminal, PLAIN);
}
