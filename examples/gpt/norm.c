/*
 * With s = 1 / sqrt(mean(in^2) + tiny) of a row:
 *
 *     out = gain s in
 *     d_in = s (gain d_out - in s^2 mean(gain d_out in))
 *     d_gain = sum over rows of d_out s in
 *
 * Tasks are groups of rows; for d_gain they are groups of columns, each of which goes
 * over all rows, so that every sum has one owner.
 */
#include "norm.h"

#include <math.h>
#include <stddef.h>

enum { ROWS = 64, COLUMNS = 32 };

static const float tiny = 1e-6f; /* a row of zeros stays one */

struct job {
    float *out, *scale, *d_in, *d_gain;
    const float *in, *gain, *d_out, *known_scale;
    int rows, dim;
};

static int least(int a, int b) {
    return a < b ? a : b;
}

/* The sum over i of a b, or of a b c, in eight parts, which compilers turn into
 * vectors. */
enum { PARTS = 8 };

static float total(const float part[PARTS]) {
    return ((part[0] + part[4]) + (part[2] + part[6])) +
           ((part[1] + part[5]) + (part[3] + part[7]));
}

static float sum_squares(const float *a, int count) {
    float part[PARTS] = {0};
    int i = 0;
    for (; i + PARTS <= count; i += PARTS) {
        for (int j = 0; j < PARTS; j++) {
            part[j] += a[i + j] * a[i + j];
        }
    }
    for (; i < count; i++) {
        part[0] += a[i] * a[i];
    }
    return total(part);
}

static float sum_products(const float *a, const float *b, const float *c, int count) {
    float part[PARTS] = {0};
    int i = 0;
    for (; i + PARTS <= count; i += PARTS) {
        for (int j = 0; j < PARTS; j++) {
            part[j] += a[i + j] * b[i + j] * c[i + j];
        }
    }
    for (; i < count; i++) {
        part[0] += a[i] * b[i] * c[i];
    }
    return total(part);
}

static void forward(void *argument, int32_t index) {
    const struct job *job = argument;
    int dim = job->dim;
    int end = least((index + 1) * ROWS, job->rows);
    for (int row = index * ROWS; row < end; row++) {
        const float *in = job->in + (ptrdiff_t)row * dim;
        float *out = job->out + (ptrdiff_t)row * dim;
        float scale = 1 / sqrtf(sum_squares(in, dim) / (float)dim + tiny);
        job->scale[row] = scale;
        for (int i = 0; i < dim; i++) {
            out[i] = job->gain[i] * scale * in[i];
        }
    }
}

void norm_forward(struct workers *workers, float *out, float *scale, const float *in,
                  const float *gain, int rows, int dim) {
    struct job job = {
        .out = out, .scale = scale, .in = in, .gain = gain, .rows = rows, .dim = dim};
    workers_run(workers, (rows + ROWS - 1) / ROWS, forward, &job);
}

static void backward(void *argument, int32_t index) {
    const struct job *job = argument;
    int dim = job->dim;
    int end = least((index + 1) * ROWS, job->rows);
    for (int row = index * ROWS; row < end; row++) {
        const float *in = job->in + (ptrdiff_t)row * dim;
        const float *d_out = job->d_out + (ptrdiff_t)row * dim;
        float *d_in = job->d_in + (ptrdiff_t)row * dim;
        float scale = job->known_scale[row];
        float mean = sum_products(job->gain, d_out, in, dim) / (float)dim;
        float along = scale * scale * mean;
        for (int i = 0; i < dim; i++) {
            d_in[i] += scale * (job->gain[i] * d_out[i] - along * in[i]);
        }
    }
}

static void backward_gain(void *argument, int32_t index) {
    const struct job *job = argument;
    int first = index * COLUMNS;
    int columns = least(COLUMNS, job->dim - first);
    float sum[COLUMNS] = {0};
    for (int row = 0; row < job->rows; row++) {
        const float *in = job->in + (ptrdiff_t)row * job->dim + first;
        const float *d_out = job->d_out + (ptrdiff_t)row * job->dim + first;
        float scale = job->known_scale[row];
        for (int i = 0; i < columns; i++) {
            sum[i] += d_out[i] * scale * in[i];
        }
    }
    for (int i = 0; i < columns; i++) {
        job->d_gain[first + i] = sum[i];
    }
}

void norm_backward(struct workers *workers, float *d_in, float *d_gain,
                   const float *d_out, const float *in, const float *scale,
                   const float *gain, int rows, int dim) {
    struct job job = {.d_in = d_in,
                      .d_gain = d_gain,
                      .d_out = d_out,
                      .in = in,
                      .known_scale = scale,
                      .gain = gain,
                      .rows = rows,
                      .dim = dim};
    workers_run(workers, (rows + ROWS - 1) / ROWS, backward, &job);
    workers_run(workers, (dim + COLUMNS - 1) / COLUMNS, backward_gain, &job);
}
