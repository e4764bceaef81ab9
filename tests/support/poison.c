/*
 * Marks what the definition of attention needs, by place in memory so that broadcast
 * tensors come out right, and overwrites the rest.
 */
#include "tests/support/poison.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/element.h"
#include "tests/support/oracle.h"
#include "tests/support/oracle_relative.h"
#include "tests/support/rows.h"

/* One mark for each element of a tensor, in the order of memory. */
struct marks {
    const attn_tensor *tensor;
    uint8_t *needed;
};

static struct marks marks_open(const attn_tensor *tensor) {
    struct marks marks = {tensor, calloc((size_t)element_extent(tensor) + 1, 1)};
    assert_non_null(marks.needed);
    return marks;
}

static uint8_t *mark_of(struct marks *marks, int64_t i0, int64_t i1, int64_t i2,
                        int64_t i3) {
    const char *element = element_at(marks->tensor, i0, i1, i2, i3);
    ptrdiff_t bytes = element - (const char *)marks->tensor->data;
    return marks->needed + bytes / (ptrdiff_t)element_size(marks->tensor->dtype);
}

static float poison_number(int poison, int64_t count) {
    switch (poison) {
    case POISON_NAN:
        return NAN;
    case POISON_INFINITY:
        return count % 2 ? INFINITY : -INFINITY;
    case POISON_HUGE:
        return count % 2 ? FLT_MAX : -FLT_MAX;
    default:
        return 0;
    }
}

/* The largest bytes, but for NaN, which nothing turns into one: their scales do that.
 */
static double poison_of(int32_t dtype, int poison, int64_t count) {
    const float number = poison_number(poison, count);
    return dtype == ATTN_I8 && isnan(number) ? (double)(count % 255) : (double)number;
}

/* Overwrites the rows of (B, heads, length, dim) whose first element has no mark. */
static int64_t poison_rows(struct marks *marks, int poison) {
    const attn_tensor *tensor = marks->tensor;
    int64_t count = 0;
    for (int64_t b = 0; b < tensor->shape[0]; b++) {
        for (int64_t h = 0; h < tensor->shape[1]; h++) {
            for (int64_t i = 0; i < tensor->shape[2]; i++) {
                if (*mark_of(marks, b, h, i, 0)) {
                    continue;
                }
                for (int64_t c = 0; c < tensor->shape[3]; c++) {
                    element_put(tensor->dtype, element_at(tensor, b, h, i, c),
                                poison_of(tensor->dtype, poison, count++));
                }
            }
        }
    }
    return count;
}

/* The same for a bias, element by element. */
static int64_t poison_bias(struct marks *marks, const struct test_problem *p,
                           int poison) {
    int64_t count = 0;
    int64_t pairs = p->q_length * p->kv_length;
    for (int64_t n = 0; n < p->batch * p->q_heads * pairs; n++) {
        int64_t b = n / pairs / p->q_heads, h = n / pairs % p->q_heads;
        int64_t i = n / p->kv_length % p->q_length, j = n % p->kv_length;
        if (!*mark_of(marks, b, h, i, j)) {
            *(float *)element_at(marks->tensor, b, h, i, j) =
                poison_number(poison, count++);
        }
    }
    return count;
}

/* Overwrites all elements of a tensor that have no mark. */
static int64_t poison_elements(struct marks *marks, int poison) {
    int64_t count = 0;
    for (int64_t n = 0; n < element_count(marks->tensor); n++) {
        int64_t i[4];
        element_index(marks->tensor, n, i);
        if (!*mark_of(marks, i[0], i[1], i[2], i[3])) {
            *(float *)element_nth(marks->tensor, n) = poison_number(poison, count++);
        }
    }
    return count;
}

/* Documents, segments or ranks: what lies beyond the lengths gets a number that other
 * places have. */
