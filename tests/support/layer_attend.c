/*
 * Attention: scores, who attends whom, softmax, sums; for each query of each head.
 */
#include <math.h>
#include <stdlib.h>

#include "tests/support/element.h"
#include "tests/support/layer_oracle.h"
#include "tests/support/philox.h"

/* One query of one head. */
struct row {
    const struct attending *a;
    int64_t b, h, i;
    node *score; /* of keys and extras; NO_NODE: not attended */
};

static node zero(struct tape *tape) {
    return tape_input(tape, 0);
}

/* A node of a tensor by the broadcasting rule. */
static node element_node(const struct layer_tensor *t, int64_t i0, int64_t i1,
                         int64_t i2, int64_t i3) {
    const int64_t index[4] = {i0, i1, i2, i3};
    int64_t at = 0;
    for (int32_t d = 0; d < t->tensor.rank; d++) {
        const int64_t size = t->tensor.shape[d];
        at = at * size + (size > 1 ? index[4 - t->tensor.rank + d] : 0);
    }
    return t->leaf[at];
}

static const struct layer_tensor *input_of(const struct attending *a,
                                           const char *name) {
    return layer_find(a->call, a->inputs, name);
}

/* A table of relative positions: a parameter or an input. */
static const node *table_of(const struct attending *a, const char *parameter,
                            const char *input) {
    return a->attention->options.relative
               ? layer_leaves(a->call, a->parameters, parameter)
               : layer_leaves(a->call, a->inputs, input);
}

static int64_t length_of(const struct attending *a, const char *name, int64_t b,
                         int64_t otherwise) {
    const struct layer_tensor *t = input_of(a, name);
    return t != NULL ? element_int(&t->tensor, 0, b) : otherwise;
}

static int64_t position_of(const struct row *r) {
    const struct attending *a = r->a;
    switch (a->attention->align) {
    case ATTN_ALIGN_BOTTOM_RIGHT:
        return r->i + length_of(a, "kv_lengths", r->b, a->keys) -
               length_of(a, "q_lengths", r->b, a->rows);
    case ATTN_ALIGN_OFFSETS:
        return r->i + element_int(&input_of(a, "query_offsets")->tensor, 0, r->b);
    default:
        return r->i;
    }
}

static int attends(const struct row *r, int64_t j) {
    const struct attending *a = r->a;
    const struct layer_attention *facts = a->attention;
    const int64_t p = position_of(r);
    const struct layer_tensor *mask = input_of(a, "mask");
    return r->i < length_of(a, "q_lengths", r->b, a->rows) &&
           j < length_of(a, "kv_lengths", r->b, a->keys) &&
           (!facts->causal || j <= p) &&
           (facts->window == 0 || (j >= p - facts->window && j <= p + facts->window)) &&
           (mask == NULL ||
            *(uint8_t *)element_at(&mask->tensor, r->b, r->h, r->i, j) != 0);
}

/* ------------------------------------------------------------------------ scores */

/* scale (query + bias) . key; bias may be NULL. */
static node product(const struct row *r, const node *bias, const node *key) {
    const struct attending *a = r->a;
    const int64_t dim = a->n.key_dim;
    const node *query = a->query + ((r->b * a->rows + r->i) * a->n.heads + r->h) * dim;
    struct tape *tape = &a->oracle->tape;
    const double scale =
        a->attention->scale != 0 ? a->attention->scale : 1 / sqrt((double)dim);
    node sums[512];
    assert_true(dim <= (int64_t)COUNT_OF(sums));
    for (int64_t c = 0; c < dim; c++) {
        sums[c] = query[c];
        if (bias != NULL) {
            struct tape_sum two = tape_start(tape);
            tape_add(tape, &two, query[c], 1);
            tape_add(tape, &two, bias[r->h * dim + c], 1);
            sums[c] = tape_finish(tape, two, 0);
        }
    }
    struct tape_sum sum = tape_start(tape);
    for (int64_t c = 0; c < dim; c++) {
        tape_add_product(tape, &sum, sums[c], key[c]);
    }
    return tape_scaled(tape, tape_finish(tape, sum, 4), scale, 3);
}

