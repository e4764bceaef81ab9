/*
 * Two passes: the first counts the terms of every passage, and in how many passages
 * each occurs; the second turns counts into weights.
 *
 * Salton and Buckley, "Term-weighting approaches in automatic text retrieval" (1988).
 * The name of its file counts as a word of each passage: people look for things under
 * the names they gave them.
 */
#include "tfidf.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "progress.h"

/* A list of numbers that grows. */
struct numbers {
    int *number;
    size_t count, room;
};

static void push(struct numbers *numbers, int number) {
    if (numbers->count == numbers->room) {
        numbers->room = numbers->room > 0 ? 2 * numbers->room : 256;
        numbers->number = memory_grow(numbers->number, numbers->room, sizeof(int));
    }
    numbers->number[numbers->count++] = number;
}

static int compare(const void *a, const void *b) {
    int left = *(const int *)a;
    int right = *(const int *)b;
    return (left > right) - (left < right);
}

/* A bag from the terms as they came; weight is how often each did. */
static struct bag count_terms(struct numbers *terms) {
    struct bag bag = {memory_get(terms->count, sizeof *bag.item), 0};
    if (terms->count > 0) {
        qsort(terms->number, terms->count, sizeof *terms->number, compare);
    }
    for (size_t i = 0; i < terms->count; i++) {
        if (i == 0 || terms->number[i] != terms->number[i - 1]) {
            bag.item[bag.count++].term = terms->number[i];
        }
        bag.item[bag.count - 1].weight += 1;
    }
    return bag;
}

static void weigh(struct bag *bag, const struct vocabulary *vocabulary) {
    for (int i = 0; i < bag->count; i++) {
        struct weighted_term *item = &bag->item[i];
        float idf = vocabulary->term[item->term].idf;
        item->weight = (1 + logf(item->weight)) * sqrtf(idf);
    }
}

static void push_terms(struct numbers *terms, struct vocabulary *vocabulary,
                       const char *text, size_t size) {
    struct words words;
    words_open(&words, text, size);
    while (words_next(&words)) {
        push(terms, vocabulary_add(vocabulary, words.term, words.name));
    }
}

/* The part of a path that says what a file is about: "mask_band" of
 * src/core/mask_band.c */
static const char *stem_of(const char *path, size_t *length) {
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    *length = strcspn(name, ".");
    return name;
}

void tfidf_build(struct tfidf *tfidf, const struct passages *passages,
                 const struct text *text) {
    struct vocabulary *vocabulary = &tfidf->vocabulary;
    struct numbers terms = {0};
    tfidf->passages = passages->count;
    tfidf->passage = memory_get((size_t)passages->count, sizeof *tfidf->passage);
    for (int i = 0; i < passages->count; i++) {
        const struct passage *passage = &passages->passage[i];
        size_t length;
        const char *name = stem_of(text->file[passage->file].name, &length);
        terms.count = 0;
        push_terms(&terms, vocabulary, name, length);
        push_terms(&terms, vocabulary, passage->text, passage->size);
        tfidf->passage[i] = count_terms(&terms);
        for (int j = 0; j < tfidf->passage[i].count; j++) {
            vocabulary->term[tfidf->passage[i].item[j].term].passages++;
        }
        progress_tick(i, passages->count);
    }
    free(terms.number);

    for (int i = 0; i < vocabulary->count; i++) {
        struct term *term = &vocabulary->term[i];
        term->idf = logf(((float)passages->count + 1) / ((float)term->passages + 0.5f));
    }
    for (int i = 0; i < passages->count; i++) {
        weigh(&tfidf->passage[i], vocabulary);
    }
}

struct bag tfidf_question(const struct tfidf *tfidf, const char *question,
                          char *unknown, size_t size) {
    struct numbers terms = {0};
    struct words words;
    size_t used = 0;
    unknown[0] = '\0';
    words_open(&words, question, strlen(question));
    while (words_next(&words)) {
        int term = vocabulary_find(&tfidf->vocabulary, words.term);
        if (term >= 0) {
            push(&terms, term);
        } else if (used + strlen(words.name) + 2 <= size) {
            used += (size_t)snprintf(unknown + used, size - used, " %s", words.name);
        }
    }
    struct bag bag = count_terms(&terms);
    weigh(&bag, &tfidf->vocabulary);
    free(terms.number);
    return bag;
}

int bag_has(const struct bag *bag, int term) {
    for (int i = 0; i < bag->count; i++) {
        if (bag->item[i].term == term) {
            return true;
        }
    }
    return false;
}

void bag_close(struct bag *bag) {
    free(bag->item);
    *bag = (struct bag){0};
}

void tfidf_close(struct tfidf *tfidf) {
    for (int i = 0; i < tfidf->passages; i++) {
        bag_close(&tfidf->passage[i]);
    }
    free(tfidf->passage);
    vocabulary_close(&tfidf->vocabulary);
    *tfidf = (struct tfidf){0};
}
