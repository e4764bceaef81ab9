/*
 * Ranking the passages of one question from what attention handed out.
 */
#include "rank.h"

#include <math.h>
#include <stdlib.h>

#include "fail.h"

static int arg_max(const float *value, int count) {
    int best = 0;
    for (int i = 1; i < count; i++) {
        if (value[i] > value[best]) {
            best = i;
        }
    }
    return best;
}

struct weighed {
    float weight;
    int passage;
};

static int compare(const void *a, const void *b) {
    const struct weighed *left = a;
    const struct weighed *right = b;
    if (left->weight != right->weight) {
        return left->weight < right->weight ? 1 : -1;
    }
    return left->passage - right->passage; /* equals in the order of the text */
}

static void sort(struct ranking *ranking, const float *weight, int count) {
    struct weighed *list = memory_get((size_t)count, sizeof *list);
    double entropy = 0;
    for (int i = 0; i < count; i++) {
        list[i] = (struct weighed){weight[i], i};
        if (weight[i] > 0) {
            entropy -= (double)weight[i] * log((double)weight[i]);
        }
    }
    qsort(list, (size_t)count, sizeof *list, compare);
    for (int i = 0; i < count; i++) {
        ranking->order[i] = list[i].passage;
    }
    ranking->in_effect = exp(entropy);
    free(list);
}

static float dot(const float *a, const float *b, int count) {
    float sum = 0;
    for (int i = 0; i < count; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

void rank_question(struct ranking *ranking, const struct attention *attention,
                   int query) {
    int keys = (int)attention->keys;
    int heads = attention->heads;
    int dim = attention->dim;
    ranking->order = memory_get((size_t)keys, sizeof *ranking->order);
    ranking->score = memory_get((size_t)keys, sizeof *ranking->score);
    ranking->likeness = memory_get((size_t)keys, sizeof *ranking->likeness);
    ranking->head_hard = memory_get((size_t)heads, sizeof *ranking->head_hard);
    sort(ranking, attention->mean_weights + (int64_t)query * keys, keys);

    float length = 0; /* of the weighted sum, over all heads, squared */
    for (int head = 0; head < heads; head++) {
        int64_t row = (int64_t)head * attention->queries + query;
        const float *score = attention->raw_scores + row * keys;
        const float *out = attention->out + row * dim;
        const float *value = attention->value + (int64_t)head * keys * dim;
        ranking->head_hard[head] = arg_max(score, keys);
        for (int i = 0; i < keys; i++) {
            ranking->score[i] += score[i] / (float)heads;
            ranking->likeness[i] += dot(out, value + (int64_t)i * dim, dim);
        }
        length += dot(out, out, dim);
    }
    /* A value has length 1 in every head, so its length over all heads is sqrt(heads).
     */
    for (int i = 0; i < keys && length > 0; i++) {
        ranking->likeness[i] /= sqrtf(length * (float)heads);
    }
    ranking->hard = arg_max(ranking->score, keys);
    ranking->nearest = arg_max(ranking->likeness, keys);
}

void ranking_close(struct ranking *ranking) {
    free(ranking->order);
    free(ranking->score);
    free(ranking->head_hard);
    free(ranking->likeness);
    *ranking = (struct ranking){0};
}