static int64_t poison_tokens(const attn_tensor *numbers,
                             const struct test_inputs *inputs,
                             int64_t (*length)(const struct test_inputs *, int64_t)) {
    int64_t count = 0, batch = inputs->problem.batch, needed = 0;
    if (numbers->rank == 0) {
        return 0;
    }
    /* One list for all batch elements is needed as far as the longest. */
    const int shared = numbers->rank == 1 || numbers->shape[0] == 1;
    for (int64_t b = 0; b < batch; b++) {
        int64_t own = length(inputs, b);
        needed = !shared || own > needed ? own : needed;
        for (int64_t i = needed;
             i < numbers->shape[numbers->rank - 1] && (!shared || b == batch - 1);
             i++, count++) {
            element_set_int(numbers, b, i, count % 2);
        }
    }
    return count;
}

static int64_t poison_all_tokens(const struct test_inputs *in) {
    return poison_tokens(&in->q_documents, in, oracle_q_length) +
           poison_tokens(&in->k_documents, in, oracle_kv_length) +
           poison_tokens(&in->q_segments, in, oracle_q_length) +
           poison_tokens(&in->k_segments, in, oracle_kv_length) +
           poison_tokens(&in->q_ranks, in, oracle_q_length) +
           poison_tokens(&in->k_ranks, in, oracle_kv_length);
}

/* ------------------------------------------------ tables of relative positions */

/* The tables, and vectors for each head, that the pairs of a problem look into. */
enum {
    BUCKETS,
    RELATIVE_KEYS,
    CONTENT,
    POSITION,
    SEGMENT_KEYS,
    SEGMENT,
    SCORE_VECTOR,
    TABLES
};

static void tables_open(struct marks tables[TABLES], const struct test_inputs *in) {
    const attn_tensor *const tensors[TABLES] = {
        &in->relative_bias, &in->relative_keys, &in->content_bias, &in->position_bias,
        &in->segment_keys,  &in->segment_bias,  &in->score_vector};
    for (int t = 0; t < TABLES; t++) {
        tables[t] = marks_open(tensors[t]);
    }
}

static void mark_row(struct marks *marks, int64_t i1, int64_t i2) {
    const attn_tensor *tensor = marks->tensor;
    if (tensor->rank > 0) {
        memset(mark_of(marks, 0, i1, i2, 0), 1,
               (size_t)tensor->shape[tensor->rank - 1]);
    }
}

/* Marks what a pair that is attended needs. */
static void mark_tables(struct marks tables[TABLES], const struct test_inputs *in,
                        int64_t b, int64_t h, int64_t i, int64_t j) {
    if (in->problem.buckets > 0) {
        *mark_of(&tables[BUCKETS], 0, 0, oracle_bucket_of(in, b, i, j), h) = 1;
    }
    if (in->problem.relative_keys) {
        mark_row(&tables[RELATIVE_KEYS], h, oracle_relative_row(in, b, i, j));
    }
    if (in->problem.segments) {
        mark_row(&tables[SEGMENT_KEYS], oracle_segments_differ(in, b, i, j), h);
    }
    mark_row(&tables[CONTENT], 0, h);
    mark_row(&tables[POSITION], 0, h);
    mark_row(&tables[SEGMENT], 0, h);
    mark_row(&tables[SCORE_VECTOR], 0, h);
}

static int64_t poison_tables(struct marks tables[TABLES], int poison) {
    int64_t count = 0;
    for (int t = 0; t < TABLES; t++) {
        count += poison_elements(&tables[t], poison);
        free(tables[t].needed);
    }
    return count;
}

/* -------------------------------------------------------------------- all inputs */

