/*
 * Files that are read where the system maps them.
 */
#ifndef LLAMA_FILE_H
#define LLAMA_FILE_H

#include <stddef.h>

struct file {
    const char *path;
    const unsigned char *data;
    size_t size;
};

/* A file as it lies on the disk: pages of it are read when they are touched, and kept
 * or dropped as the system likes. Ends the program where it cannot be had. */
struct file file_open(const char *path);

void file_close(struct file *file);

#endif
