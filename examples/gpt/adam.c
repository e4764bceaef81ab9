/*
 * Tasks are pieces of the one array that holds all weights. The length of the gradient
 * is summed piece by piece, and then over the pieces in their order.
 */
#include "adam.h"

#include <math.h>
#include <stdlib.h>

#include "fail.h"

enum { PIECE = 16384 };

/* The usual ones, but for a shorter memory of squares: there are only some hundred
 * steps. */
static const double beta_first = 0.9;
static const double beta_second = 0.99;
static const double decay = 0.1;
static const double longest = 1; /* a longer gradient is shortened to this */

struct job {
    const struct adam *adam;
    struct weights *weights;
    const struct weights *gradients;
    double *squares; /* of a piece */
    float shorten;   /* factor of the gradient */
    float rate;      /* with the correction of the first average */
    float correct;   /* of the second */
    float keep;      /* what decay leaves of a weight */
};

static size_t end_of(const struct job *job, int32_t index) {
    size_t end = ((size_t)index + 1) * PIECE;
    return end < job->weights->count ? end : job->weights->count;
}

static void sum_squares(void *argument, int32_t index) {
    const struct job *job = argument;
    size_t end = end_of(job, index);
    double sum = 0;
    for (size_t i = (size_t)index * PIECE; i < end; i++) {
        double gradient = job->gradients->all[i];
        sum += gradient * gradient;
    }
    job->squares[index] = sum;
}

static void move(void *argument, int32_t index) {
    const struct job *job = argument;
    float *restrict weight = job->weights->all;
    const float *restrict gradient = job->gradients->all;
    float *restrict first = job->adam->first;
    float *restrict second = job->adam->second;
    const float b1 = (float)beta_first;
    const float b2 = (float)beta_second;
    const float tiny = 1e-8f;
    size_t end = end_of(job, index);
    for (size_t i = (size_t)index * PIECE; i < end; i++) {
        float g = gradient[i] * job->shorten;
        float keep = i < job->weights->decaying ? job->keep : 1;
        first[i] = b1 * first[i] + (1 - b1) * g;
        second[i] = b2 * second[i] + (1 - b2) * g * g;
        weight[i] = keep * weight[i] -
                    job->rate * first[i] / (sqrtf(second[i] * job->correct) + tiny);
    }
}

void adam_open(struct adam *adam, size_t count) {
    adam->first = memory_get_aligned(count, sizeof *adam->first);
    adam->second = memory_get_aligned(count, sizeof *adam->second);
}

void adam_step(struct adam *adam, struct workers *workers, struct weights *weights,
               const struct weights *gradients, int step, double rate) {
    int32_t pieces = (int32_t)((weights->count + PIECE - 1) / PIECE);
    struct job job = {
        .adam = adam,
        .weights = weights,
        .gradients = gradients,
        .squares = memory_get((size_t)pieces, sizeof *job.squares),
        .rate = (float)(rate / (1 - pow(beta_first, step))),
        .correct = (float)(1 / (1 - pow(beta_second, step))),
        .keep = (float)(1 - rate * decay),
    };
    workers_run(workers, pieces, sum_squares, &job);
    double squares = 0;
    for (int32_t i = 0; i < pieces; i++) {
        squares += job.squares[i];
    }
    double length = sqrt(squares);
    job.shorten = (float)(length > longest ? longest / length : 1);
    workers_run(workers, pieces, move, &job);
    free(job.squares);
}

void adam_close(struct adam *adam) {
    free(adam->first);
    free(adam->second);
    *adam = (struct adam){0};
}
