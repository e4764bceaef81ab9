/*
 * A text begins as one token for each character, or for each byte of those that the
 * vocabulary does not have. Then, as long as any two neighbours together are the text
 * of a token, those of them with the highest score become it.
 */
#include "encode.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

/* Bytes of the character at text: one, and those that go on with it in UTF-8. */
static size_t character(const char *text, size_t size) {
    enum { MOST = 4 };
    size_t bytes = 1;
    while (bytes < size && bytes < MOST && (text[bytes] & 0xc0) == 0x80) {
        bytes++;
    }
    return bytes;
}

/* Adds the tokens of one character to count others, and returns how many there are. */
static int add_character(const struct vocabulary *vocabulary, const char *text,
                         size_t size, int *token, int count) {
    int whole = vocabulary_find(vocabulary, text, size);
    if (whole >= 0) {
        token[count] = whole;
        return count + 1;
    }
    for (size_t i = 0; i < size; i++) {
        int byte = FIRST_BYTE + (unsigned char)text[i];
        if (byte >= vocabulary->count) {
            fail(FAILED, "%s: there is no token for the character '%.*s'",
                 vocabulary->file.path, (int)size, text);
        }
        token[count++] = byte;
    }
    return count;
}

/* What two tokens are together; -1: no token. room is for their characters. */
static int join(const struct vocabulary *vocabulary, int left, int right, char *room) {
    const struct piece *l = &vocabulary->piece[left];
    const struct piece *r = &vocabulary->piece[right];
    memcpy(room, l->text, (size_t)l->size);
    memcpy(room + l->size, r->text, (size_t)r->size);
    return vocabulary_find(vocabulary, room, (size_t)l->size + (size_t)r->size);
}

/* The pair, of those that are a token, with the highest score, the first of them; -1:
 * there is none. */
static int best_pair(const struct vocabulary *vocabulary, const int *joined,
                     int pairs) {
    int best = -1;
    float score = 0;
    for (int i = 0; i < pairs; i++) {
        if (joined[i] >= 0 &&
            (best < 0 || vocabulary->piece[joined[i]].score > score)) {
            best = i;
            score = vocabulary->piece[joined[i]].score;
        }
    }
    return best;
}

static size_t longest(const struct vocabulary *vocabulary) {
    size_t size = 0;
    for (int i = 0; i < vocabulary->count; i++) {
        size_t own = (size_t)vocabulary->piece[i].size;
        size = own > size ? own : size;
    }
    return size;
}

/* Joins neighbours until none can be joined, and returns how many tokens are left. What
 * each pair is, is found once, and anew only beside what was joined. */
static int join_all(const struct vocabulary *vocabulary, int *token, int count) {
    int *joined = memory_get((size_t)count, sizeof *joined);
    char *room = memory_get(2 * longest(vocabulary), 1);
    for (int i = 0; i + 1 < count; i++) {
        joined[i] = join(vocabulary, token[i], token[i + 1], room);
    }
    int at;
    while ((at = best_pair(vocabulary, joined, count - 1)) >= 0) {
        size_t behind = (size_t)(count - at - 2);
        token[at] = joined[at];
        memmove(token + at + 1, token + at + 2, behind * sizeof *token);
        memmove(joined + at, joined + at + 1, behind * sizeof *joined);
        count--;
        if (at > 0) {
            joined[at - 1] = join(vocabulary, token[at - 1], token[at], room);
        }
        if (at + 1 < count) {
            joined[at] = join(vocabulary, token[at], token[at + 1], room);
        }
    }
    free(joined);
    free(room);
    return count;
}

int *encode(const struct vocabulary *vocabulary, const char *text, int *count) {
    size_t size = strlen(text);
    if (size > INT_MAX - 2) {
        fail(FAILED, "a text of %zu characters is too long", size);
    }
    int *token = memory_get(size + 2, sizeof *token);
    token[0] = TOKEN_BEGIN;
    *count = 1;
    if (size == 0) {
        return token;
    }
    /* A space goes first, so that a word at the beginning is the token that it is
     * elsewhere. */
    int letters = add_character(vocabulary, " ", 1, token + 1, 0);
    for (size_t at = 0; at < size;) {
        size_t bytes = character(text + at, size - at);
        letters = add_character(vocabulary, text + at, bytes, token + 1, letters);
        at += bytes;
    }
    *count += join_all(vocabulary, token + 1, letters);
    return token;
}