static node capped(const struct row *r, node score) {
    const double cap = r->a->attention->softcap;
    struct tape *tape = &r->a->oracle->tape;
    if (cap == 0) {
        return score;
    }
    const double t = tanh(tape_value(tape, score) / cap), slope = (1 - t) * (1 + t);
    const double f[] = {cap * t, slope, -2 * t * slope / cap};
    return tape_function(tape, score, f, 7, 0);
}

/* The bucket of a distance, j - p. */
static int64_t bucket_of(const struct layer_attention *facts, int64_t distance) {
    const int64_t n = facts->bidirectional ? facts->buckets / 2 : facts->buckets;
    const int64_t e = n / 2, most = 20;
    const int64_t back = distance > 0 && facts->bidirectional ? distance : -distance;
    int64_t bucket = back;
    if (back <= 0) {
        bucket = 0;
    } else if (back >= e) {
        const double part = log((double)back / (double)e) /
                            log((double)most / (double)e) * (double)(n - e);
        bucket = e + (int64_t)floor(part);
        bucket = bucket < n - 1 ? bucket : n - 1;
    }
    return bucket + (distance > 0 && facts->bidirectional ? n : 0);
}

/* What is added after the softcap. */
static void add_terms(const struct row *r, int64_t j, struct tape_sum *sum,
                      const node *products) {
    const struct attending *a = r->a;
    struct tape *tape = &a->oracle->tape;
    const int64_t p = position_of(r);
    const struct layer_tensor *bias = input_of(a, "bias");
    const struct layer_tensor *slopes = input_of(a, "alibi_slopes");
    const struct layer_tensor *buckets = input_of(a, "relative_bias");
    if (bias != NULL) {
        tape_add(tape, sum, element_node(bias, r->b, r->h, r->i, j), 1);
    }
    if (slopes != NULL) {
        tape_add(tape, sum, element_node(slopes, 0, 0, r->b, r->h),
                 -fabs((double)(p - j)));
    }
    if (buckets != NULL) {
        tape_add(tape, sum,
                 element_node(buckets, 0, 0, bucket_of(a->attention, j - p), r->h), 1);
    }
    for (int n = 0; n < 2; n++) {
        if (products[n] != NO_NODE) {
            tape_add(tape, sum, products[n], 1);
        }
    }
}

/* Terms that are products of their own: relative keys, segments. */
static void relative_terms(const struct row *r, int64_t j, node *products) {
    const struct attending *a = r->a;
    const int64_t dim = a->n.key_dim;
    products[0] = products[1] = NO_NODE;
    if (a->relative != NULL) {
        int64_t at = j - position_of(r) + a->attention->zero_row;
        at = at < 0 ? 0 : at >= a->relative_rows ? a->relative_rows - 1 : at;
        products[0] = product(r, table_of(a, "r_r_bias", "position_bias"),
                              a->relative + (r->h * a->relative_rows + at) * dim);
    }
    if (a->attention->segments) {
        const int differ =
            element_int(&input_of(a, "q_segments")->tensor, r->b, r->i) !=
            element_int(&input_of(a, "k_segments")->tensor, r->b, j);
        const node *keys = table_of(a, "seg_embed", "segment_keys");
        products[1] = product(r, table_of(a, "r_s_bias", "segment_bias"),
                              keys + (differ * a->n.heads + r->h) * dim);
    }
}

static node score_of(const struct row *r, int64_t j) {
    const struct attending *a = r->a;
    struct tape *tape = &a->oracle->tape;
    const int64_t g = r->h / (a->n.heads / a->n.kv_heads), dim = a->n.key_dim;
    const node *key = a->key + ((r->b * a->keys + j) * a->n.kv_heads + g) * dim;
    const node plain =
        capped(r, product(r, table_of(a, "r_w_bias", "content_bias"), key));
    node products[2];
    relative_terms(r, j, products);
    struct tape_sum sum = tape_start(tape);
    tape_add(tape, &sum, plain, 1);
    add_terms(r, j, &sum, products);
    return tape_finish(tape, sum, 4);
}

