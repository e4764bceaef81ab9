/*
 * Taking text apart into terms.
 *
 * A word is a run of letters, digits and underscores; bytes of 128 and more count as
 * letters, so that UTF-8 text works. Identifiers are split at underscores and where
 * camelCase changes. What is left is put in lower case, looked up in the stop list, and
 * freed of its English ending by a few rules in the spirit of Porter (1980), so that
 * masks, masked and masking are one term. The rules need not find the true stem, only
 * the same one.
 */
#include "words.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Words that stand everywhere and tell nothing, English and C, in order: bsearch()
 * looks them up. */
static const char *const stop_list[] = {
    "about",  "after",   "all",    "also",    "am",      "an",     "and",      "any",
    "are",    "as",      "at",     "be",      "because", "been",   "before",   "being",
    "both",   "but",     "by",     "can",     "cannot",  "case",   "char",     "const",
    "could",  "define",  "did",    "do",      "does",    "doesn",  "doing",    "don",
    "done",   "double",  "down",   "each",    "else",    "endif",  "enum",     "extern",
    "few",    "for",     "from",   "get",     "had",     "happen", "happens",  "has",
    "have",   "having",  "he",     "her",     "here",    "him",    "his",      "how",
    "if",     "ifdef",   "ifndef", "in",      "include", "inline", "int",      "into",
    "is",     "isn",     "it",     "its",     "just",    "many",   "may",      "me",
    "might",  "more",    "most",   "much",    "must",    "my",     "no",       "nor",
    "not",    "of",      "off",    "on",      "once",    "only",   "or",       "other",
    "our",    "out",     "over",   "own",     "return",  "same",   "she",      "should",
    "sizeof", "so",      "some",   "static",  "struct",  "such",   "than",     "that",
    "the",    "their",   "them",   "then",    "there",   "these",  "they",     "this",
    "those",  "through", "to",     "too",     "typedef", "under",  "unsigned", "until",
    "up",     "us",      "very",   "void",    "was",     "way",    "we",       "were",
    "what",   "when",    "where",  "which",   "while",   "who",    "whom",     "why",
    "will",   "with",    "within", "without", "would",   "you",    "your",
};

static int compare(const void *word, const void *entry) {
    return strcmp(word, *(const char *const *)entry);
}

static bool is_stop(const char *word) {
    return bsearch(word, stop_list, sizeof stop_list / sizeof *stop_list,
                   sizeof *stop_list, compare) != NULL;
}

static bool ends(const char *word, size_t length, const char *ending) {
    size_t size = strlen(ending);
    return length > size && memcmp(word + length - size, ending, size) == 0;
}

static bool has_vowel(const char *word, size_t length) {
    return strcspn(word, "aeiouy") < length;
}

/* Takes "ed" or "ing" off, and one of two equal consonants that it leaves: stopped,
 * stop. */
static size_t without_participle(const char *word, size_t length) {
    size_t size = ends(word, length, "ing") ? 3 : ends(word, length, "ed") ? 2 : 0;
    if (size == 0 || length < size + 3 || ends(word, length, "eed") ||
        !has_vowel(word, length - size)) {
        return length;
    }
    length -= size;
    char last = word[length - 1];
    if (last == word[length - 2] && strchr("aeioulsz", last) == NULL) {
        length--;
    }
    return length;
}

static void stem(char *word) {
    size_t length = strlen(word);
    if (length < 4 || strspn(word, "abcdefghijklmnopqrstuvwxyz") < length) {
        return;
    }
    if (ends(word, length, "ies") || ends(word, length, "ied")) {
        length -= 2;
        word[length - 1] = 'y';
    } else if (ends(word, length, "s") && strchr("sui", word[length - 2]) == NULL) {
        length--;
    }
    length = without_participle(word, length);
    if (length > 3 && word[length - 1] == 'e') {
        length--;
    }
    word[length] = '\0';
}

/* Makes a term of a piece of text, or finds that it is none. */
static bool make_term(struct words *words, const char *start, size_t length,
                      bool whole) {
    if (length < 2 || length > TERM_LENGTH) {
        return false;
    }
    words->start = start;
    words->length = length;
    for (size_t i = 0; i < length; i++) {
        words->name[i] = (char)tolower((unsigned char)start[i]);
    }
    words->name[length] = '\0';
    memcpy(words->term, words->name, length + 1);
    if (!whole) {
        stem(words->term);
    }
    return !is_stop(words->name);
}

static bool is_letter(char c) {
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

/* Length of the part that an identifier starts with: to the next underscore, the next
 * capital after a small letter, or the last capital of several: HTTPServer. */
static size_t part_length(const char *start, const char *end) {
    const char *at = start + 1;
    for (; at < end && *at != '_'; at++) {
        /* Not the last letter: NaN is one word. */
        bool capital = isupper((unsigned char)*at) && at + 1 < end;
        bool after_small = islower((unsigned char)at[-1]);
        bool before_small = capital && islower((unsigned char)at[1]);
        bool after_capital = isupper((unsigned char)at[-1]);
        if (capital && (after_small || (after_capital && before_small))) {
            break;
        }
    }
    return (size_t)(at - start);
}

void words_open(struct words *words, const char *text, size_t size) {
    *words = (struct words){.rest = text, .end = text + size};
}

bool words_next(struct words *words) {
    for (;;) {
        while (words->part < words->part_end && *words->part == '_') {
            words->part++;
        }
        if (words->part < words->part_end) {
            const char *start = words->part;
            size_t length = part_length(start, words->part_end);
            words->part += length;
            if (make_term(words, start, length, false)) {
                return true;
            }
            continue;
        }

        while (words->rest < words->end && !is_letter(*words->rest)) {
            words->rest++;
        }
        if (words->rest == words->end) {
            return false;
        }
        const char *start = words->rest;
        while (words->rest < words->end && is_letter(*words->rest)) {
            words->rest++;
        }
        words->part = start;
        words->part_end = words->rest;
        size_t length = (size_t)(words->rest - start);
        bool several = part_length(start, words->rest) < length && *start != '_';
        if (several && make_term(words, start, length, true)) {
            return true;
        }
    }
}
