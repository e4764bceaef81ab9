/*
 * Passages: a few lines of a file each, which is what gets attended.
 */
#ifndef RETRIEVE_PASSAGES_H
#define RETRIEVE_PASSAGES_H

#include <stddef.h>

#include "text.h"

struct passage {
    int file;
    int first_line, last_line; /* from 1, both included */
    const char *text;          /* inside the file's data */
    size_t size;
};

struct passages {
    struct passage *passage;
    int count;
    int longest; /* lines of a passage at most */
};

/* Cuts the text into passages whose length suits the amount of text. The passages
 * point into the text, which must stay. */
void passages_cut(struct passages *passages, const struct text *text);

void passages_close(struct passages *passages);

#endif