/* ------------------------------------------------------------------- extra keys */

/* Row e of the keys, or values, that are added: a parameter first, then zeros. */
static node extra_node(const struct attending *a, const char *name, int64_t e,
                       int64_t feature) {
    const node *bias = layer_leaves(a->call, a->parameters, name);
    return bias != NULL && e == 0 ? bias[feature] : zero(&a->oracle->tape);
}

static node extra_score(const struct row *r, int64_t e) {
    const struct attending *a = r->a;
    const int64_t g = r->h / (a->n.heads / a->n.kv_heads), dim = a->n.key_dim;
    node key[512];
    for (int64_t c = 0; c < dim; c++) {
        key[c] = extra_node(a, "bias_k", e, g * dim + c);
    }
    return capped(r, product(r, NULL, key));
}

/* ----------------------------------------------------------------------- softmax */

/* The scores of a row as exp(score - top), with the sink's at the end, and their sum.
 */
struct softmax {
    double top;
    node *exp; /* NO_NODE: not attended */
    node sum;  /* NO_NODE: of nothing */
};

/* exp(x - top) is off by u for each unit of the exponent, and some. */
static node exponential(struct tape *tape, node x, double top) {
    const double below = tape_value(tape, x) - top, e = exp(below);
    const double f[] = {e, e, e};
    return tape_function(tape, x, f, fabs(below) + 8, 0);
}

/* A row beyond the lengths is all sink, without a gradient. */
static void make_softmax(const struct row *r, int64_t count, struct softmax *softmax) {
    struct tape *tape = &r->a->oracle->tape;
    const struct layer_tensor *sinks = input_of(r->a, "sinks");
    double top = -INFINITY;
    r->score[count] = sinks != NULL ? sinks->leaf[r->h] : NO_NODE;
    if (sinks != NULL && r->i >= length_of(r->a, "q_lengths", r->b, r->a->rows)) {
        r->score[count] = tape_input(tape, tape_value(tape, r->score[count]));
    }
    for (int64_t j = 0; j <= count; j++) {
        if (r->score[j] != NO_NODE) {
            top = fmax(top, tape_value(tape, r->score[j]));
        }
    }
    softmax->top = top;
    softmax->sum = NO_NODE;
    for (int64_t j = 0; j <= count; j++) {
        softmax->exp[j] =
            r->score[j] != NO_NODE ? exponential(tape, r->score[j], top) : NO_NODE;
    }
    if (top > -INFINITY) {
        struct tape_sum sum = tape_start(tape);
        for (int64_t j = 0; j <= count; j++) {
            if (softmax->exp[j] != NO_NODE) {
                tape_add(tape, &sum, softmax->exp[j], 1);
            }
        }
        softmax->sum = tape_finish(tape, sum, 12);
    }
}

/* log(sum) + top, which rounds twice. */
static node logarithm(struct tape *tape, const struct softmax *softmax) {
    const double sum = tape_value(tape, softmax->sum), lse = softmax->top + log(sum);
    const double f[] = {lse, 1 / sum, -1 / (sum * sum)};
    return tape_function(tape, softmax->sum, f,
                         4 + 2 * (1 + fabs(softmax->top)) / fmax(fabs(lse), 0x1p-30),
                         0);
}

/* Weights of a row. A library may know them by their LSE alone, whose rounding is that
 * of a number of its size. */
