/*
 * Makes query, key and value, in the types that they are stored in.
 */
#include <math.h>
#include <stdlib.h>

#include "tests/support/element.h"
#include "tests/support/gen_parts.h"

int32_t gen_dtype(int32_t store) {
    static const int32_t types[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_I8};
    return types[store];
}

/* ------------------------------------------------------------------- packing */

/* Sequences of up to `length` rows, the empty one and the longest among the likely
 * ones, and at times rows before and after all of them. */
static struct gen_packing pack(const struct test_problem *p, int which, int64_t length,
                               int64_t *starts) {
    struct random random = random_stream(p->seed, 170 + (uint64_t)which);
    struct gen_packing packing = {0};
    packing.first = random_percent(&random, 40) ? random_between(&random, 1, 9) : 0;
    packing.end = packing.first;
    for (int64_t b = 0; b < p->batch; b++) {
        const int fate = (int)random_between(&random, 0, 7);
        const int64_t own = fate < 3 ? fate / 2 : random_between(&random, 0, length);
        const int64_t rows = fate == 7 || own > length ? length : own;
        if (starts != NULL) {
            starts[b] = packing.end;
        }
        packing.end += rows;
        packing.longest = rows > packing.longest ? rows : packing.longest;
    }
    if (starts != NULL) {
        starts[p->batch] = packing.end;
    }
    packing.rows = packing.end;
    packing.rows += random_percent(&random, 40) ? random_between(&random, 1, 9) : 0;
    return packing;
}

struct gen_packing gen_pack_queries(const struct test_problem *p, int64_t *starts) {
    const int64_t length = p->q_length;
    return p->q_packed ? pack(p, QUERY, length, starts)
                       : (struct gen_packing){length, 0, length, length};
}

struct gen_packing gen_pack_keys(const struct test_problem *p, int64_t *starts) {
    const int64_t length = p->kv_length;
    return p->k_packed ? pack(p, KEY, length, starts)
                       : (struct gen_packing){length, 0, length, length};
}

static void make_starts(struct test_inputs *inputs, int which, attn_tensor *tensor) {
    const struct test_problem *p = &inputs->problem;
    int64_t *starts = malloc((size_t)(p->batch + 1) * sizeof *starts);
    assert_non_null(starts);
    if (which == Q_STARTS) {
        gen_pack_queries(p, starts);
    } else {
        gen_pack_keys(p, starts);
    }
    gen_place_ints(inputs, which, tensor, 0, p->batch + 1);
    for (int64_t b = 0; b <= p->batch; b++) {
        element_set_int(tensor, 0, b, starts[b]);
    }
    free(starts);
}

/* ------------------------------------------------------------------- layouts */

/* A tensor of (B, heads, length, dim) in the problem's layout, at times with gaps
 * between rows and between heads; of batch 1 with all rows of packed sequences. */
static void place_rows(struct test_inputs *inputs, int which, attn_tensor *tensor,
                       int32_t store, int64_t heads, int64_t dim) {
    const struct test_problem *p = &inputs->problem;
    const int packed = which == QUERY ? p->q_packed : p->k_packed;
    const int64_t length =
        which == QUERY ? gen_pack_queries(p, NULL).rows : gen_pack_keys(p, NULL).rows;
    struct random random = random_stream(p->seed, 100 + (uint64_t)which);
    int64_t gap = random_percent(&random, 50) ? 0 : random_between(&random, 1, 9);
    int64_t row = dim + gap, other_gap = random_percent(&random, 70) ? 0 : 3;
    int bshd = p->layout == LAYOUT_BSHD;
    int64_t outer = row * (bshd ? heads : length) + other_gap;
    *tensor = (attn_tensor){.shape = {packed ? 1 : p->batch, heads, length, dim},
                            .stride = {outer * (bshd ? length : heads),
                                       bshd ? row : outer, bshd ? outer : row, 1},
                            .dtype = gen_dtype(store),
                            .rank = 4};
    /* One batch element for all: of this tensor, or of key and value together. */
    struct random together = random_stream(p->seed, 150);
    if (random_percent(&random, 8) ||
        (which != QUERY && random_percent(&together, 8))) {
        tensor->stride[0] = 0;
    }
    gen_place(inputs, which, tensor, &random);
}

/* A tensor that broadcasts to (B, Hkv, Sk): a scale for each row, or for all rows, all
 * heads, all batch elements. */
static void place_scales(struct test_inputs *inputs, int which, attn_tensor *tensor,
                         const attn_tensor *of) {
    struct random random = random_stream(inputs->problem.seed, 100 + (uint64_t)which);
    int64_t stride = 1;
    int32_t rank = (int32_t)random_between(&random, 1, 3);
    *tensor = (attn_tensor){.dtype = ATTN_F32, .rank = rank};
    for (int32_t d = rank - 1; d >= 0; d--) {
        tensor->shape[d] = random_percent(&random, 20) ? 1 : of->shape[3 - rank + d];
        tensor->stride[d] = stride;
        stride *= tensor->shape[d] > 0 ? tensor->shape[d] : 1;
        stride += random_percent(&random, 30) ? 3 : 0;
    }
    gen_place(inputs, which, tensor, &random);
}

/* ------------------------------------------------------------------ contents */

