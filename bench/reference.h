/*
 * The definition of attention in attn/sdpa.h in float64, one query and one key at a
 * time, and the error that float32 arithmetic may make there. It reads the arrays that
 * the tensors were made from and shares no code with the library.
 */
#ifndef BENCH_REFERENCE_H
#define BENCH_REFERENCE_H

#include "bench/case.h"

/* Unit roundoff of float32. */
#define UNIT 0x1p-24

/* Query i of head h in batch element b. */
struct query {
    const struct bench_case *c;
    int64_t b, h, i;
};

/* Whether the query may attend anything; it may not beyond its length. */
int reference_is_query(const struct query *query);

/* Whether it attends key j. */
int reference_attends(const struct query *query, int64_t j);

/* The part of all pairs of a query and a key that masks leave, from up to 512 queries;
 * NaN without masks. */
double reference_kept(const struct bench_case *c);

/*
 * The score of a key, masks left out, with the error that it may carry:
 *
 *     g_(D+2) |scale| sum |q k| + u (2 |s| + |bias|) + 4 u
 *
 * for the product, for scale, softcap and bias, and for exp; g_k = k u / (1 - k u). The
 * subtraction of the maximum m, u |s - m|, is not in it.
 */
struct score {
    double value, error;
    /* derivative by the raw score, 1 without softcap, and the error of 1 - t^2 */
    double slope, slope_error;
};
struct score reference_score(const struct query *query, int64_t j);

/* What dropout multiplies the weight of key j by: 0 or 1 / (1 - p); 1 without. */
double reference_drop(const struct query *query, int64_t j);

/* The query's row of an array of query or out, which have dim columns. */
const float *reference_query_row(const struct query *query, const float *data,
                                 int64_t dim);

/* Row j of an array of key or value, of the head that the query reads. */
const float *reference_key_row(const struct query *query, const float *data, int64_t j,
                               int64_t dim);

/* sum of a b; *size: sum of |a b|. */
double reference_dot(const float *a, const float *b, int64_t count, double *size);

/* g_k for the sum of so many products. */
double reference_dot_error(int64_t count);

/* The roundings, in u, of a sum over n keys or queries in tiles of any size T from 64
 * to 512: T + n / T + 20. */
double reference_sum_roundings(int64_t n);

/*
 * Which of `all` rows a check looks at in turn r of reference_rows(all): all of them,
 * or the first, the last, and between them steps of the golden ratio, which fall into
 * no pattern with heads and tiles.
 */
int64_t reference_rows(int64_t all);
int64_t reference_pick(int64_t all, int64_t r);

#endif
