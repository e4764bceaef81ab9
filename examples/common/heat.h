/*
 * The weights of all passages on each other, in a few cells.
 *
 * A cell is the average weight of its part of the matrix, as a multiple of what even
 * attention would give, on a logarithmic scale.
 */
#ifndef COMMON_HEAT_H
#define COMMON_HEAT_H

struct heat {
    int columns, rows;
    double *cell;     /* (rows, columns), from 0: even attention or less, to 1 */
    double brightest; /* what 1 stands for, in multiples of even attention */
};

/* Shrinks the weights (count, count). */
struct heat heat_open(int columns, int rows, const float *weight, int count);

/* Passages [first, last) of a cell when count passages share cells cells. */
void heat_part(int cell, int cells, int count, int *first, int *last);

void heat_close(struct heat *heat);

#endif
