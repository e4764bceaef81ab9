/*
 * What is kept of a sequence, in a file. All numbers have their lowest byte first, and
 * a checksum is the CRC-64 (cache/checksum.h) of all bytes before it that are not of a
 * checksum.
 *
 *      0  8 bytes  89 'A' 'T' 'T' 'N' 'K' 'V' 0a: what kind of file this is
 *      8  u32      version of the format: 1
 *     12  u32      type of the numbers, as in attn/common.h
 *     16  u32      layers, L
 *     20  u32      kv_heads
 *     24  u32      key_dim, D
 *     28  u32      value_dim, Dv
 *     32  u64      length of the sequence
 *     40  u64      checksum
 *     48  u64[L]   position of the first key that is kept, of each layer
 * 48+8L   u64      checksum
 * 56+8L   rows     for each layer, for each head, with n = length - first position:
 *                      n * D numbers, keys
 *                      n * Dv numbers, values
 *                      if numbers are i8: n f32, scales of keys, and n f32, of values
 *         u64      checksum
 */
#include "cache/file.h"

#include <string.h>

#include "base/arith.h"
#include "base/status.h"
#include "cache/lane.h"

const unsigned char attn_file_magic[MAGIC_BYTES] = {0x89, 'A', 'T', 'T',
                                                    'N',  'K', 'V', '\n'};

const char *attn_file_shape_name(int number) {
    static const char *const names[SHAPE_NUMBERS] = {"dtype", "layers", "kv_heads",
                                                     "key_dim", "value_dim"};
    return names[number];
}

int32_t attn_file_shape(const struct attn_cache *cache, int number) {
    const int32_t shape[SHAPE_NUMBERS] = {cache->dtype, cache->layers, cache->kv_heads,
                                          cache->part[KEYS].dim,
                                          cache->part[VALUES].dim};
    return shape[number];
}

int64_t attn_file_row_bytes(const struct attn_cache *cache) {
    int64_t bytes = 0;
    for (int p = 0; p < PARTS; p++) {
        bytes += cache->part[p].dim * source_bytes(cache->dtype);
        bytes += cache->dtype == ATTN_I8 ? (int64_t)sizeof(float) : 0;
    }
    return bytes * cache->kv_heads;
}

attn_status attn_file_allocate(struct file **file, const struct attn_cache *cache,
                               const char *path) {
    const size_t firsts = (size_t)cache->layers * sizeof *(*file)->first;
    const size_t name = strlen(path) + STREAM_NAME_MORE;
    const size_t row = (size_t)(cache->scratch_floats * (int64_t)sizeof(float));
    struct file *made = attn_mem_allocate(&cache->context->allocator,
                                          sizeof *made + firsts + row + name);
    REQUIRE(made != NULL, ATTN_ERR_NO_MEMORY, "no memory for the buffer of a file");
    made->first = (int64_t *)(made + 1);
    made->row = (char *)made->first + firsts;
    made->name = made->row + row;
    *file = made;
    return ATTN_OK;
}

static bool is_little(void) {
    const uint16_t one = 1;
    unsigned char low;
    memcpy(&low, &one, 1);
    return low == 1;
}

/* Turns the bytes of numbers around where the lowest is not the first. */
static void turn(char *numbers, int64_t count, int size) {
    for (int64_t i = 0; i < count && !is_little(); i++, numbers += size) {
        for (int low = 0, high = size - 1; low < high; low++, high--) {
            const char byte = numbers[low];
            numbers[low] = numbers[high];
            numbers[high] = byte;
        }
    }
}

attn_status attn_file_read(struct stream *stream, char *numbers, int64_t count,
                           int size) {
    TRY(attn_stream_read(stream, numbers, (size_t)(count * size)));
    turn(numbers, count, size);
    return ATTN_OK;
}

attn_status attn_file_write(struct stream *stream, char *numbers, int64_t count,
                            int size) {
    char some[256];
    if (is_little()) {
        return attn_stream_write(stream, numbers, (size_t)(count * size));
    }
    while (count > 0) { /* the cache may be read by others meanwhile */
        const int64_t n = min_i64(count, (int64_t)sizeof some / size);
        memcpy(some, numbers, (size_t)(n * size));
        turn(some, n, size);
        TRY(attn_stream_write(stream, some, (size_t)(n * size)));
        numbers += n * size;
        count -= n;
    }
    return ATTN_OK;
}

/* Rows of a head in a page, one by one. */
static attn_status move_rows(struct file *file, const struct attn_cache *cache,
                             const struct part *part, char *head,
                             const struct stretch *stretch, enum direction direction) {
    const int size = (int)source_bytes(cache->dtype);
    for (int64_t r = 0; r < stretch->rows; r++) {
        if (direction == FILE_READ) {
            TRY(attn_file_read(&file->stream, file->row, part->dim, size));
            attn_lane_put(cache, part, head, stretch->row + r, file->row);
        } else {
            attn_lane_get(cache, part, head, stretch->row + r, file->row);
            TRY(attn_file_write(&file->stream, file->row, part->dim, size));
        }
    }
    return ATTN_OK;
}

/* The rows of a head, or their scales. */
static attn_status move_head(struct file *file, const struct attn_cache *cache,
                             int64_t sequence, int64_t layer, int64_t head,
                             const struct part *part, bool scales,
                             enum direction direction) {
    const int32_t *table = table_of(cache, sequence);
    int64_t at = file->first[layer];
    while (at < file->length) {
        const struct stretch stretch = stretch_at(cache, at, file->length);
        const int32_t page = table[stretch.slot];
        if (scales) {
            char *first =
                (char *)scales_at(cache, page, layer, part, head, stretch.row);
            TRY(direction == FILE_READ
                    ? attn_file_read(&file->stream, first, stretch.rows, sizeof(float))
                    : attn_file_write(&file->stream, first, stretch.rows,
                                      sizeof(float)));
        } else {
            TRY(move_rows(file, cache, part, blocks_at(cache, page, layer, part, head),
                          &stretch, direction));
        }
        at += stretch.rows;
    }
    return ATTN_OK;
}

attn_status attn_file_move_rows(struct file *file, const struct attn_cache *cache,
                                int64_t sequence, enum direction direction) {
    const int kinds = cache->dtype == ATTN_I8 ? 2 * PARTS : PARTS;
    for (int64_t l = 0; l < cache->layers; l++) {
        for (int64_t h = 0; h < cache->kv_heads; h++) {
            for (int k = 0; k < kinds; k++) {
                TRY(move_head(file, cache, sequence, l, h, &cache->part[k % PARTS],
                              k >= PARTS, direction));
            }
        }
    }
    return ATTN_OK;
}
