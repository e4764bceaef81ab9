/*
 * Cutting text into passages.
 *
 * A passage ends where the text pauses - at a line without a letter or digit: an empty
 * line, a lone brace, the frame of a comment - once it has half the lines it may have.
 * Text that does not pause is cut at full length, and the next passage then repeats its
 * last lines, so that a sentence across the cut is whole in one of the two.
 *
 * The full length depends on the text: the longest that gives enough passages to make a
 * choice worth looking at, longer only where there would be too many, since the
 * self-attention map takes work and memory of their square.
 */
#include "passages.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "progress.h"

enum {
    ENOUGH = 1000,   /* passages, where the text has the lines for it */
    TOO_MANY = 4096, /* the weights of the map are 64 MiB then */
    USUAL = 12,      /* lines: a longer passage is about more than one thing */
    SHORTEST = 4,    /* lines: a shorter one says too little to be compared */
    LONGEST = 100    /* lines: a longer one is not worth being pointed to */
};

struct line {
    const char *text;
    size_t size; /* with its newline */
    bool silent; /* no letter or digit in it */
};

static bool is_silent(const char *line, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (isalnum((unsigned char)line[i]) || (unsigned char)line[i] >= 0x80) {
            return false;
        }
    }
    return true;
}

static struct line *split(const struct text_file *file, int *count) {
    const char *end = file->data + file->size;
    size_t lines = 1;
    for (const char *at = file->data; at < end; at++) {
        lines += *at == '\n';
    }

    struct line *line = memory_get(lines, sizeof *line);
    *count = 0;
    for (const char *at = file->data; at < end; (*count)++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const char *next = stop != NULL ? stop + 1 : end;
        size_t size = (size_t)(next - at);
        line[*count] = (struct line){at, size, is_silent(at, size)};
        at = next;
    }
    return line;
}

static void add(struct passages *passages, const struct passage *passage) {
    int count = passages->count;
    if ((count & (count - 1)) == 0) { /* the room is a power of two, and used up */
        passages->passage = memory_grow(
            passages->passage, count > 0 ? 2 * (size_t)count : 1, sizeof *passage);
    }
    passages->passage[passages->count++] = *passage;
}

/* A passage of lines [first, next) of a file, at most longest; next becomes the line to
 * go on from. */
static struct passage take(const struct line *line, int count, int first, int longest,
                           int *next) {
    int last = first;
    int spoken = 0; /* lines that are not silent */
    int at = first;
    for (; at < count && at - first < longest; at++) {
        if (line[at].silent && spoken >= longest / 2) {
            break;
        }
        if (!line[at].silent) {
            last = at;
            spoken++;
        }
    }
    bool pauses = at == count || line[at].silent;
    *next = pauses ? at : at - longest / 4;
    const char *end = line[last].text + line[last].size;
    return (struct passage){
        .first_line = first + 1,
        .last_line = last + 1,
        .text = line[first].text,
        .size = (size_t)(end - line[first].text),
    };
}

/* The rest of a file, where it is too short to stand alone, goes to the passage before
 * it. */
static void cut_file(struct passages *passages, const struct text *text, int file) {
    int longest = passages->longest;
    int before = passages->count;
    int count;
    struct line *line = split(&text->file[file], &count);
    for (int at = 0; at < count;) {
        if (line[at].silent) {
            at++;
            continue;
        }
        struct passage passage = take(line, count, at, longest, &at);
        passage.file = file;
        int lines = passage.last_line - passage.first_line + 1;
        if (at == count && lines < longest / 2 && passages->count > before) {
            struct passage *extended = &passages->passage[passages->count - 1];
            extended->last_line = passage.last_line;
            extended->size = (size_t)(passage.text + passage.size - extended->text);
        } else {
            add(passages, &passage);
        }
    }
    free(line);
}

static void cut(struct passages *passages, const struct text *text, int longest) {
    passages->count = 0;
    passages->longest = longest;
    for (int i = 0; i < text->file_count; i++) {
        cut_file(passages, text, i);
        progress_tick(i, text->file_count);
    }
}

void passages_cut(struct passages *passages, const struct text *text) {
    passages_close(passages);
    int longest = USUAL;
    cut(passages, text, longest);
    while (passages->count < ENOUGH && longest > SHORTEST) {
        cut(passages, text, --longest);
    }
    /* A file gives one passage at least, so this may not be enough. */
    while (passages->count > TOO_MANY && longest < LONGEST) {
        cut(passages, text, longest += longest / 4);
    }
}

void passages_close(struct passages *passages) {
    free(passages->passage);
    *passages = (struct passages){0};
}
