/*
 * Text as tokens, and back: the vocabulary that belongs to a model.
 */
#ifndef LLAMA_VOCABULARY_H
#define LLAMA_VOCABULARY_H

#include <stddef.h>

#include "file.h"

/* Tokens with a meaning of their own. Those of bytes are FIRST_BYTE + byte. */
enum { TOKEN_BEGIN = 1, TOKEN_END = 2, FIRST_BYTE = 3 };

struct piece {
    const char *text; /* not terminated */
    int size;
    float score; /* of two pairs of tokens that can be joined, the higher goes first */
};

struct vocabulary {
    int count;
    struct piece *piece; /* (count) */
    int *sorted;         /* (count): tokens in the order of their texts */
    struct file file;    /* where the texts lie */
};

/* Reads a tokenizer.bin of llama2.c, for a model of so many tokens. Ends the program
 * where the file is something else. */
void vocabulary_open(struct vocabulary *vocabulary, const char *path, int count);

/* The token with this text; -1: there is none. */
int vocabulary_find(const struct vocabulary *vocabulary, const char *text, size_t size);

/* The text of a token that comes behind another one; -1: behind none. byte is room for
 * one character. */
struct piece vocabulary_text(const struct vocabulary *vocabulary, int before, int token,
                             char *byte);

void vocabulary_close(struct vocabulary *vocabulary);

#endif
