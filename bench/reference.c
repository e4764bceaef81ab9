/*
 * One pair of a query and a key, by the formulas at the top of attn/sdpa.h, as plainly
 * as they stand there.
 */
#include "bench/reference.h"

#include <math.h>

#include "bench/memory.h"
#include "tests/support/philox.h"

enum { ROWS = 64 };

static int64_t kv_length_of(const struct bench_case *c, int64_t b) {
    return c->inputs.kv_lengths ? c->inputs.kv_lengths[b] : c->problem.kv_length;
}

static int64_t q_length_of(const struct bench_case *c, int64_t b) {
    return c->inputs.q_lengths ? c->inputs.q_lengths[b] : c->problem.q_length;
}

static int64_t position(const struct query *query) {
    const struct bench_case *c = query->c;
    int64_t last_beside_last = kv_length_of(c, query->b) - q_length_of(c, query->b);
    switch (c->problem.alignment) {
    case ATTN_ALIGN_BOTTOM_RIGHT:
        return query->i + last_beside_last;
    case ATTN_ALIGN_OFFSETS:
        return query->i + c->inputs.offsets[query->b];
    case ATTN_ALIGN_KV_LENGTHS:
        return query->i + (c->inputs.kv_lengths ? last_beside_last : 0);
    default:
        return query->i;
    }
}

int reference_is_query(const struct query *query) {
    return query->i < q_length_of(query->c, query->b);
}

int reference_attends(const struct query *query, int64_t j) {
    const struct test_problem *p = &query->c->problem;
    const struct inputs *in = &query->c->inputs;
    int64_t b = query->b, i = query->i, at = position(query);

    if (j >= kv_length_of(query->c, b)) {
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
        int64_t block = (query->h * rows + i / p->q_block) * columns + j / p->k_block;
        if (!in->block_mask[block]) {
            return 0;
        }
    }
    return !in->mask || in->mask[i * p->kv_length + j];
}

double reference_kept(const struct bench_case *c) {
    const struct test_problem *p = &c->problem;
    const int64_t all = product(p->batch, p->q_heads, p->q_length, 1);
    const int64_t rows = all < 512 ? all : 512;
    const int masked = p->causal || p->left >= 0 || p->right >= 0 || p->q_lengths ||
                       p->kv_lengths || p->documents || p->prefix || p->q_block > 0 ||
                       p->mask;
    double kept = 0;
    for (int64_t r = 0; masked && r < rows; r++) {
        /* evenly spread, the middle of each part */
        const int64_t index = (2 * r + 1) * all / (2 * rows);
        const struct query query = {.c = c,
                                    .b = index / p->q_length / p->q_heads,
                                    .h = index / p->q_length % p->q_heads,
                                    .i = index % p->q_length};
        for (int64_t j = 0; j < p->kv_length && reference_is_query(&query); j++) {
            kept += reference_attends(&query, j) != 0;
        }
    }
    return masked && rows > 0 && p->kv_length > 0
               ? kept / ((double)rows * (double)p->kv_length)
               : NAN;
}

struct score reference_score(const struct query *query, int64_t j) {
    const struct test_problem *p = &query->c->problem;
    const struct inputs *in = &query->c->inputs;

    double size;
    double dot = reference_dot(reference_query_row(query, in->query, p->key_dim),
                               reference_key_row(query, in->key, j, p->key_dim),
                               p->key_dim, &size);
    double scale = p->has_scale ? p->scale : 1 / sqrt((double)p->key_dim);
    struct score score = {.value = scale * dot, .slope = 1};
    score.error = reference_dot_error(p->key_dim) * fabs(scale) * size;
    if (p->softcap > 0) {
        double t = tanh(score.value / p->softcap);
        score.value = p->softcap * t;
        score.slope = (1 - t) * (1 + t);
        double t_error = score.error / p->softcap * score.slope + 7 * UNIT * fabs(t);
        score.slope_error = 2 * fabs(t) * t_error + 4 * UNIT * score.slope;
        score.error += 4 * UNIT * fabs(score.value);
    }

    double bias = 0;
    if (in->bias) {
        bias = in->bias[(query->h * p->q_length + query->i) * p->kv_length + j];
    }
    if (in->slopes) {
        bias -= in->slopes[query->h] * fabs((double)(position(query) - j));
    }
    score.value += bias;
    score.error += UNIT * (2 * fabs(score.value) + fabs(bias)) + 4 * UNIT;
    return score;
}

double reference_drop(const struct query *query, int64_t j) {
    const struct test_problem *p = &query->c->problem;
    if (!(p->dropout > 0)) {
        return 1;
    }
    const struct philox counter = {{(uint32_t)query->b, (uint32_t)query->h,
                                    (uint32_t)query->i, (uint32_t)(j / 4)}};
    const struct philox words =
        philox(counter, (uint32_t)p->seed, (uint32_t)(p->seed >> 32));
    int kept = (double)(words.word[j % 4] >> 8) * 0x1p-24 >= (double)p->dropout;
    return kept ? 1 / (1 - (double)p->dropout) : 0;
}

const float *reference_query_row(const struct query *query, const float *data,
                                 int64_t dim) {
    const struct test_problem *p = &query->c->problem;
    return data +
           dim * inputs_row(p, p->q_heads, p->q_length, query->b, query->h, query->i);
}

const float *reference_key_row(const struct query *query, const float *data, int64_t j,
                               int64_t dim) {
    const struct test_problem *p = &query->c->problem;
    int64_t g = query->h / (p->q_heads / p->kv_heads);
    return data + dim * inputs_row(p, p->kv_heads, p->kv_length, query->b, g, j);
}

double reference_dot(const float *a, const float *b, int64_t count, double *size) {
    double sum = 0;
    *size = 0;
    for (int64_t x = 0; x < count; x++) {
        sum += (double)a[x] * b[x];
        *size += fabs((double)a[x] * b[x]);
    }
    return sum;
}

double reference_dot_error(int64_t count) {
    double roundings = (double)(count + 2) * UNIT;
    return roundings / (1 - roundings);
}

double reference_sum_roundings(int64_t n) {
    double count = (double)n;
    return fmax(64 + count / 64, 512 + count / 512) + 20;
}

int64_t reference_rows(int64_t all) {
    return all < ROWS ? all : ROWS;
}

int64_t reference_pick(int64_t all, int64_t r) {
    if (all <= ROWS) {
        return r;
    }
    if (r == ROWS - 1) {
        return all - 1;
    }
    return (int64_t)(fmod((double)r * 0.6180339887498949, 1) * (double)all);
}
