/*
 * p(b | a) = (pairs(a, b) + k p(b)) / (count(a) + k): what is known of b alone counts
 * like k observations. To be more than fair, the k is the one of a few that suits the
 * text held out best.
 */
#include "bigram.h"

#include <math.h>
#include <stdlib.h>

#include "fail.h"

struct counts {
    size_t kinds;
    uint32_t *pair;   /* (kinds, kinds) */
    uint32_t *before; /* (kinds): how often something follows */
    double *share;    /* (kinds): p(b) */
};

static struct counts count_pairs(const uint16_t *train, size_t count, size_t kinds) {
    struct counts counts = {
        .kinds = kinds,
        .pair = memory_get(kinds * kinds, sizeof *counts.pair),
        .before = memory_get(kinds, sizeof *counts.before),
        .share = memory_get(kinds, sizeof *counts.share),
    };
    for (size_t i = 0; i < count; i++) {
        counts.share[train[i]]++;
        if (i + 1 < count) {
            counts.pair[train[i] * kinds + train[i + 1]]++;
            counts.before[train[i]]++;
        }
    }
    for (size_t i = 0; i < kinds; i++) { /* nothing is impossible */
        counts.share[i] = (counts.share[i] + 1) / (double)(count + kinds);
    }
    return counts;
}

static double measure(const struct counts *counts, const uint16_t *held, size_t count,
                      double k) {
    double bits = 0;
    for (size_t i = 1; i < count; i++) {
        size_t a = held[i - 1];
        size_t b = held[i];
        double seen = counts->pair[a * counts->kinds + b];
        bits -= log2((seen + k * counts->share[b]) / (counts->before[a] + k));
    }
    return bits;
}

double bigram_bits(const uint16_t *train, size_t train_count, const uint16_t *held,
                   size_t held_count, int kinds) {
    static const double some[] = {1, 4, 16, 64, 256};
    struct counts counts = count_pairs(train, train_count, (size_t)kinds);
    double best = INFINITY;
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        best = fmin(best, measure(&counts, held, held_count, some[i]));
    }
    free(counts.pair);
    free(counts.before);
    free(counts.share);
    return best;
}

static uint16_t *symbols(const char *text, size_t size) {
    uint16_t *symbol = memory_get(size, sizeof *symbol);
    for (size_t i = 0; i < size; i++) {
        symbol[i] = (unsigned char)text[i];
    }
    return symbol;
}

double bigram_character_bits(const char *train, size_t train_size, const char *held,
                             size_t held_size) {
    uint16_t *from = symbols(train, train_size);
    uint16_t *to = symbols(held, held_size);
    double bits = bigram_bits(from, train_size, to, held_size, UINT8_MAX + 1);
    free(from);
    free(to);
    return bits;
}