int64_t poison_masked(struct test_inputs *inputs, int poison) {
    const struct test_problem *p = &inputs->problem;
    struct marks query = marks_open(&inputs->query), key = marks_open(&inputs->key);
    struct marks value = marks_open(&inputs->value);
    struct marks key_scales = marks_open(&inputs->key_scales);
    struct marks value_scales = marks_open(&inputs->value_scales);
    struct marks bias = {&inputs->bias, NULL}, tables[TABLES];
    tables_open(tables, inputs);
    if (p->bias) {
        bias = marks_open(&inputs->bias);
    }
    for (int64_t b = 0; b < p->batch; b++) {
        for (int64_t h = 0; h < p->q_heads; h++) {
            int64_t g = h / (p->q_heads / p->kv_heads);
            for (int64_t i = 0; i < p->q_length; i++) {
                for (int64_t j = 0; j < p->kv_length; j++) {
                    if (p->bias && oracle_attends_but_bias(inputs, b, h, i, j)) {
                        *mark_of(&bias, b, h, i, j) = 1;
                    }
                    if (oracle_attends(inputs, b, h, i, j)) {
                        const struct rows_place q = rows_of_query(inputs, b, i);
                        const struct rows_place k = rows_of_key(inputs, b, j);
                        *mark_of(&query, q.b, h, q.i, 0) = 1;
                        *mark_of(&key, k.b, g, k.i, 0) = 1;
                        *mark_of(&value, k.b, g, k.i, 0) = 1;
                        *mark_of(&key_scales, 0, k.b, g, k.i) = 1;
                        *mark_of(&value_scales, 0, k.b, g, k.i) = 1;
                        mark_tables(tables, inputs, b, h, i, j);
                    }
                }
            }
        }
    }
    int64_t count = poison_rows(&query, poison) + poison_rows(&key, poison) +
                    poison_rows(&value, poison) + poison_elements(&key_scales, poison) +
                    poison_elements(&value_scales, poison);
    if (p->bias) {
        count += poison_bias(&bias, p, poison);
    }
    free(query.needed);
    free(key.needed);
    free(value.needed);
    free(key_scales.needed);
    free(value_scales.needed);
    free(bias.needed);
    return count + poison_tables(tables, poison) + poison_all_tokens(inputs);
}

int poison_reaches(const struct test_problem *problem, int data, size_t tensor) {
    struct test_inputs inputs;
    int reached = 0;
    gen_inputs(&inputs, problem, data);
    poison_masked(&inputs, POISON_NAN);
    const attn_tensor *of = (const void *)((const char *)&inputs + tensor);
    for (int64_t n = 0; n < element_count(of); n++) {
        reached = reached || isnan(*(const float *)element_nth(of, n));
    }
    gen_free(&inputs);
    return reached;
}

/* ---------------------------------------------------- gradients that come in */

/* Marks what row i of a head needs of the gradients that come in. */
static void mark_incoming(struct marks *marks, const struct test_inputs *inputs,
                          int64_t b, int64_t h, int64_t i) {
    int attended = 0;
    for (int64_t j = 0; j < inputs->problem.kv_length; j++) {
        if (oracle_attends(inputs, b, h, i, j)) {
            *mark_of(&marks[OF_WEIGHTS], b, h, i, j) = 1;
            *mark_of(&marks[OF_KEY_SUMS], 0, b, h, j) = 1;
            attended = 1;
        }
    }
    for (int32_t c = 0; c < inputs->problem.value_dim && attended; c++) {
        *mark_of(&marks[OF_OUT], b, h, i, c) = 1;
    }
    if (attended || (inputs->problem.sinks && i < oracle_q_length(inputs, b))) {
        *mark_of(&marks[OF_LSE], 0, b, h, i) = 1;
    }
}

int64_t poison_incoming(const struct test_inputs *inputs,
                        struct test_incoming *incoming, int poison) {
    const struct test_problem *p = &inputs->problem;
    struct marks marks[INCOMING];
    int64_t count = 0;
    for (int w = 0; w < INCOMING; w++) {
        assert_true(incoming->tensor[w].rank > 0);
        marks[w] = marks_open(&incoming->tensor[w]);
    }
    for (int64_t n = 0; n < p->batch * p->q_heads * p->q_length; n++) {
        mark_incoming(marks, inputs, n / p->q_length / p->q_heads,
                      n / p->q_length % p->q_heads, n % p->q_length);
    }
    for (int w = 0; w < INCOMING; w++) {
        count += poison_elements(&marks[w], poison);
        free(marks[w].needed);
    }
    return count;
}
