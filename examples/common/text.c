/*
 * Files and folders become text in memory.
 *
 * Folders are walked depth first in the order of names, so that the same tree gives
 * the same passages everywhere. Left out, on the way: hidden names, symbolic links
 * (they may lead in circles), and folders that a build has filled. A file is binary if
 * it holds a zero byte.
 */
#define _DEFAULT_SOURCE /* lstat, scandir, strdup */

#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fail.h"
#include "progress.h"

/* Beyond these a tree is data, and reading it takes longer than a demo may. */
enum { LARGEST_FILE = 4 << 20, LARGEST_TEXT = 256 << 20 };

static char *join(const char *folder, const char *name) {
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/') {
        length--;
    }
    size_t size = length + strlen(name) + 2;
    char *path = memory_get(size, 1);
    snprintf(path, size, "%.*s/%s", (int)length, folder, name);
    return path;
}

static bool holds(const char *folder, const char *name) {
    struct stat about;
    char *path = join(folder, name);
    bool found = stat(path, &about) == 0;
    free(path);
    return found;
}

/* All of a file, or NULL. */
static char *read_all(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return NULL;
    }
    size_t room = 16384;
    char *data = memory_get(room, 1);
    size_t used = 0;
    for (size_t got = 1; got > 0 && used <= LARGEST_FILE; used += got) {
        if (used == room) {
            data = memory_grow(data, room *= 2, 1);
        }
        got = fread(data + used, 1, room - used, file);
    }
    if (ferror(file)) {
        free(data);
        data = NULL;
    }
    fclose(file);
    *size = used;
    return data;
}

static void add_file(struct text *text, const char *path, const char *name) {
    progress_tick(text->file_count, 0);
    size_t size = 0;
    char *data = read_all(path, &size);
    if (data == NULL) {
        fprintf(stderr, "%s: cannot read %s: %s\n", program_name, path,
                strerror(errno));
        text->unreadable++;
    } else if (size > LARGEST_FILE) {
        text->large++;
    } else if (memchr(data, '\0', size) != NULL) {
        text->binary++;
    } else {
        size_t count = (size_t)text->file_count++;
        text->file = memory_grow(text->file, count + 1, sizeof *text->file);
        text->file[count] = (struct text_file){.data = data, .size = size};
        size_t length = strlen(name) + 1;
        text->file[count].name = memory_get(length, 1);
        memcpy(text->file[count].name, name, length);
        text->bytes += size;
        if (text->bytes > LARGEST_TEXT) {
            fail(FAILED, "more than %d MiB of text: please name fewer files",
                 LARGEST_TEXT >> 20);
        }
        return;
    }
    free(data);
}

static int is_visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

/* name is what path is called to people: the same without the way to the project. */
static void add_folder(struct text *text, const char *path, const char *name) {
    if (holds(path, "CMakeCache.txt") || holds(path, "CACHEDIR.TAG")) {
        return;
    }
    struct dirent **entry = NULL;
    int count = scandir(path, &entry, is_visible, alphasort);
    if (count < 0) {
        fprintf(stderr, "%s: cannot read %s: %s\n", program_name, path,
                strerror(errno));
        text->unreadable++;
    }
    for (int i = 0; i < count; i++) {
        char *inner = join(path, entry[i]->d_name);
        char *inner_name =
            strcmp(name, ".") != 0 ? join(name, entry[i]->d_name) : strdup(inner + 2);
        struct stat about;
        if (inner_name == NULL) {
            fail(FAILED, "out of memory");
        }
        if (lstat(inner, &about) == 0 && S_ISDIR(about.st_mode)) {
            add_folder(text, inner, inner_name);
        } else if (lstat(inner, &about) == 0 && S_ISREG(about.st_mode)) {
            add_file(text, inner, inner_name);
        }
        free(inner_name);
        free(inner);
        free(entry[i]);
    }
    free(entry);
}

static void add(struct text *text, const char *path, const char *name) {
    struct stat about;
    if (stat(path, &about) != 0) {
        fail(FAILED, "cannot read %s: %s", path, strerror(errno));
    }
    if (S_ISDIR(about.st_mode)) {
        add_folder(text, path, name);
    } else {
        add_file(text, path, name);
    }
}

void text_add(struct text *text, const char *path) {
    add(text, path, path);
}

void text_add_project(struct text *text, const char *const *part, int count) {
    const char *root = ".";
    if (!holds(root, "include/attn/sdpa.h")) {
#ifdef EXAMPLES_PROJECT
        root = EXAMPLES_PROJECT;
#endif
        if (!holds(root, "include/attn/sdpa.h")) {
            fail(MISUSED,
                 "name the files or folders to read: this is not the folder of "
                 "libattn, whose own text is the default");
        }
    }
    for (int i = 0; i < count; i++) {
        if (!holds(root, part[i])) {
            continue;
        }
        char *path = join(root, part[i]);
        add(text, path, part[i]);
        free(path);
    }
}

void text_close(struct text *text) {
    for (int i = 0; i < text->file_count; i++) {
        free(text->file[i].name);
        free(text->file[i].data);
    }
    free(text->file);
    *text = (struct text){0};
}