float gen_score_number(struct random *random, int data, int which, int64_t row) {
    static const float tiny[] = {0.0f,       -0.0f,       0x1p-149f,
                                 -0x1p-149f, 0x1.8p-127f, -0x1p-126f,
                                 0x1p-75f,   1.0f,        -1.0f};
    float x = random_float(random);
    switch (data) {
    case DATA_HUGE:
        return 40.0f * x;
    case DATA_EQUAL:
        return which == QUERY ? 0.5f : -0.75f;
    case DATA_DOMINANT:
        if (which == QUERY) {
            return 3.0f + 0.1f * x;
        }
        return row == 5 ? 4.0f : 0.05f * x;
    case DATA_TINY:
        return tiny[random_between(random, 0, (int64_t)COUNT_OF(tiny) - 1)];
    default:
        return x;
    }
}

/* Of f16 the largest numbers are 65504, the smallest ones 2^-24. */
static float value_number(struct random *random, int data, int32_t store) {
    if (data == DATA_HUGE) {
        return (store == STORE_F16 ? 3e4f : 1e15f) * random_float(random);
    }
    return data == DATA_TINY ? gen_score_number(random, DATA_TINY, VALUE, 0)
                             : random_float(random);
}

/* What becomes of a tiny float in another type: as near to the smallest number. */
static double shrunk(double x, int32_t store) {
    switch (store) {
    case STORE_F16:
        return fabs(x) < 0x1p-140   ? x * 0x1p+125
               : fabs(x) < 0x1p-100 ? x * 0x1p+112
               : fabs(x) < 1        ? x * 0x1p+60
                                    : x;
    case STORE_BF16:
        return fabs(x) < 0x1p-140 ? x * 0x1p+16 : x;
    default:
        return x;
    }
}

/* Bytes need a number of the size of their data for what they stand for. */
static void fill_scale(void *element, struct random *random, int data, int which) {
    static const float tiny[] = {0.0f, 0x1p-149f, 0x1p-126f, 0x1p-75f, 1.0f};
    const float size = data == DATA_HUGE       ? which == VALUE ? 1e15f : 40.0f
                       : data == DATA_EQUAL    ? 0.75f
                       : data == DATA_DOMINANT ? 3.0f
                                               : 1.0f;
    const int equal = data == DATA_EQUAL;
    const float sign = random_percent(random, 10) && !equal ? -1.0f : 1.0f;
    const float own = equal ? 1.0f : 1.0f + 0.3f * random_float(random);
    *(float *)element = data == DATA_TINY
                            ? tiny[random_between(random, 0, COUNT_OF(tiny) - 1)]
                            : sign * size * own / 73.0f;
}

static void make_scales(struct test_inputs *inputs, int which, attn_tensor *tensor,
                        int of, const attn_tensor *rows) {
    struct random random = random_stream(inputs->problem.seed, (uint64_t)which);
    place_scales(inputs, which, tensor, rows);
    for (int64_t n = 0; n < element_count(tensor); n++) {
        fill_scale(element_nth(tensor, n), &random, inputs->data, of);
    }
}

static void fill_rows(struct test_inputs *inputs, int which, const attn_tensor *tensor,
                      int32_t store, const attn_tensor *scales) {
    struct random random = random_stream(inputs->problem.seed, (uint64_t)which);
    const int data = inputs->data;
    int64_t batch =
        tensor->stride[0] == 0 && tensor->shape[0] > 1 ? 1 : tensor->shape[0];
    for (int64_t b = 0; b < batch; b++) {
        for (int64_t h = 0; h < tensor->shape[1]; h++) {
            for (int64_t i = 0; i < tensor->shape[2]; i++) {
                double scale =
                    store == STORE_I8 ? element_float(scales, 0, b, h, i) : 1;
                for (int64_t c = 0; c < tensor->shape[3]; c++) {
                    double x = which == VALUE
                                   ? value_number(&random, data, store)
                                   : gen_score_number(&random, data, which, i);
                    x = data == DATA_TINY ? shrunk(x, store) : x / scale;
                    element_put(tensor->dtype, element_at(tensor, b, h, i, c),
                                store == STORE_I8 && data == DATA_TINY ? 3 * x : x);
                }
            }
        }
    }
}

void gen_rows(struct test_inputs *in) {
    const struct test_problem *p = &in->problem;
    if (p->q_packed) {
        make_starts(in, Q_STARTS, &in->q_starts);
    }
    if (p->k_packed) {
        make_starts(in, K_STARTS, &in->k_starts);
    }
    place_rows(in, QUERY, &in->query, p->query_type, p->q_heads, p->key_dim);
    place_rows(in, KEY, &in->key, p->key_type, p->kv_heads, p->key_dim);
    place_rows(in, VALUE, &in->value, p->value_type, p->kv_heads, p->value_dim);
    if (p->key_type == STORE_I8) {
        make_scales(in, KEY_SCALES, &in->key_scales, KEY, &in->key);
    }
    if (p->value_type == STORE_I8) {
        make_scales(in, VALUE_SCALES, &in->value_scales, VALUE, &in->value);
    }
    fill_rows(in, QUERY, &in->query, p->query_type, NULL);
    fill_rows(in, KEY, &in->key, p->key_type, &in->key_scales);
    fill_rows(in, VALUE, &in->value, p->value_type, &in->value_scales);
}
