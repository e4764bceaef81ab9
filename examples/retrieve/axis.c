/*
 * A cell of the map stands for passages of several files; it is named after the file
 * that has most of them.
 */
#include "axis.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "heat.h"

/* The file that has the most passages in a cell. */
static int file_of(const struct search *search, int cell, int cells) {
    int first, last;
    heat_part(cell, cells, search->passages.count, &first, &last);
    int best = -1;
    int most = 0;
    for (int i = first; i < last;) {
        int file = search->passages.passage[i].file;
        int start = i;
        while (i < last && search->passages.passage[i].file == file) {
            i++;
        }
        if (i - start > most) {
            most = i - start;
            best = file;
        }
    }
    return best;
}

/* A name in so many columns, its end if it is too long. */
static void print_name(const struct terminal *terminal, const char *name, int columns) {
    int length = (int)strlen(name);
    if (length > columns) {
        fputs(terminal_pick(terminal, "…", "~"), stdout);
        name += length - --columns;
        while (((unsigned char)*name & 0xc0) == 0x80) { /* not in the middle of UTF-8 */
            name++;
        }
    }
    int used = terminal_text(terminal, name, strlen(name), columns);
    printf("%*s", columns - used, "");
}

void axis_label(const struct search *search, int line, int lines, int width) {
    int file = file_of(search, line, lines);
    bool same = line > 0 && file_of(search, line - 1, lines) == file;
    print_name(&search->terminal, same ? "" : search->text.file[file].name, width);
}

/* What has no room on these is left out. */
enum { FOLDER_LINES = 3 };

struct tick {
    int column;
    const char *name;
    int length;
};

/* The folder that a file lies in, without those above it; or the file's own name. */
static struct tick tick_of(const char *name, int column) {
    const char *end = strrchr(name, '/');
    if (end == NULL) {
        end = name + strcspn(name, ".");
    }
    const char *start = end;
    while (start > name && start[-1] != '/') {
        start--;
    }
    return (struct tick){column, start, (int)(end - start)};
}

static bool is_same(const struct tick *a, const struct tick *b) {
    return a->length == b->length && memcmp(a->name, b->name, (size_t)a->length) == 0;
}

/* Prints those that have room on one line; the others stay in the list. */
static int print_ticks(const struct search *search, struct tick *tick, int count,
                       int columns, int indent) {
    const struct terminal *terminal = &search->terminal;
    int at = 0; /* the next free column */
    int left = 0;
    for (int i = 0; i < count; i++) {
        int column = tick[i].column;
        if (column < at || column + 1 + tick[i].length > columns) {
            tick[left++] = tick[i];
            continue;
        }
        printf("%*s", at > 0 ? column - at : indent + column, "");
        terminal_styled(terminal, DIM, terminal_pick(terminal, "╵", "'"));
        terminal_text(terminal, tick[i].name, (size_t)tick[i].length, tick[i].length);
        at = column + 1 + tick[i].length;
    }
    if (left < count) {
        putchar('\n');
    }
    return left;
}

void axis_folders(const struct search *search, int columns, int indent) {
    struct tick *tick = memory_get((size_t)columns, sizeof *tick);
    int count = 0;
    struct tick last = {0, "", 0};
    for (int column = 0; column < columns; column++) {
        int file = file_of(search, column, columns);
        struct tick here = tick_of(search->text.file[file].name, column);
        if (!is_same(&here, &last)) {
            tick[count++] = here;
        }
        last = here;
    }
    for (int line = 0; line < FOLDER_LINES && count > 0; line++) {
        count = print_ticks(search, tick, count, columns, indent);
    }
    free(tick);
}
