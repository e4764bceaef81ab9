/*
 * What stands beside and below the map: files and folders.
 */
#ifndef RETRIEVE_AXIS_H
#define RETRIEVE_AXIS_H

#include "search.h"

/* Prints the file that line number line of lines is about, in width columns: nothing if
 * the line before has the same. */
void axis_label(const struct search *search, int line, int lines, int width);

/* Prints the folders below the columns where they begin, indent columns further right.
 */
void axis_folders(const struct search *search, int columns, int indent);

#endif
