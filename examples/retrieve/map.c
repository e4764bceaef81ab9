/*
 * Drawing the weights of all passages on each other.
 *
 * Passages lie along both sides in the order of the text: a row attends, a column is
 * attended, and light is weight. With colours a character shows two cells, one above
 * the other, by the upper half block; otherwise one, by its shade. Both make the map
 * square, since characters are about twice as high as wide.
 */
#include "map.h"

#include <stdio.h>

#include "axis.h"
#include "heat.h"

/* From dark over violet and orange to light yellow, in the 256 colours of terminals. */
static int colour_of(double brightness) {
    static const unsigned char ramp[] = {234, 235, 53,  53,  89,  125,
                                         161, 167, 209, 215, 222, 230};
    return ramp[(int)(brightness * (double)(sizeof ramp - 1) + 0.5)];
}

static void draw_shade(const struct terminal *terminal, double brightness) {
    static const char *const shades[] = {" ", "░", "▒", "▓", "█"};
    static const char ascii[] = " .:-=+*#%@";
    if (terminal->utf8) {
        fputs(shades[(int)(brightness * 4 + 0.5)], stdout);
    } else {
        putchar(ascii[(int)(brightness * 9 + 0.5)]);
    }
}

/* Two cells in a character, or two times the same. */
static void draw_pair(double upper, double lower) {
    printf("\033[38;5;%d;48;5;%dm▀", colour_of(upper), colour_of(lower));
}

static bool has_pairs(const struct terminal *terminal) {
    return terminal->colour && terminal->utf8;
}

static void draw_line(const struct terminal *terminal, const struct heat *heat,
                      int line) {
    const double *cell = heat->cell;
    for (int column = 0; column < heat->columns; column++) {
        if (has_pairs(terminal)) {
            const double *upper = &cell[2 * line * heat->columns + column];
            draw_pair(upper[0], upper[heat->columns]);
        } else {
            draw_shade(terminal, cell[line * heat->columns + column]);
        }
    }
    terminal_style(terminal, PLAIN);
}

static void draw_scale(const struct terminal *terminal, const struct heat *heat) {
    enum { STEPS = 24 };
    printf("   even attention ");
    for (int i = 0; i < STEPS; i++) {
        double brightness = (double)i / (STEPS - 1);
        if (has_pairs(terminal)) {
            draw_pair(brightness, brightness);
        } else {
            draw_shade(terminal, brightness);
        }
    }
    terminal_style(terminal, PLAIN);
    printf(" %.0f times that and more\n", heat->brightest);
}

void map_show(const struct search *search, const float *weight) {
    const struct terminal *terminal = &search->terminal;
    int labels = terminal->width * 3 / 10;
    int columns = terminal->width - labels - 1;
    int lines = columns / 2;
    int rows = has_pairs(terminal) ? 2 * lines : lines;
    struct heat heat = heat_open(columns, rows, weight, search->passages.count);
    for (int line = 0; line < lines; line++) {
        axis_label(search, line, lines, labels);
        putchar(' ');
        draw_line(terminal, &heat, line);
        putchar('\n');
    }
    axis_folders(search, columns, labels + 1);
    draw_scale(terminal, &heat);
    heat_close(&heat);
}
