/*
 * The approximation x/2 (1 + tanh(u)) with u = sqrt(2/pi) (x + 0.044715 x^3) is the
 * same as x s(2 u) with the logistic function s(z) = 1 / (1 + exp(-z)), whose
 * derivative is s (1 - s).
 */
#include "gelu.h"

#include "exponential.h"

enum { PIECE = 16384 }; /* numbers of a task */

static const float slope = 1.59576912f; /* 2 sqrt(2 / pi) */
static const float cubic = 0.044715f;

struct job {
    float *out;
    const float *in;
    size_t count;
};

static void forward(void *argument, int32_t index) {
    const struct job *job = argument;
    size_t first = (size_t)index * PIECE;
    size_t count = job->count - first < PIECE ? job->count - first : PIECE;
    const float *restrict in = job->in + first;
    float *restrict out = job->out + first;
    for (size_t i = 0; i < count; i++) {
        float x = in[i];
        float z = slope * (x + cubic * x * x * x);
        out[i] = x / (1 + exponential(-z));
    }
}

static void backward(void *argument, int32_t index) {
    const struct job *job = argument;
    size_t first = (size_t)index * PIECE;
    size_t count = job->count - first < PIECE ? job->count - first : PIECE;
    const float *restrict in = job->in + first;
    float *restrict d = job->out + first;
    for (size_t i = 0; i < count; i++) {
        float x = in[i];
        float z = slope * (x + cubic * x * x * x);
        float s = 1 / (1 + exponential(-z));
        float d_z = slope * (1 + 3 * cubic * x * x);
        d[i] *= s + x * s * (1 - s) * d_z;
    }
}

static void run(struct workers *workers, attn_task *task, struct job *job) {
    workers_run(workers, (int32_t)((job->count + PIECE - 1) / PIECE), task, job);
}

void gelu_forward(struct workers *workers, float *out, const float *in, size_t count) {
    struct job job = {out, in, count};
    run(workers, forward, &job);
}

void gelu_backward(struct workers *workers, float *d, const float *in, size_t count) {
    struct job job = {d, in, count};
    run(workers, backward, &job);
}