static void weigh(const struct row *r, int64_t count, const struct softmax *softmax,
                  node *weight) {
    struct tape *tape = &r->a->oracle->tape;
    if (softmax->sum == NO_NODE) {
        return;
    }
    const double sum = tape_value(tape, softmax->sum);
    const double f[] = {1 / sum, -1 / (sum * sum), 2 / (sum * sum * sum)};
    const double lse = softmax->top + log(sum);
    const node inverse = tape_function(tape, softmax->sum, f, 4 + 2 * fabs(lse), 0);
    for (int64_t j = 0; j < count; j++) {
        if (softmax->exp[j] != NO_NODE) {
            weight[j] = tape_product(tape, softmax->exp[j], inverse, 2);
        }
    }
}

/* The factor of dropout. Extra keys count from 0 again, with a seed of their own. */
static double kept(const struct row *r, int64_t j) {
    const double probability = r->a->attention->dropout;
    if (probability == 0) {
        return 1;
    }
    const uint64_t plain = (uint64_t)r->a->call->dropout_seed + (uint64_t)r->a->block;
    const uint64_t seed = j < r->a->keys ? plain : ~plain;
    j -= j < r->a->keys ? 0 : r->a->keys;
    const struct philox random =
        philox((struct philox){{(uint32_t)r->b, (uint32_t)r->h, (uint32_t)r->i,
                                (uint32_t)(j / 4)}},
               (uint32_t)seed, (uint32_t)(seed >> 32));
    return (random.word[j % 4] >> 8) * 0x1p-24 >= probability ? 1 / (1 - probability)
                                                              : 0;
}

/* Value j of the head, feature c. */
static node value_of(const struct row *r, int64_t j, int64_t c) {
    const struct attending *a = r->a;
    const int64_t g = r->h / (a->n.heads / a->n.kv_heads), dim = a->n.value_dim;
    return j < a->keys ? a->value[((r->b * a->keys + j) * a->n.kv_heads + g) * dim + c]
                       : extra_node(a, "bias_v", j - a->keys, g * dim + c);
}

static void sum_values(const struct row *r, const node *weight, int64_t count) {
    const struct attending *a = r->a;
    struct tape *tape = &a->oracle->tape;
    const int64_t dim = a->n.value_dim;
    node *out = a->heads + ((r->b * a->rows + r->i) * a->n.heads + r->h) * dim;
    node factor[512];
    assert_true(count <= (int64_t)COUNT_OF(factor));
    for (int64_t j = 0; j < count; j++) {
        factor[j] = weight[j] == NO_NODE || kept(r, j) == 0
                        ? NO_NODE
                        : tape_scaled(tape, weight[j], kept(r, j), 2);
    }
    for (int64_t c = 0; c < dim; c++) {
        node value[512];
        for (int64_t j = 0; j < count; j++) {
            value[j] = factor[j] != NO_NODE ? value_of(r, j, c) : NO_NODE;
        }
        struct tape_sum sum = tape_start(tape);
        for (int64_t j = 0; j < count; j++) {
            if (factor[j] != NO_NODE) {
                tape_add_product(tape, &sum, factor[j], value[j]);
            }
        }
        out[c] = tape_finish(tape, sum, 20);
    }
}

void layer_attend(struct attending *a) {
    const int64_t count = a->keys + a->n.extras;
    struct tape *tape = &a->oracle->tape;
    struct row r = {.a = a, .score = layer_nodes(count + 1)};
    struct softmax softmax = {.exp = layer_nodes(count + 1)};
    for (int64_t n = 0; n < a->batch * a->n.heads * a->rows; n++) {
        r.b = n / a->rows / a->n.heads;
        r.h = n / a->rows % a->n.heads;
        r.i = n % a->rows;
        for (int64_t j = 0; j < count; j++) {
            r.score[j] = j >= a->keys     ? extra_score(&r, j - a->keys)
                         : attends(&r, j) ? score_of(&r, j)
                                          : NO_NODE;
        }
        make_softmax(&r, count, &softmax);
        weigh(&r, count, &softmax, a->weights + n * count);
        if (a->lse != NULL && softmax.sum != NO_NODE) {
            a->lse[n] = logarithm(tape, &softmax);
        }
        sum_values(&r, a->weights + n * count, count);
    }
    free(softmax.exp);
    free(r.score);
}
