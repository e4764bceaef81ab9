/*
 * With p the softmax of a row and t its target, the loss is -log p[t], and its gradient
 * by logit j is p[j], less 1 for j = t.
 */
#include "loss.h"

#include <math.h>
#include <stddef.h>

#include "exponential.h"

enum { ROWS = 32 };

struct job {
    double *loss;
    float *logits;
    const uint16_t *target;
    int rows, kinds;
    bool gradients;
};

static double row_loss(float *logit, int kinds, int target, float scale,
                       bool gradients) {
    float most = logit[0];
    for (int i = 1; i < kinds; i++) {
        most = logit[i] > most ? logit[i] : most;
    }
    double loss = (double)most - (double)logit[target];
    double sum = 0;
    if (!gradients) {
        for (int i = 0; i < kinds; i++) {
            sum += (double)exponential(logit[i] - most);
        }
        return loss + log(sum);
    }
    for (int i = 0; i < kinds; i++) {
        logit[i] = exponential(logit[i] - most);
    }
    for (int i = 0; i < kinds; i++) {
        sum += (double)logit[i];
    }
    float factor = (float)((double)scale / sum);
    for (int i = 0; i < kinds; i++) {
        logit[i] *= factor;
    }
    logit[target] -= scale;
    return loss + log(sum);
}

static void rows_task(void *argument, int32_t index) {
    const struct job *job = argument;
    int end = (index + 1) * ROWS < job->rows ? (index + 1) * ROWS : job->rows;
    for (int row = index * ROWS; row < end; row++) {
        job->loss[row] =
            row_loss(job->logits + (ptrdiff_t)row * job->kinds, job->kinds,
                     job->target[row], 1 / (float)job->rows, job->gradients);
    }
}

void loss_rows(struct workers *workers, double *loss, float *logits,
               const uint16_t *target, int rows, int kinds, bool gradients) {
    struct job job = {loss, logits, target, rows, kinds, gradients};
    workers_run(workers, (rows + ROWS - 1) / ROWS, rows_task, &job);
}
