/*
 * A hash table with open addressing: a term lies in the first free slot at or after the
 * one that its hash names. The hash is FNV-1a of 64 bits, since feature hashing needs a
 * good one anyway.
 */
#include "vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "fail.h"

static uint64_t hash_of(const char *term) {
    uint64_t hash = 14695981039346656037u;
    for (; *term != '\0'; term++) {
        hash = (hash ^ (unsigned char)*term) * 1099511628211u;
    }
    return hash;
}

/* The slot that holds the term, or the free one where it belongs. */
static int *find_slot(const struct vocabulary *vocabulary, const char *term,
                      uint64_t hash) {
    uint64_t mask = (uint64_t)vocabulary->slots - 1;
    for (uint64_t at = hash & mask;; at = (at + 1) & mask) {
        int *slot = &vocabulary->slot[at];
        if (*slot == 0 || strcmp(vocabulary->term[*slot - 1].term, term) == 0) {
            return slot;
        }
    }
}

static void grow(struct vocabulary *vocabulary) {
    vocabulary->slots = vocabulary->slots > 0 ? 2 * vocabulary->slots : 1024;
    size_t slots = (size_t)vocabulary->slots;
    vocabulary->term =
        memory_grow(vocabulary->term, slots / 2, sizeof *vocabulary->term);
    free(vocabulary->slot);
    vocabulary->slot = memory_get(slots, sizeof *vocabulary->slot);
    for (int i = 0; i < vocabulary->count; i++) {
        const struct term *term = &vocabulary->term[i];
        *find_slot(vocabulary, term->term, term->hash) = i + 1;
    }
}

int vocabulary_find(const struct vocabulary *vocabulary, const char *term) {
    if (vocabulary->count == 0) {
        return -1;
    }
    return *find_slot(vocabulary, term, hash_of(term)) - 1;
}

int vocabulary_add(struct vocabulary *vocabulary, const char *term, const char *name) {
    if (vocabulary->count == vocabulary->slots / 2) {
        grow(vocabulary);
    }
    uint64_t hash = hash_of(term);
    int *slot = find_slot(vocabulary, term, hash);
    if (*slot == 0) {
        struct term *new = &vocabulary->term[vocabulary->count];
        *new = (struct term){.hash = hash};
        memcpy(new->term, term, strlen(term) + 1);
        memcpy(new->name, name, strlen(name) + 1);
        *slot = ++vocabulary->count;
    }
    struct term *known = &vocabulary->term[*slot - 1];
    if (strlen(name) < strlen(known->name)) {
        memcpy(known->name, name, strlen(name) + 1);
    }
    return *slot - 1;
}

void vocabulary_close(struct vocabulary *vocabulary) {
    free(vocabulary->term);
    free(vocabulary->slot);
    *vocabulary = (struct vocabulary){0};
}
