/*
 * The conversions are those of the tests, by definition and slow; nothing here is
 * measured.
 */
#include "bench/storage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attn.h"
#include "bench/memory.h"
#include "tests/support/stored.h"

int32_t storage_dtype(int32_t type) {
    static const int32_t dtypes[] = {[STORE_F32] = ATTN_F32,
                                     [STORE_F16] = ATTN_F16,
                                     [STORE_BF16] = ATTN_BF16,
                                     [STORE_I8] = ATTN_I8};
    return dtypes[type];
}

int64_t storage_bytes(int32_t type) {
    return type == STORE_F32 ? 4 : type == STORE_I8 ? 1 : 2;
}

/* Rounds `count` floats to halves. */
static void store_halves(uint16_t *to, float *floats, int64_t count, int32_t dtype) {
    for (int64_t i = 0; i < count; i++) {
        to[i] = (uint16_t)stored_nearest(dtype, (double)floats[i]);
        floats[i] = stored_float(dtype, to[i]);
    }
}

/* Rounds a row to bytes; returns its scale. */
static float store_bytes(int8_t *to, float *row, int64_t dim) {
    float largest = 0;
    for (int64_t i = 0; i < dim; i++) {
        largest = fmaxf(largest, fabsf(row[i]));
    }
    float scale = largest / 127;
    for (int64_t i = 0; i < dim; i++) {
        to[i] = (int8_t)(scale > 0 ? nearbyintf(row[i] / scale) : 0);
        row[i] = scale * (float)to[i];
    }
    return scale;
}

/* Stores one copy of an array of rows, and as many more of it as there are floats of.
 */
static struct storage store(const struct test_problem *p, float *floats, int32_t type,
                            int64_t heads, int64_t length, int64_t dim, int copies) {
    struct storage storage = {0};
    int64_t rows = product(p->batch, heads, length, 1);
    int64_t count = product(rows, dim, 1, 1);
    size_t bytes = (size_t)product(count, storage_bytes(type), 1, 1);
    if (type == STORE_F32) {
        return storage;
    }
    storage.data = memory_get(product((int64_t)bytes, copies, 1, 1), 1);
    if (type == STORE_I8) {
        storage.scales = memory_get(rows, sizeof *storage.scales);
        for (int64_t r = 0; r < rows; r++) {
            int64_t b = r / (heads * length), h = r / length % heads, i = r % length;
            int64_t at = inputs_row(p, heads, length, b, h, i) * dim;
            storage.scales[r] =
                store_bytes((int8_t *)storage.data + at, floats + at, dim);
        }
    } else {
        store_halves((uint16_t *)storage.data, floats, count, storage_dtype(type));
    }
    for (int c = 1; c < copies; c++) {
        memcpy((char *)storage.data + (size_t)c * bytes, storage.data, bytes);
    }
    return storage;
}

void storage_make(struct inputs *inputs, const struct test_problem *problem) {
    const struct test_problem *p = problem;
    inputs->query_storage =
        store(p, inputs->query, p->query_type, p->q_heads, p->q_length, p->key_dim, 1);
    inputs->key_storage = store(p, inputs->key, p->key_type, p->kv_heads, p->kv_length,
                                p->key_dim, inputs->copies);
    inputs->value_storage = store(p, inputs->value, p->value_type, p->kv_heads,
                                  p->kv_length, p->value_dim, inputs->copies);
    inputs->out_storage =
        store(p, inputs->out, p->out_type, p->q_heads, p->q_length, p->value_dim, 1);
}

void storage_free(struct inputs *inputs) {
    struct storage *all[] = {&inputs->query_storage, &inputs->key_storage,
                             &inputs->value_storage, &inputs->out_storage};
    for (int i = 0; i < 4; i++) {
        free(all[i]->data);
        free(all[i]->scales);
    }
}

void storage_read_out(struct inputs *inputs, const struct test_problem *problem) {
    const struct test_problem *p = problem;
    const uint16_t *from = inputs->out_storage.data;
    int64_t count = product(p->batch, p->q_heads, p->q_length, p->value_dim);
    for (int64_t i = 0; from != NULL && i < count; i++) {
        inputs->out[i] = stored_float(storage_dtype(p->out_type), from[i]);
    }
}

double storage_rounding(const struct test_problem *problem, double size) {
    switch (problem->out_type) {
    case STORE_F16:
        return fmax(size * 0x1p-11, 0x1p-25);
    case STORE_BF16:
        return size * 0x1p-8;
    default:
        return 0;
    }
}
