/*
 * The terms of a text: what its words and identifiers are compared by.
 */
#ifndef RETRIEVE_WORDS_H
#define RETRIEVE_WORDS_H

#include <stdbool.h>
#include <stddef.h>

/* Letters of a term at most; longer runs are data, not words. */
enum { TERM_LENGTH = 40 };

/* A reader of terms. Members below the line are its own. */
struct words {
    const char *start; /* where in the text the last term stands */
    size_t length;
    char name[TERM_LENGTH + 1]; /* as written there, in lower case: "masked" */
    char term[TERM_LENGTH + 1]; /* without its ending: "mask" */
    /* ------ */
    const char *part, *part_end; /* rest of the identifier being taken apart */
    const char *rest, *end;      /* rest of the text */
};

/* Starts reading the terms of a text. */
void words_open(struct words *words, const char *text, size_t size);

/* Goes on to the next term; false if there is none. Common words are left out. An
 * identifier of several parts comes whole first, then part by part: attn_plan_create,
 * attn, plan, create. */
bool words_next(struct words *words);

#endif
