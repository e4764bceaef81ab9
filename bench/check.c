/*
 * The definition of attention in attn/sdpa.h as a float64 loop over the keys of one
 * query, and the error that float32 arithmetic may make. It reads the arrays that the
 * tensors were made from and shares no code with the library.
 *
 * The bound, per component c of a row with weights p over n attended keys (u = 2^-24):
 *
 *     |error| <= (2 max_j d_j + terms u) sum_j p_j |v_jc|
 *     d_j      = g_(D+2) |scale| sum |q k| + u (2 |s_j| + |bias_j| + |s_j - m|) + 4 u
 *
 * d_j is the error of score j: of the product, of scale, softcap and bias, of the
 * subtraction of the maximum m and of exp; g_k = k u / (1 - k u). terms counts the
 * roundings of a sum over n keys in tiles of T: T + n / T + 20. A library may choose T
 * between 64 and 512.
 */
#include "bench/check.h"

#include <math.h>
#include <stdlib.h>

#include "bench/fail.h"
#include "bench/memory.h"

enum { ROWS = 64 };

#define UNIT 0x1p-24

/* One query and what is known of its keys. */
struct row {
    const struct bench_case *c;
    int64_t b, h, i;
    double *score;    /* of each key, -infinity where masked */
    double *error;    /* of each score, without the part that depends on the maximum */
    double most, sum; /* maximum and sum of exp(score - maximum), sink included */
};

static int64_t kv_length_of(const struct bench_case *c, int64_t b) {
    return c->inputs.kv_lengths ? c->inputs.kv_lengths[b] : c->problem.kv_length;
}

static int64_t q_length_of(const struct bench_case *c, int64_t b) {
    return c->inputs.q_lengths ? c->inputs.q_lengths[b] : c->problem.q_length;
}

static int64_t position(const struct row *row) {
    const struct bench_case *c = row->c;
    int64_t last_beside_last = kv_length_of(c, row->b) - q_length_of(c, row->b);
    switch (c->problem.alignment) {
    case ATTN_ALIGN_BOTTOM_RIGHT:
        return row->i + last_beside_last;
    case ATTN_ALIGN_OFFSETS:
        return row->i + c->inputs.offsets[row->b];
    case ATTN_ALIGN_KV_LENGTHS:
        return row->i + (c->inputs.kv_lengths ? last_beside_last : 0);
    default:
        return row->i;
    }
}

static int attends(const struct row *row, int64_t j) {
    const struct test_problem *p = &row->c->problem;
    const struct inputs *in = &row->c->inputs;
    int64_t b = row->b, i = row->i, at = position(row);

    if (j >= kv_length_of(row->c, b)) {
        return 0;
    }
    if (p->causal && j > at && !(in->prefix && j < in->prefix[b])) {
        return 0;
    }
    if ((p->left >= 0 && j < at - p->left) || (p->right >= 0 && j > at + p->right)) {
        return 0;
    }
    if (in->q_documents &&
        in->q_documents[b * p->q_length + i] != in->k_documents[b * p->kv_length + j]) {
        return 0;
    }
    if (in->block_mask) {
        int64_t rows = inputs_blocks(p->q_length, p->q_block);
        int64_t columns = inputs_blocks(p->kv_length, p->k_block);
        int64_t block = (row->h * rows + i / p->q_block) * columns + j / p->k_block;
        if (!in->block_mask[block]) {
            return 0;
        }
    }
    return !in->mask || in->mask[i * p->kv_length + j];
}

/* Row j of key or value that head h of the query reads. */
static const float *kv_row(const struct row *row, const float *data, int64_t j,
                           int64_t dim) {
    const struct test_problem *p = &row->c->problem;
    int64_t g = row->h / (p->q_heads / p->kv_heads);
    return data + dim * inputs_row(p, p->kv_heads, p->kv_length, row->b, g, j);
}

static const float *q_row(const struct row *row, const float *data, int64_t dim) {
    const struct test_problem *p = &row->c->problem;
    return data + dim * inputs_row(p, p->q_heads, p->q_length, row->b, row->h, row->i);
}

