/*
 * The prompt goes through the model at once, or in pieces, then each token that is
 * chosen. With a cache the keys and values of earlier tokens are there already, and a
 * token costs one row. Without one all rows of the text are computed again to get the
 * last of them: the result is the same but for rounding, since no token sees those
 * behind it.
 */
#include "write.h"

#include <stdlib.h>

#include "cache.h"
#include "chance.h"
#include "exponential.h"
#include "fail.h"
#include "progress.h"

struct candidate {
    float logit;
    int token;
};

static int compare(const void *a, const void *b) {
    const struct candidate *left = a;
    const struct candidate *right = b;
    if (left->logit != right->logit) {
        return left->logit < right->logit ? 1 : -1;
    }
    return left->token - right->token;
}

/* One of the likeliest tokens, by their chances; unit is from 0 to 1. */
static int choose(const struct run *run, float temperature, const float *logits,
                  struct candidate *candidate, double unit) {
    int kinds = run->tokens.count;
    for (int i = 0; i < kinds; i++) {
        candidate[i] = (struct candidate){logits[i], i};
    }
    qsort(candidate, (size_t)kinds, sizeof *candidate, compare);
    int top = run->options.top < kinds ? run->options.top : kinds;
    double sum = 0;
    float most = candidate[0].logit;
    for (int i = 0; i < top; i++) {
        float heat = (candidate[i].logit - most) / temperature;
        candidate[i].logit = exponential(heat);
        sum += (double)candidate[i].logit;
    }
    double at = unit * sum;
    int chosen = 0;
    while (chosen + 1 < top && at >= (double)candidate[chosen].logit) {
        at -= (double)candidate[chosen++].logit;
    }
    return candidate[chosen].token;
}

/* The first of several, and how far it is ahead of the next. */
static int likeliest(const float *logits, int kinds, float *ahead) {
    int best = 0;
    int second = 1; /* there are more than two kinds */
    for (int i = 1; i < kinds; i++) {
        if (logits[i] > logits[best]) {
            second = best;
            best = i;
        } else if (logits[i] > logits[second]) {
            second = i;
        }
    }
    *ahead = logits[best] - logits[second];
    return best;
}

/* Reads tokens, behind those in the cache if there is one; returns the logits of the
 * token after them. */
static const float *read_tokens(struct model *model, attn_cache *cache, int chunk,
                                const uint16_t *token, int count) {
    int last = 0;
    for (int done = 0; done < count; done += last) {
        last = chunk > 0 && chunk < count - done ? chunk : count - done;
        const struct pass pass = {
            .token = token + done, .batch = 1, .length = last, .cache = cache};
        model_forward(model, &pass);
    }
    return model_logits(model, last - 1, 1);
}

void write_text(struct run *run, const struct manner *manner, struct writing *writing) {
    struct model *model = &run->model;
    int kinds = run->tokens.count;
    int count = writing->prompt;
    struct candidate *candidate = memory_get((size_t)kinds, sizeof *candidate);
    attn_cache *cache = NULL;
    if (manner->cache != 0) {
        cache = cache_open(model, manner->cache, count + writing->length);
    }
    int known = 0; /* tokens in the cache */
    progress_begin("writing");
    double start = progress_clock();
    for (int i = 0; i < writing->length; i++) {
        const float *logits =
            read_tokens(model, cache, cache != NULL ? manner->chunk : 0,
                        writing->token + known, count - known);
        known = cache != NULL ? count : 0;
        float ahead = 0;
        double unit =
            chance_unit((uint64_t)run->options.recipe.seed, FOR_WRITING, (uint64_t)i);
        int next = manner->temperature > 0
                       ? choose(run, manner->temperature, logits, candidate, unit)
                       : likeliest(logits, kinds, &ahead);
        if (writing->ahead != NULL) {
            writing->ahead[i] = ahead;
        }
        writing->token[count++] = (uint16_t)next;
        progress_tick(i + 1, writing->length);
    }
    writing->seconds = progress_clock() - start;
    progress_end();
    writing->bytes = attn_cache_bytes(cache, NULL);
    cache_close(cache);
    free(candidate);
}
