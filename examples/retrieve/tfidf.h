/*
 * TF-IDF: what a piece of text is about, as weighted terms.
 *
 *     weight = (1 + ln(times the term occurs in it)) * sqrt(idf)
 *     idf = ln(passages / passages that have the term)
 *
 * The square root, since a term that two texts share meets its weight twice in their
 * product: how rare it is should count once.
 */
#ifndef RETRIEVE_TFIDF_H
#define RETRIEVE_TFIDF_H

#include "passages.h"
#include "vocabulary.h"

struct weighted_term {
    int term; /* number in the vocabulary */
    float weight;
};

/* A piece of text as its terms, in order of their numbers. */
struct bag {
    struct weighted_term *item;
    int count;
};

struct tfidf {
    struct vocabulary vocabulary;
    struct bag *passage;
    int passages;
};

/* Counts and weighs the terms of all passages. */
void tfidf_build(struct tfidf *tfidf, const struct passages *passages,
                 const struct text *text);

/* The bag of a question. Terms that the text lacks are left out; their names, each with
 * a space before it, go to unknown (size bytes, cut to fit). bag_close() the result. */
struct bag tfidf_question(const struct tfidf *tfidf, const char *question,
                          char *unknown, size_t size);

/* Whether a term is in the bag. */
int bag_has(const struct bag *bag, int term);

void bag_close(struct bag *bag);
void tfidf_close(struct tfidf *tfidf);

#endif
