/*
 * Text is first cut into words: letters and digits, marks, or white space, where a
 * space goes with the word behind it. Pairs are joined within words only, so that a
 * prompt is cut the same way as the text that was learned from.
 *
 * Learning counts all pairs of neighbours. Then it makes the most frequent one a token,
 * joins it everywhere, corrects the counts around it, and begins again. Encoding joins
 * the pairs of each word in the order in which they were learned.
 */
#include "tokens.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "progress.h"

/* Learning takes a pass over the text for each token; more text teaches little more. */
enum { ENOUGH_TO_LEARN = 2 << 20 };

/* Stands between words while tokens are learned. No token has this number. */
enum { BREAK = UINT16_MAX };

enum class { SPACE, WORD, MARK };

static enum class class_of(char character) {
    unsigned char byte = (unsigned char)character;
    if (byte == ' ' || (byte >= '\t' && byte <= '\r')){return SPACE;}
return isalnum(byte) || byte == '_' || byte >= 0x80 ? WORD : MARK;
}

/* The end of the word that begins at text. */
static size_t word_size(const char *text, size_t size) {
    size_t end = 0;
    if (text[0] == ' ' && size > 1 && class_of(text[1]) != SPACE) {
        end = 1;
    }
    enum class class = class_of(text[end]);
    while (end < size && end < LONGEST_TOKEN && class_of(text[end]) == class) {
        end++;
    }
    /* the last of several spaces belongs to the next word */
    if (class == SPACE && end > 1 && end < size && text[end - 1] == ' ' &&
        class_of(text[end]) != SPACE) {
        end--;
    }
    return end;
}

static void set_pair(struct tokens *tokens, int token, struct pair pair) {
    tokens->pair[token] = pair;
    char *text = tokens->text + (ptrdiff_t)token * LONGEST_TOKEN;
    int left = tokens->size[pair.left];
    int right = tokens->size[pair.right];
    memcpy(text, tokens->text + (ptrdiff_t)pair.left * LONGEST_TOKEN, (size_t)left);
    memcpy(text + left, tokens->text + (ptrdiff_t)pair.right * LONGEST_TOKEN,
           (size_t)right);
    tokens->size[token] = left + right;
}

/* Room for so many tokens; those of one character are there. */
static void open_tokens(struct tokens *tokens, int count) {
    size_t kinds = (size_t)count;
    *tokens = (struct tokens){.count = count};
    tokens->pair = memory_get(kinds, sizeof *tokens->pair);
    tokens->size = memory_get(kinds, sizeof *tokens->size);
    tokens->text = memory_get(kinds, LONGEST_TOKEN);
    for (int i = 0; i < CHARACTERS; i++) {
        tokens->size[i] = 1;
        tokens->text[(ptrdiff_t)i * LONGEST_TOKEN] = (char)i;
    }
}

static void index_pairs(struct tokens *tokens) {
    size_t kinds = (size_t)tokens->count;
    tokens->joined = memory_get(kinds * kinds, sizeof *tokens->joined);
    for (size_t i = CHARACTERS; i < kinds; i++) {
        struct pair pair = tokens->pair[i];
        tokens->joined[pair.left * kinds + pair.right] = (uint16_t)i;
    }
}

static uint16_t *cut_words(const char *text, size_t size, size_t *count) {
    uint16_t *id = memory_get(2 * size + 1, sizeof *id);
    size_t used = 0;
    for (size_t at = 0; at < size;) {
        size_t word = word_size(text + at, size - at);
        for (size_t i = 0; i < word; i++) {
            id[used++] = (unsigned char)text[at + i];
        }
        id[used++] = BREAK;
        at += word;
    }
    *count = used;
    return id;
}

/* How often each pair of neighbours is seen. */
struct census {
    size_t kinds;
    int32_t *seen; /* (kinds, kinds) */
};

static void recount(struct census *census, uint16_t left, uint16_t right, int change) {
    if (left != BREAK && right != BREAK) {
        census->seen[left * census->kinds + right] += change;
    }
}

/* The pair seen most often among those of known tokens, the first of equals; false if
 * none is seen twice. */
static bool find_best(const struct census *census, size_t known, struct pair *best) {
    int32_t most = 1;
    for (size_t i = 0; i < known; i++) {
        const int32_t *seen = census->seen + i * census->kinds;
        for (size_t j = 0; j < known; j++) {
            if (seen[j] > most) {
                most = seen[j];
                *best = (struct pair){(uint16_t)i, (uint16_t)j};
            }
        }
    }
    return most > 1;
}

