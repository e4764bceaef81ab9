/*
 * A file is replaced by writing another one and renaming it, which POSIX does in one
 * step. fsync comes before the rename, so that the new name never leads to data that
 * the disk does not have yet, and after it for the folder, which holds the name.
 */
#define _DEFAULT_SOURCE /* fsync, mkdir, fileno */

#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail.h"

char *file_name(const char *path) {
    size_t size = strlen(path) + 1;
    char *copy = memory_get(size, 1);
    memcpy(copy, path, size);
    return copy;
}

char *file_path(const char *folder, const char *name) {
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = memory_get(size, 1);
    snprintf(path, size, "%s/%s", folder, name);
    return path;
}

void folder_make(const char *path) {
    char *part = file_name(path);
    for (char *end = part; end != NULL;) {
        end = strchr(end + 1, '/');
        if (end != NULL) {
            *end = '\0';
        }
        if (mkdir(part, 0777) != 0 && errno != EEXIST) {
            fail(FAILED, "cannot make the folder %s: %s", part, strerror(errno));
        }
        if (end != NULL) {
            *end = '/';
        }
    }
    free(part);
    struct stat about;
    if (stat(path, &about) != 0 || !S_ISDIR(about.st_mode)) {
        fail(FAILED, "%s is no folder", path);
    }
}

/* The disk may lose a new name until its folder is written. Some file systems do not
 * know how, and need not: no error is one. */
static void flush_folder(const char *path) {
    char *folder = file_name(path);
    char *slash = strrchr(folder, '/');
    if (slash != NULL) {
        slash[slash == folder] = '\0';
    }
    int file = open(slash != NULL ? folder : ".", O_RDONLY);
    if (file >= 0) {
        (void)fsync(file);
        close(file);
    }
    free(folder);
}

static bool write_all(const char *path, const struct piece *piece, int count) {
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        return false;
    }
    bool good = true;
    for (int i = 0; i < count && good; i++) {
        good = fwrite(piece[i].data, 1, piece[i].size, file) == piece[i].size;
    }
    good = good && fflush(file) == 0 && fsync(fileno(file)) == 0;
    int error = errno;
    good = fclose(file) == 0 && good;
    if (!good) {
        errno = error;
    }
    return good;
}

bool file_replace(const char *path, const struct piece *piece, int count) {
    size_t size = strlen(path) + sizeof ".new";
    char *fresh = memory_get(size, 1);
    snprintf(fresh, size, "%s.new", path);
    bool good = write_all(fresh, piece, count) && rename(fresh, path) == 0;
    if (good) {
        flush_folder(path);
    } else {
        fprintf(stderr, "%s: cannot write %s: %s\n", program_name, path,
                strerror(errno));
        (void)unlink(fresh);
    }
    free(fresh);
    return good;
}

void *file_read(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return NULL;
    }
    size_t room = 1 << 16;
    char *data = memory_get(room, 1);
    *size = 0;
    for (size_t got = 1; got > 0; *size += got) {
        if (*size == room) {
            data = memory_grow(data, room *= 2, 1);
        }
        got = fread(data + *size, 1, room - *size, file);
    }
    if (ferror(file)) {
        int error = errno;
        free(data);
        data = NULL;
        errno = error;
    }
    fclose(file);
    return data;
}
