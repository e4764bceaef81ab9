/*
 * Text as tokens: characters, and what byte-pair encoding joins of them (Gage 1994;
 * Sennrich, Haddow and Birch 2016).
 *
 * A character is a byte here, so that any file can be encoded, whatever its encoding
 * is. Tokens 0 to 255 are the bytes, and each later token is a pair of earlier ones.
 */
#ifndef GPT_TOKENS_H
#define GPT_TOKENS_H

#include <stddef.h>
#include <stdint.h>

enum { CHARACTERS = 256, MOST_TOKENS = 2048, LONGEST_TOKEN = 64 };

struct pair {
    uint16_t left, right;
};

struct tokens {
    int count;         /* kinds of tokens, the characters included */
    struct pair *pair; /* (count): of each token; none for characters */
    int *size;         /* (count): characters of each token */
    char *text;        /* (count, LONGEST_TOKEN): these characters */
    uint16_t *joined;  /* (count, count): the token of a pair; 0: there is none */
};

/* Learns from text: up to this many kinds, fewer if no pair is left that is seen twice.
 * CHARACTERS: no pairs at all. */
void tokens_learn(struct tokens *tokens, const char *text, size_t size, int count);

/* The tokens that somebody learned before: the pairs of those from CHARACTERS on. They
 * must be sound: see tokens_sound(). */
void tokens_restore(struct tokens *tokens, const struct pair *pair, int count);

/* Whether these pairs make tokens, each of earlier ones and none too long. */
int tokens_sound(const struct pair *pair, int count);

/* The tokens of a text; free() gives them back. */
uint16_t *tokens_encode(const struct tokens *tokens, const char *text, size_t size,
                        size_t *count);

/* The number of characters in these tokens. */
size_t tokens_size(const struct tokens *tokens, const uint16_t *token, size_t count);

void tokens_close(struct tokens *tokens);

#endif