/* Joins a pair wherever it stands, keeps the census right, and returns the number of
 * tokens left. The text ends with a BREAK. */
static size_t join_all(struct census *census, uint16_t *id, size_t count,
                       struct pair pair, uint16_t token) {
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (id[i] != pair.left || id[i + 1] != pair.right) { /* a BREAK is no pair's */
            id[used++] = id[i];
            continue;
        }
        uint16_t before = used > 0 ? id[used - 1] : BREAK;
        uint16_t after = id[i + 2];
        recount(census, before, pair.left, -1);
        recount(census, before, token, 1);
        recount(census, pair.left, pair.right, -1);
        recount(census, pair.right, after, -1);
        recount(census, token, after, 1);
        id[used++] = token;
        i++;
    }
    return used;
}

void tokens_learn(struct tokens *tokens, const char *text, size_t size, int count) {
    open_tokens(tokens, count);
    size_t left;
    uint16_t *id =
        cut_words(text, size < ENOUGH_TO_LEARN ? size : ENOUGH_TO_LEARN, &left);
    struct census census = {.kinds = (size_t)count};
    census.seen = memory_get(census.kinds * census.kinds, sizeof *census.seen);
    for (size_t i = 0; i + 1 < left; i++) {
        recount(&census, id[i], id[i + 1], 1);
    }
    struct pair best;
    int known = CHARACTERS;
    while (known < count && find_best(&census, (size_t)known, &best)) {
        progress_tick(known, count);
        set_pair(tokens, known, best);
        left = join_all(&census, id, left, best, (uint16_t)known);
        known++;
    }
    tokens->count = known;
    free(census.seen);
    free(id);
    index_pairs(tokens);
}

int tokens_sound(const struct pair *pair, int count) {
    int size[MOST_TOKENS];
    for (int i = 0; i < count; i++) {
        size[i] = 1;
        if (i >= CHARACTERS) {
            struct pair one = pair[i - CHARACTERS];
            if (one.left >= i || one.right >= i ||
                size[one.left] + size[one.right] > LONGEST_TOKEN) {
                return 0;
            }
            size[i] = size[one.left] + size[one.right];
        }
    }
    return 1;
}

void tokens_restore(struct tokens *tokens, const struct pair *pair, int count) {
    open_tokens(tokens, count);
    for (int i = CHARACTERS; i < count; i++) {
        set_pair(tokens, i, pair[i - CHARACTERS]);
    }
    index_pairs(tokens);
}

/* Joins a pair wherever it stands in a word, and returns the number of tokens left. */
static size_t join(uint16_t *id, size_t count, struct pair pair, uint16_t token) {
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (i + 1 < count && id[i] == pair.left && id[i + 1] == pair.right) {
            id[used++] = token;
            i++;
        } else {
            id[used++] = id[i];
        }
    }
    return used;
}

/* Joins what can be joined in one word, the pair that was learned first before the
 * others; returns the number of tokens left. */
static size_t encode_word(const struct tokens *tokens, uint16_t *id, size_t count) {
    size_t kinds = (size_t)tokens->count;
    for (;;) {
        uint16_t first = 0;
        for (size_t i = 0; i + 1 < count; i++) {
            uint16_t token = tokens->joined[id[i] * kinds + id[i + 1]];
            if (token != 0 && (first == 0 || token < first)) {
                first = token;
            }
        }
        if (first == 0) {
            return count;
        }
        count = join(id, count, tokens->pair[first], first);
    }
}

uint16_t *tokens_encode(const struct tokens *tokens, const char *text, size_t size,
                        size_t *count) {
    uint16_t *id = memory_get(size, sizeof *id);
    size_t used = 0;
    for (size_t at = 0; at < size;) {
        size_t word = word_size(text + at, size - at);
        for (size_t i = 0; i < word; i++) {
            id[used + i] = (unsigned char)text[at + i];
        }
        used += encode_word(tokens, id + used, word);
        at += word;
    }
    *count = used;
    return id;
}

size_t tokens_size(const struct tokens *tokens, const uint16_t *token, size_t count) {
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        size += (size_t)tokens->size[token[i]];
    }
    return size;
}

void tokens_close(struct tokens *tokens) {
    free(tokens->pair);
    free(tokens->size);
    free(tokens->text);
    free(tokens->joined);
    *tokens = (struct tokens){0};
}
