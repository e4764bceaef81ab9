/*
 * Everything that a search is made of, for those who show it.
 */
#ifndef RETRIEVE_SEARCH_H
#define RETRIEVE_SEARCH_H

#include "attend.h"
#include "hashing.h"
#include "options.h"
#include "passages.h"
#include "terminal.h"
#include "text.h"
#include "tfidf.h"

struct search {
    struct options options;
    struct terminal terminal;
    struct text text;
    struct passages passages;
    struct tfidf tfidf;
    struct hashing hashing;
    float *vector; /* of the passages: (heads, passages, dim) */
};

#endif
