/*
 * Files that are whole or not there at all.
 */
#ifndef GPT_FILES_H
#define GPT_FILES_H

#include <stdbool.h>
#include <stddef.h>

/* A copy of a name; free() gives it back. */
char *file_name(const char *path);

/* folder/name; free() gives it back. */
char *file_path(const char *folder, const char *name);

/* Makes a folder and those above it, as far as they do not exist. */
void folder_make(const char *path);

/* A piece of what a file is to hold. */
struct piece {
    const void *data;
    size_t size;
};

/* Writes the pieces to a new file beside path, waits until the disk has them, and gives
 * it the name path: whatever happens on the way, path is the old file or the new one.
 * Returns false and prints why where it fails. */
bool file_replace(const char *path, const struct piece *piece, int count);

/* All of a file, or NULL with errno set. free() gives it back. */
void *file_read(const char *path, size_t *size);

#endif
