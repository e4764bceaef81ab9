/*
 * Shrinking a matrix of weights to as many cells as a terminal has.
 */
#include "heat.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

void heat_part(int cell, int cells, int count, int *first, int *last) {
    *first = (int)((long)cell * count / cells);
    *last = (int)((long)(cell + 1) * count / cells);
    if (*last == *first) { /* more cells than passages: some are shown twice */
        *last = *first + 1;
    }
}

static int compare(const void *a, const void *b) {
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Turns averages into brightness. The brightest hundredth is all the same, so that a
 * few cells do not decide what the others look like. */
static void shade(struct heat *heat) {
    size_t count = (size_t)heat->columns * (size_t)heat->rows;
    double *sorted = memory_get(count, sizeof *sorted);
    memcpy(sorted, heat->cell, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare);
    heat->brightest = fmax(sorted[count - 1 - count / 100], 2);
    free(sorted);
    double range = log(heat->brightest);
    for (size_t i = 0; i < count; i++) {
        heat->cell[i] = heat->cell[i] > 1 ? fmin(log(heat->cell[i]) / range, 1) : 0;
    }
}

struct heat heat_open(int columns, int rows, const float *weight, int count) {
    struct heat heat = {columns, rows, NULL, 0};
    heat.cell = memory_get((size_t)rows * (size_t)columns, sizeof *heat.cell);
    double *cell = heat.cell;
    for (int row = 0; row < rows; row++) {
        int top, bottom;
        heat_part(row, rows, count, &top, &bottom);
        for (int column = 0; column < columns; column++, cell++) {
            int left, right;
            heat_part(column, columns, count, &left, &right);
            double sum = 0;
            for (int i = top; i < bottom; i++) {
                for (int j = left; j < right; j++) {
                    sum += (double)weight[(long)i * count + j];
                }
            }
            *cell = sum * count / ((double)(bottom - top) * (right - left));
        }
    }
    shade(&heat);
    return heat;
}

void heat_close(struct heat *heat) {
    free(heat->cell);
    *heat = (struct heat){0};
}
