/*
 * Files of a test, in a folder below TMPDIR; without that in memory where that is,
 * since the library waits for the disk after each file.
 */
#include "tests/support/folder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/test.h"

static char folder[FOLDER_PATH / 2];

void folder_open(void) {
    const char *above = getenv("TMPDIR");
    if (above == NULL || above[0] == '\0') {
        above = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    }
    snprintf(folder, sizeof folder, "%s/attn-test-XXXXXX", above);
    assert_non_null(mkdtemp(folder));
}

void folder_path(char path[FOLDER_PATH], const char *name) {
    snprintf(path, FOLDER_PATH, "%s/%.100s", folder, name);
}

/* Counts the files, and removes them if asked to. */
static int walk(int remove_them) {
    DIR *directory = opendir(folder);
    struct dirent *entry;
    int count = 0;
    assert_non_null(directory);
    while ((entry = readdir(directory)) != NULL) {
        char path[FOLDER_PATH];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        count++;
        folder_path(path, entry->d_name);
        if (remove_them) {
            assert_int_equal(remove(path), 0);
        }
    }
    closedir(directory);
    return count;
}

int folder_count(void) {
    return walk(0);
}

void folder_close(void) {
    walk(1);
    assert_int_equal(rmdir(folder), 0);
}

unsigned char *folder_read(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *bytes = (size_t)ftell(file);
    rewind(file);
    unsigned char *contents = malloc(*bytes + 1);
    assert_non_null(contents);
    assert_int_equal(fread(contents, 1, *bytes, file), *bytes);
    fclose(file);
    return contents;
}

void folder_write(const char *path, const void *contents, size_t bytes) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(contents, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}
