/*
 * From the type of a tensor to that of the cache. What is neither a copy nor the work
 * of one kernel goes through floats.
 */
#include "cache/store.h"

#include <limits.h>
#include <string.h>

#include "base/arith.h"

/* Rows of one head: here in the tensor, there in the page. */
struct move {
    const struct attn_cache *cache;
    const char *from;
    int32_t from_dtype;
    int64_t from_stride; /* between rows, in elements */
    char *to;
    float *scales; /* of int8 */
    int64_t dim;
};

static void copy(const struct move *move, int64_t rows) {
    const int64_t bytes = source_bytes(move->from_dtype);
    const size_t row_bytes = (size_t)(move->dim * bytes);
    if (move->from_stride == move->dim) {
        memcpy(move->to, move->from, (size_t)rows * row_bytes);
        return;
    }
    for (int64_t r = 0; r < rows; r++) {
        memcpy(move->to + (size_t)r * row_bytes,
               move->from + r * move->from_stride * bytes, row_bytes);
    }
}

/* From floats `stride` apart. */
static void store_floats(const struct move *move, const float *from, int64_t stride,
                         int rows) {
    const struct kernels *kernels = move->cache->kernels;
    const int32_t dtype = move->cache->dtype;
    if (dtype == ATTN_I8) {
        kernels->quantize((int8_t *)move->to, move->dim, move->scales, 1, from, stride,
                          rows, (int)move->dim);
    } else {
        kernels->narrow(dtype, move->to, move->dim, from, stride, rows, (int)move->dim);
    }
}

/* At most as many rows as a kernel or the scratch takes at once. */
static int64_t rows_at_once(const struct move *move) {
    return move->from_dtype == ATTN_F32 ? INT_MAX
                                        : move->cache->scratch_floats / move->dim;
}

static void convert(const struct move *move, int rows) {
    const struct attn_cache *cache = move->cache;
    if (move->from_dtype == ATTN_F32) {
        store_floats(move, (const float *)(const void *)move->from, move->from_stride,
                     rows);
    } else if (cache->dtype == ATTN_F32) {
        cache->kernels->widen(move->from_dtype, (float *)(void *)move->to, move->dim,
                              move->from, move->from_stride, rows, (int)move->dim);
    } else {
        cache->kernels->widen(move->from_dtype, cache->scratch, move->dim, move->from,
                              move->from_stride, rows, (int)move->dim);
        store_floats(move, cache->scratch, move->dim, rows);
    }
}

static void store(struct move move, int64_t rows) {
    if (move.from_dtype == move.cache->dtype) {
        copy(&move, rows);
        return;
    }
    while (rows > 0) {
        const int n = (int)min_i64(rows, rows_at_once(&move));
        convert(&move, n);
        move.from += n * move.from_stride * source_bytes(move.from_dtype);
        move.to += n * move.dim * source_bytes(move.cache->dtype);
        if (move.scales != NULL) {
            move.scales += n;
        }
        rows -= n;
    }
}

void attn_store_rows(struct attn_cache *cache, int32_t layer, int part, int32_t page,
                     int64_t row, int64_t rows, const struct view *from, int64_t b,
                     int64_t from_row) {
    const struct part *to = &cache->part[part];
    for (int64_t h = 0; h < cache->kv_heads; h++) {
        const struct move move = {
            .cache = cache,
            .from = (const char *)from->data +
                    view_offset(from, b, h, from_row, 0) * source_bytes(from->dtype),
            .from_dtype = from->dtype,
            .from_stride = from->stride[ROW],
            .to = rows_at(cache, page, layer, to, h, row),
            .scales = cache->dtype == ATTN_I8
                          ? scales_at(cache, page, layer, to, h, row)
                          : NULL,
            .dim = to->dim,
        };
        store(move, rows);
    }
}
