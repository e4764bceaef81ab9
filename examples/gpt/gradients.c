/*
 * Moving one weight by h both ways changes the loss by 2 h times its gradient, but for
 * the third derivative; a second difference over 2 h takes that away too. Rounding
 * errors of float32 are divided by h, so h must not be small, and the text must not be
 * long, or the gradients of single weights drown in them.
 *
 * In each part of the model the weight with the largest gradient is tried, and some
 * others; an error counts beside the root mean square of the part's gradients.
 */
#include "gradients.h"

#include <math.h>
#include <stdio.h>

#include "chance.h"
#include "model.h"

enum { BATCH = 2, CONTEXT = 12, OTHERS = 12 };

static const struct shape small = {
    .layers = 2, .heads = 2, .dim = 16, .context = CONTEXT, .vocabulary = 24};

static const double allowed = 0.003;

struct trial {
    struct model model;
    uint16_t token[BATCH * CONTEXT];
    uint16_t target[BATCH * CONTEXT];
};

static double loss_of(struct trial *trial, bool gradients) {
    const struct pass pass = {
        .token = trial->token, .batch = BATCH, .length = small.context};
    int rows = BATCH * CONTEXT;
    model_forward(&trial->model, &pass);
    double loss = model_loss(&trial->model, trial->target, rows, gradients);
    if (gradients) {
        model_backward(&trial->model, &pass);
    }
    return loss / rows;
}

static double difference(struct trial *trial, float *weight, float h) {
    const float kept = *weight;
    double loss[4];
    const float way[4] = {h, -h, 2 * h, -2 * h};
    for (int i = 0; i < 4; i++) {
        *weight = kept + way[i];
        loss[i] = loss_of(trial, false);
    }
    *weight = kept;
    return (8 * (loss[0] - loss[1]) - (loss[2] - loss[3])) / (12 * (double)h);
}

static double root_mean_square(const struct part *part) {
    double sum = 0;
    for (size_t i = 0; i < part->count; i++) {
        sum += (double)part->data[i] * (double)part->data[i];
    }
    return sqrt(sum / (double)part->count);
}

static size_t largest(const struct part *part) {
    size_t best = 0;
    for (size_t i = 1; i < part->count; i++) {
        best = fabsf(part->data[i]) > fabsf(part->data[best]) ? i : best;
    }
    return best;
}

/* The worst error in a part, as a share of its root mean square. */
static double try_part(struct trial *trial, const struct part *weights,
                       const struct part *gradients, uint64_t seed) {
    double scale = root_mean_square(gradients);
    double worst = 0;
    for (int i = 0; i <= OTHERS; i++) {
        uint64_t number =
            (uint64_t)(weights->data - trial->model.weights.all) + (uint64_t)i;
        size_t at = i == 0 ? largest(gradients)
                           : chance_bits(seed, FOR_CHECKING, number) % weights->count;
        double expected = difference(trial, &weights->data[at], 0.02f);
        double error = fabs((double)gradients->data[at] - expected) / scale;
        worst = error > worst || isnan(error) ? error : worst;
    }
    return worst;
}

/* Weights so large that every part of the model matters. */
static void open_trial(struct trial *trial, struct workers *workers, uint64_t seed) {
    model_open(&trial->model, &small, BATCH, workers);
    struct weights *weights = &trial->model.weights;
    weights_start(weights, &small, seed);
    for (size_t i = 0; i < weights->count; i++) {
        weights->all[i] += (float)(0.25 * chance_normal(seed, FOR_CHECKING, i));
    }
    for (size_t i = 0; i < sizeof trial->token / sizeof *trial->token; i++) {
        uint64_t bits = chance_bits(seed, FOR_BATCHES, i);
        trial->token[i] = (uint16_t)(bits % (uint64_t)small.vocabulary);
        trial->target[i] = (uint16_t)((bits >> 32) % (uint64_t)small.vocabulary);
    }
}

bool gradients_check(struct workers *workers, uint64_t seed) {
    struct trial trial;
    open_trial(&trial, workers, seed);
    loss_of(&trial, true);
    bool good = true;
    for (int i = 0; i < trial.model.weights.part_count; i++) {
        const struct part *weights = &trial.model.weights.part[i];
        const struct part *gradients = &trial.model.gradients.part[i];
        double worst = try_part(&trial, weights, gradients, seed);
        bool fine = worst < allowed; /* false for NaN */
        if (weights->layer >= 0) {
            printf("layer %d, ", weights->layer + 1);
        } else {
            printf("         ");
        }
        printf("%-15s worst error %.1e of its gradients%s\n", weights->name, worst,
               fine ? "" : ": WRONG");
        good = good && fine;
    }
    model_close(&trial.model);
    return good;
}
