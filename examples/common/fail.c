/*
 * The program has little to save when something cannot be had, so it says what was
 * missing and ends. A library must never do that; a program may.
 */
#include "fail.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "progress.h"

_Noreturn void fail(int status, const char *format, ...) {
    progress_end();
    fflush(stdout);
    fprintf(stderr, "%s: ", program_name);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(status);
}

void *memory_get(size_t count, size_t size) {
    /* One item where none is asked for: NULL then always means failure. */
    void *memory = calloc(count > 0 ? count : 1, size);
    if (memory == NULL) {
        fail(FAILED, "out of memory: %zu items of %zu bytes", count, size);
    }
    return memory;
}

void *memory_get_aligned(size_t count, size_t size) {
    enum { ALIGNMENT = 64 };
    void *memory = NULL;
    if (count <= (SIZE_MAX - ALIGNMENT) / size) {
        size_t bytes = (count * size + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
        memory = aligned_alloc(ALIGNMENT, bytes);
        if (memory != NULL) {
            memset(memory, 0, bytes);
        }
    }
    if (memory == NULL) {
        fail(FAILED, "out of memory: %zu items of %zu bytes", count, size);
    }
    return memory;
}

void *memory_grow(void *memory, size_t count, size_t size) {
    void *grown = count <= SIZE_MAX / size ? realloc(memory, count * size) : NULL;
    if (grown == NULL) {
        fail(FAILED, "out of memory: %zu items of %zu bytes", count, size);
    }
    return grown;
}