/* Score of key j before masks, and the error it may carry. */
static void score_key(struct row *row, int64_t j) {
    const struct test_problem *p = &row->c->problem;
    const struct inputs *in = &row->c->inputs;
    const float *query = q_row(row, in->query, p->key_dim);
    const float *key = kv_row(row, in->key, j, p->key_dim);

    double dot = 0, size = 0;
    for (int32_t x = 0; x < p->key_dim; x++) {
        dot += (double)query[x] * key[x];
        size += fabs((double)query[x] * key[x]);
    }
    double scale = p->has_scale ? p->scale : 1 / sqrt((double)p->key_dim);
    double score = scale * dot, roundings = (p->key_dim + 2) * UNIT;
    double error = roundings / (1 - roundings) * fabs(scale) * size;
    if (p->softcap > 0) {
        score = p->softcap * tanh(score / p->softcap);
        error += 4 * UNIT * fabs(score);
    }

    double bias = 0;
    if (in->bias) {
        bias = in->bias[(row->h * p->q_length + row->i) * p->kv_length + j];
    }
    if (in->slopes) {
        bias -= in->slopes[row->h] * fabs((double)(position(row) - j));
    }
    score += bias;
    row->score[j] = score;
    row->error[j] = error + UNIT * (2 * fabs(score) + fabs(bias)) + 4 * UNIT;
}

/* Scores, maximum and sum. Returns the factor of sum p |v| in the bound. */
static double score_row(struct row *row) {
    const struct bench_case *c = row->c;
    int64_t count = c->problem.kv_length, attended = 0;
    int empty = row->i >= q_length_of(c, row->b);

    row->most = c->inputs.sinks ? c->inputs.sinks[row->h] : -INFINITY;
    for (int64_t j = 0; j < count; j++) {
        row->score[j] = -INFINITY;
        if (empty || !attends(row, j)) {
            continue;
        }
        score_key(row, j);
        row->most = fmax(row->most, row->score[j]);
        attended++;
    }

    double worst = 0;
    row->sum = c->inputs.sinks ? exp(c->inputs.sinks[row->h] - row->most) : 0;
    for (int64_t j = 0; j < count; j++) {
        if (row->score[j] == -INFINITY) {
            continue;
        }
        double below = row->most - row->score[j];
        row->sum += exp(-below);
        worst = fmax(worst, row->error[j] + UNIT * below);
    }
    double n = (double)attended;
    return 2 * worst + (fmax(64 + n / 64, 512 + n / 512) + 20) * UNIT;
}

/* Compares the row of out. Returns its largest error as a part of what is allowed. */
static double check_row(struct row *row) {
    const struct bench_case *c = row->c;
    const struct test_problem *p = &c->problem;
    const float *out = q_row(row, c->inputs.out, p->value_dim);
    double factor = score_row(row), worst = 0;

    for (int32_t x = 0; x < p->value_dim; x++) {
        double expected = 0, size = 0;
        for (int64_t j = 0; j < p->kv_length; j++) {
            if (row->score[j] == -INFINITY) {
                continue;
            }
            double weight = exp(row->score[j] - row->most) / row->sum;
            double value = kv_row(row, c->inputs.value, j, p->value_dim)[x];
            expected += weight * value;
            size += weight * fabs(value);
        }

        /* The second part is for weights that are too small for float32. */
        double allowed = factor * size + 1e-30;
        double part = fabs(out[x] - expected) / allowed;
        if (!(part <= 1)) { /* also where it is NaN */
            fail(FAILED,
                 "%s: wrong result in batch %lld, head %lld, query %lld, component %d: "
                 "%.9g, expected %.9g within %.2g",
                 c->title, (long long)row->b, (long long)row->h, (long long)row->i,
                 (int)x, (double)out[x], expected, allowed);
        }
        worst = fmax(worst, part);
    }
    return worst;
}

void check_case(struct bench_case *c) {
    const struct test_problem *p = &c->problem;
    struct row row = {.c = c};
    row.score = memory_get(p->kv_length, sizeof *row.score);
    row.error = memory_get(p->kv_length, sizeof *row.error);

    case_run(c);

    /* All rows, or the first, the last, and between them steps of the golden ratio,
     * which fall into no pattern with heads and tiles. */
    int64_t all = product(p->batch, p->q_heads, p->q_length, 1);
    int64_t count = all < ROWS ? all : ROWS;
    for (int64_t r = 0; r < count; r++) {
        int64_t index = r;
        if (all > ROWS) {
            index = (int64_t)(fmod((double)r * 0.6180339887498949, 1) * (double)all);
        }
        if (r == count - 1) {
            index = all - 1;
        }
        row.i = index % p->q_length;
        row.h = index / p->q_length % p->q_heads;
        row.b = index / p->q_length / p->q_heads;
        c->worst = fmax(c->worst, check_row(&row));
        c->checked++;
    }
    free(row.score);
    free(row.error);
}
