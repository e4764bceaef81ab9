/*
 * The prompt in tokens, what the model writes behind it, and the same as characters.
 */
#include "sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "files.h"
#include "write.h"

struct sample sample_write(struct run *run) {
    const struct options *options = &run->options;
    /* A text begins after something: after a new line, if nothing else is said. */
    const char *prompt = options->prompt[0] != '\0' ? options->prompt : "\n";
    size_t given;
    uint16_t *token = tokens_encode(&run->tokens, prompt, strlen(prompt), &given);
    if (given + (size_t)options->length > (size_t)run->model.rows) {
        fail(MISUSED,
             "a prompt of %zu tokens and --length=%d are more than the %d that this "
             "model has room for",
             given, options->length, run->model.rows);
    }
    struct writing writing = {
        .token = memory_grow(token, given + (size_t)options->length, sizeof *token),
        .prompt = (int)given,
        .length = options->length,
    };
    const struct manner manner = {
        .cache = options->cache,
        .chunk = options->chunk,
        .temperature = options->temperature,
    };
    write_text(run, &manner, &writing);
    return (struct sample){
        .token = writing.token,
        .prompt = writing.prompt,
        .count = writing.prompt + writing.length,
    };
}

/* The characters of tokens [first, end). */
static char *characters(const struct run *run, const struct sample *sample, int first,
                        int end, size_t *size) {
    const struct tokens *tokens = &run->tokens;
    const uint16_t *token = sample->token + first;
    size_t count = (size_t)(end - first);
    char *text = memory_get(tokens_size(tokens, token, count), 1);
    *size = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length = (size_t)tokens->size[token[i]];
        memcpy(text + *size, tokens->text + (size_t)token[i] * LONGEST_TOKEN, length);
        *size += length;
    }
    return text;
}

/* Prints tokens from a column on and returns the column after them. */
static int print_tokens(const struct run *run, const struct sample *sample, int first,
                        int end, int column) {
    enum { MARGIN = 3 };
    int width = run->terminal.width;
    size_t size;
    char *text = characters(run, sample, first, end, &size);
    for (size_t at = 0; at < size;) {
        const char *end_of_line = memchr(text + at, '\n', size - at);
        size_t line =
            end_of_line != NULL ? (size_t)(end_of_line - text) - at : size - at;
        if (column == 0 && line > 0) {
            column = printf("%*s", MARGIN, "");
        }
        column += terminal_text(&run->terminal, text + at, line, width - column);
        at += line;
        if (at < size) { /* a new line; what did not fit is left out */
            putchar('\n');
            column = 0;
            at++;
        }
    }
    free(text);
    return column;
}

void sample_show(const struct run *run, const struct sample *sample) {
    terminal_style(&run->terminal, BOLD);
    int column = print_tokens(run, sample, 0, sample->prompt, 0);
    terminal_style(&run->terminal, PLAIN);
    print_tokens(run, sample, sample->prompt, sample->count, column);
    putchar('\n');
}

void sample_save(const struct run *run, const struct sample *sample) {
    struct piece piece;
    char *text = characters(run, sample, 0, sample->count, &piece.size);
    piece.data = text;
    char *path = file_path(run->options.out, "text.txt");
    if (!file_replace(path, &piece, 1)) {
        fail(FAILED, "the text is not saved");
    }
    free(path);
    free(text);
}

void sample_close(struct sample *sample) {
    free(sample->token);
    *sample = (struct sample){0};
}
