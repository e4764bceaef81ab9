/*
 * From the type of a tensor to that of the cache, then into blocks. What is neither a
 * copy nor the work of one kernel goes through floats.
 */
#include "cache/store.h"

#include "base/arith.h"
#include "cache/lane.h"

/* Rows of one head: here in the tensor, there in the page. */
struct move {
    const struct attn_cache *cache;
    const struct part *part;
    const char *from;
    int32_t from_dtype;
    int64_t from_stride; /* between rows, in elements */
    char *head;
    int64_t row;   /* of the page */
    float *scales; /* of int8 */
};

/* Puts rows of the cache's type, so many numbers apart, into blocks. */
static void put(const struct move *move, const char *numbers, int64_t stride,
                int64_t rows) {
    const int64_t bytes = stride * source_bytes(move->cache->dtype);
    for (int64_t r = 0; r < rows; r++) {
        attn_lane_put(move->cache, move->part, move->head, move->row + r,
                      numbers + r * bytes);
    }
}

/* Converts rows of floats, `stride` apart. */
static void narrow(const struct move *move, const float *from, int64_t stride,
                   int rows) {
    const struct attn_cache *cache = move->cache;
    const int dim = move->part->dim;
    if (cache->dtype == ATTN_I8) {
        cache->kernels->quantize((int8_t *)cache->converted, dim, move->scales, 1, from,
                                 stride, rows, dim);
    } else {
        cache->kernels->narrow(cache->dtype, cache->converted, dim, from, stride, rows,
                               dim);
    }
}

/* Converts rows, as many as the scratch has room for. */
static void convert(const struct move *move, int rows) {
    const struct attn_cache *cache = move->cache;
    const int dim = move->part->dim;
    if (move->from_dtype == ATTN_F32) {
        narrow(move, (const float *)(const void *)move->from, move->from_stride, rows);
    } else if (cache->dtype == ATTN_F32) {
        cache->kernels->widen(move->from_dtype, (float *)(void *)cache->converted, dim,
                              move->from, move->from_stride, rows, dim);
    } else {
        cache->kernels->widen(move->from_dtype, cache->scratch, dim, move->from,
                              move->from_stride, rows, dim);
        narrow(move, cache->scratch, dim, rows);
    }
}

static void store(struct move move, int64_t rows) {
    const struct attn_cache *cache = move.cache;
    if (move.from_dtype == cache->dtype) {
        put(&move, move.from, move.from_stride, rows);
        return;
    }
    while (rows > 0) {
        const int n = (int)min_i64(rows, cache->scratch_floats / move.part->dim);
        convert(&move, n);
        put(&move, cache->converted, move.part->dim, n);
        move.from += n * move.from_stride * source_bytes(move.from_dtype);
        move.row += n;
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
            .part = to,
            .from = (const char *)from->data +
                    view_offset(from, b, h, from_row, 0) * source_bytes(from->dtype),
            .from_dtype = from->dtype,
            .from_stride = from->stride[ROW],
            .head = blocks_at(cache, page, layer, to, h),
            .row = row,
            .scales = cache->dtype == ATTN_I8
                          ? scales_at(cache, page, layer, to, h, row)
                          : NULL,
        };
        store(move, rows);
    }
}
