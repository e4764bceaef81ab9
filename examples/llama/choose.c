/*
 * Holtzman et al. 2020: of the chances only the head counts, the fewest tokens that
 * together have top_p; the long tail would be chosen too often.
 */
#include "choose.h"

#include <math.h>
#include <stdlib.h>

#include "fail.h"

struct candidate {
    float chance;
    int token;
};

void choice_open(struct choice *choice, float temperature, float top_p, uint64_t seed,
                 int kinds) {
    *choice = (struct choice){
        .temperature = temperature, .top_p = top_p, .state = seed, .kinds = kinds};
    choice->candidate = memory_get((size_t)kinds, sizeof *choice->candidate);
}

/* From 0 to 1, without 1: SplitMix64 (Steele, Lea and Flood 2014). */
static double next_unit(struct choice *choice) {
    uint64_t bits = choice->state += 0x9e3779b97f4a7c15u;
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
    return (double)((bits ^ (bits >> 31)) >> 11) * 0x1p-53;
}

/* The first of several. */
static int likeliest(const float *logits, int kinds) {
    int best = 0;
    for (int i = 1; i < kinds; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return best;
}

static int compare(const void *a, const void *b) {
    const struct candidate *left = a;
    const struct candidate *right = b;
    if (left->chance != right->chance) {
        return left->chance < right->chance ? 1 : -1;
    }
    return left->token - right->token;
}

/* Makes candidates of the tokens that can be in the head, likeliest first, and returns
 * how many. Those with less than an even share of what the head leaves cannot: all of
 * them together have less than that. So there are few to sort. */
static int find_candidates(struct choice *choice, const float *logits, double *sum) {
    const int kinds = choice->kinds;
    const float most = logits[likeliest(logits, kinds)];
    struct candidate *candidate = choice->candidate;
    *sum = 0;
    for (int i = 0; i < kinds; i++) {
        float chance = expf((logits[i] - most) / choice->temperature);
        candidate[i] = (struct candidate){chance, i};
        *sum += (double)chance;
    }
    double least = (1 - (double)choice->top_p) * *sum / kinds;
    int count = 0;
    for (int i = 0; i < kinds; i++) {
        if ((double)candidate[i].chance >= least) {
            candidate[count++] = candidate[i];
        }
    }
    qsort(candidate, (size_t)count, sizeof *candidate, compare);
    return count;
}

int choose(struct choice *choice, const float *logits) {
    int best = likeliest(logits, choice->kinds);
    float all = 0; /* NaN if some number is not finite */
    for (int i = 0; i < choice->kinds; i++) {
        all += logits[i] - logits[i];
    }
    if (all != 0) {
        fail(FAILED, "what the model says is no number: its weights are damaged, or "
                     "too large for float32");
    }
    if (choice->temperature <= 0) {
        return best;
    }
    double sum;
    int count = find_candidates(choice, logits, &sum);
    const struct candidate *candidate = choice->candidate;
    double head = 0;
    int size = 0;
    while (size < count && head < (double)choice->top_p * sum) {
        head += (double)candidate[size++].chance;
    }
    double at = next_unit(choice) * head;
    int chosen = 0;
    while (chosen + 1 < size && at >= (double)candidate[chosen].chance) {
        at -= (double)candidate[chosen++].chance;
    }
    return candidate[chosen].token;
}

void choice_close(struct choice *choice) {
    free(choice->candidate);
    *choice = (struct choice){0};
}
