/*
 * A row of the output, of one query over all keys, and the row's maximum and sum where
 * gradients are made from them.
 *
 * The bound, per component c of a row with weights p over n attended keys (u = 2^-24):
 *
 *     |error| <= (2 max_j d_j + terms u) sum_j p_j |v_jc|
 *     d_j      = error of score j + 1.1 u |s_j - m|
 *
 * with m the maximum and terms the roundings of a sum over n keys. Dropout multiplies
 * p_j by a factor, whose two roundings the terms have room for. A result that is stored
 * in 16 bits is rounded once more.
 */
#include "bench/check.h"

#include <math.h>
#include <stdlib.h>

#include "bench/fail.h"
#include "bench/memory.h"
#include "bench/reference.h"
#include "bench/storage.h"

/* One query and what is known of its keys. */
struct row {
    struct query query;
    double *score;    /* of each key, -infinity where masked */
    double *error;    /* of each score, without the part that depends on the maximum */
    double most, sum; /* maximum and sum of exp(score - maximum), sink included */
    double worst;     /* largest d_j */
    double roundings; /* of a sum over the keys, times u */
};

void check_number(struct bench_case *c, const char *what, int64_t b, int64_t h,
                  int64_t row, int64_t column, double got, double expected,
                  double allowed) {
    double part = fabs(got - expected) / allowed;
    if (!(part <= 1)) { /* also where it is NaN */
        fail(FAILED,
             "%s: wrong %s in batch %lld, head %lld, row %lld, component %lld: %.9g, "
             "expected %.9g within %.2g",
             c->title, what, (long long)b, (long long)h, (long long)row,
             (long long)column, got, expected, allowed);
    }
    c->worst = fmax(c->worst, part);
}

/* Scores, maximum, sum and errors. */
static void score_row(struct row *row) {
    const struct query *query = &row->query;
    const struct inputs *in = &query->c->inputs;
    int64_t count = query->c->problem.kv_length, attended = 0;
    int empty = !reference_is_query(query);

    row->most = in->sinks ? in->sinks[query->h] : -INFINITY;
    for (int64_t j = 0; j < count; j++) {
        row->score[j] = -INFINITY;
        if (empty || !reference_attends(query, j)) {
            continue;
        }
        struct score score = reference_score(query, j);
        row->score[j] = score.value;
        row->error[j] = score.error;
        row->most = fmax(row->most, score.value);
        attended++;
    }

    row->worst = 0;
    row->sum = in->sinks ? exp(in->sinks[query->h] - row->most) : 0;
    for (int64_t j = 0; j < count; j++) {
        if (row->score[j] == -INFINITY) {
            continue;
        }
        double below = row->most - row->score[j];
        row->sum += exp(-below);
        row->worst = fmax(row->worst, row->error[j] + UNIT * 1.1 * below);
    }
    row->roundings = reference_sum_roundings(attended) * UNIT;
}

/* Compares the row of out. */
static void check_out(struct bench_case *c, const struct row *row) {
    const struct query *query = &row->query;
    const struct test_problem *p = &c->problem;
    const float *out = reference_query_row(query, c->inputs.out, p->value_dim);
    double factor = 2 * row->worst + row->roundings;

    for (int32_t x = 0; x < p->value_dim; x++) {
        double expected = 0, size = 0;
        for (int64_t j = 0; j < p->kv_length; j++) {
            if (row->score[j] == -INFINITY) {
                continue;
            }
            double weight = exp(row->score[j] - row->most) / row->sum;
            weight *= reference_drop(query, j);
            double value =
                reference_key_row(query, c->inputs.value, j, p->value_dim)[x];
            expected += weight * value;
            size += weight * fabs(value);
        }
        /* The second part is for weights that are too small for float32. */
        check_number(c, "result", query->b, query->h, query->i, x, out[x], expected,
                     factor * size + 1e-30 + storage_rounding(p, size));
    }
}

/* The logarithm of the sum, since the maximum alone may be off by its error. */
static void check_sums(struct bench_case *c, const struct row *row) {
    const struct query *query = &row->query;
    const struct test_problem *p = &c->problem;
    int64_t at = (query->b * p->q_heads + query->h) * p->q_length + query->i;
    double most = c->inputs.row_max[at], sum = c->inputs.row_sum[at];
    if (!(row->sum > 0)) {
        check_number(c, "sum", query->b, query->h, query->i, 0, sum, 0, 1e-30);
        return;
    }
    double expected = row->most + log(row->sum);
    check_number(c, "maximum and sum", query->b, query->h, query->i, 0, most + log(sum),
                 expected, row->worst + row->roundings + UNIT * fabs(row->most));
}

void check_case(struct bench_case *c) {
    const struct test_problem *p = &c->problem;
    struct row row = {.query = {.c = c}};
    row.score = memory_get(p->kv_length, sizeof *row.score);
    row.error = memory_get(p->kv_length, sizeof *row.error);

    case_run(c);
    storage_read_out(&c->inputs, p);

    int64_t all = product(p->batch, p->q_heads, p->q_length, 1);
    for (int64_t r = 0; r < reference_rows(all); r++) {
        int64_t index = reference_pick(all, r);
        row.query.i = index % p->q_length;
        row.query.h = index / p->q_length % p->q_heads;
        row.query.b = index / p->q_length / p->q_heads;
        score_row(&row);
        check_out(c, &row);
        if (c->backward) {
            check_sums(c, &row);
        }
        c->checked++;
    }
    free(row.score);
    free(row.error);
    if (c->backward) {
        check_gradients(c);
    }
}
