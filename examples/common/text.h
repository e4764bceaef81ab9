/*
 * The text that an example works on: files, read whole.
 */
#ifndef COMMON_TEXT_H
#define COMMON_TEXT_H

#include <stddef.h>

struct text_file {
    char *name; /* as shown to people */
    char *data;
    size_t size;
};

struct text {
    struct text_file *file;
    int file_count;
    size_t bytes;
    int binary;     /* files left out because they hold bytes that are no text, */
    int large;      /* because they are too large to have been written by people, */
    int unreadable; /* because they could not be read */
};

/* Adds a file, or all files below a folder in the order of their names. A path that
 * does not exist ends the program. */
void text_add(struct text *text, const char *path);

/* Adds the text of the libattn project, these files and folders of it, as far as they
 * exist: from the current folder if it is the project's, else from where this program
 * was built. */
void text_add_project(struct text *text, const char *const *part, int count);

void text_close(struct text *text);

#endif
