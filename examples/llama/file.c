/*
 * A mapped file needs no copy, and a second run of the program finds it in memory.
 */
#define _DEFAULT_SOURCE /* mmap */

#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail.h"

struct file file_open(const char *path) {
    struct file file = {.path = path};
    struct stat about;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0 || fstat(descriptor, &about) != 0) {
        fail(FAILED, "%s: %s", path, strerror(errno));
    }
    if (!S_ISREG(about.st_mode)) {
        fail(FAILED, "%s: this is no file", path);
    }
    if (about.st_size == 0) {
        fail(FAILED, "%s: the file is empty", path);
    }
    if ((uintmax_t)about.st_size > SIZE_MAX / 2) {
        fail(FAILED, "%s: %jd bytes are too many", path, (intmax_t)about.st_size);
    }
    file.size = (size_t)about.st_size;
    void *data = mmap(NULL, file.size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (data == MAP_FAILED) {
        fail(FAILED, "%s: %s", path, strerror(errno));
    }
    file.data = data;
    close(descriptor); /* the mapping stays */
    return file;
}

void file_close(struct file *file) {
    if (file->data != NULL) {
        munmap((void *)(uintptr_t)file->data, file->size);
    }
    *file = (struct file){0};
}
