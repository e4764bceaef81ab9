/*
 * A folder for the files of a test.
 */
#ifndef TEST_FOLDER_H
#define TEST_FOLDER_H

#include <stddef.h>

enum { FOLDER_PATH = 256 };

/* One at a time. Closing it removes it with its files. */
void folder_open(void);
void folder_close(void);

/* The path of a file in it, which need not exist. */
void folder_path(char path[FOLDER_PATH], const char *name);

/* How many files there are. */
int folder_count(void);

/* Whole files; the contents are freed by the caller. */
unsigned char *folder_read(const char *path, size_t *bytes);
void folder_write(const char *path, const void *contents, size_t bytes);

#endif
