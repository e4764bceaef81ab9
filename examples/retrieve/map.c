/*
 * Drawing the weights of all passages on each other.
 *
 * Passages lie along both sides in the order of the text: a row attends, a column is
 * attended, and light is weight.
 */
#include "map.h"

#include <stdio.h>

#include "axis.h"
#include "heat.h"
#include "shade.h"

static void draw_scale(const struct terminal *terminal, const struct heat *heat) {
    printf("   even attention ");
    shade_scale(terminal);
    printf(" %.0f times that and more\n", heat->brightest);
}

void map_show(const struct search *search, const float *weight) {
    const struct terminal *terminal = &search->terminal;
    int labels = terminal->width * 3 / 10;
    int columns = terminal->width - labels - 1;
    int lines = columns / 2;
    int rows = shade_rows(terminal) * lines;
    struct heat heat = heat_open(columns, rows, weight, search->passages.count);
    for (int line = 0; line < lines; line++) {
        axis_label(search, line, lines, labels);
        putchar(' ');
        shade_line(terminal, &heat, line);
        putchar('\n');
    }
    axis_folders(search, columns, labels + 1);
    draw_scale(terminal, &heat);
    heat_close(&heat);
}
