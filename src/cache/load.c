/*
 * Loading. Rows are read into pages that the sequence has taken, but until the last
 * checksum is right it does not say that it keeps them.
 */
#include <string.h>

#include "base/arith.h"
#include "base/dtype.h"
#include "base/status.h"
#include "cache/file.h"
#include "cache/pages.h"

static attn_status check_empty(const struct attn_cache *cache, int64_t sequence) {
    for (int64_t l = 0; l < cache->layers; l++) {
        const int64_t length = length_of(kept_of(cache, l, sequence));
        REQUIRE(length == 0, ATTN_ERR_INVALID,
                "sequence %lld is not empty: it has %lld tokens in layer %lld; "
                "attn_cache_truncate() to 0 empties it",
                (long long)sequence, (long long)length, (long long)l);
    }
    return ATTN_OK;
}

static attn_status check_shape(const unsigned char *head,
                               const struct attn_cache *cache, const char *path) {
    const uint32_t dtype = (uint32_t)little_u64(head + attn_file_shape_at(SHAPE_DTYPE));
    REQUIRE(dtype == (uint32_t)cache->dtype, ATTN_ERR_INVALID,
            "%.300s holds numbers of %s (%u), the cache of %s (%d)", path,
            attn_dtype_name((int32_t)dtype), (unsigned)dtype,
            attn_dtype_name(cache->dtype), (int)cache->dtype);
    for (int i = SHAPE_DTYPE + 1; i < SHAPE_NUMBERS; i++) {
        const uint32_t number = (uint32_t)little_u64(head + attn_file_shape_at(i));
        const int32_t wanted = attn_file_shape(cache, i);
        REQUIRE(number == (uint32_t)wanted, ATTN_ERR_INVALID,
                "%.300s has %s %u, the cache %d", path, attn_file_shape_name(i),
                (unsigned)number, (int)wanted);
    }
    return ATTN_OK;
}

static attn_status read_head(struct file *file, const struct attn_cache *cache,
                             int64_t bytes) {
    struct stream *stream = &file->stream;
    unsigned char head[HEAD_BYTES] = {0};
    const int64_t there = min_i64(bytes, HEAD_BYTES);
    TRY(attn_stream_read(stream, head, (size_t)there));
    REQUIRE(there >= MAGIC_BYTES && memcmp(head, attn_file_magic, MAGIC_BYTES) == 0,
            ATTN_ERR_INVALID, "%.300s is no file of attn_cache_save()", stream->path);
    REQUIRE(bytes >= HEAD_BYTES + CHECKSUM_BYTES, ATTN_ERR_IO,
            "%.300s is torn: it ends after %lld bytes", stream->path, (long long)bytes);
    const uint32_t version = (uint32_t)little_u64(head + AT_VERSION);
    REQUIRE(version == FILE_VERSION, ATTN_ERR_UNSUPPORTED,
            "%.300s is of version %u, this library reads version %d", stream->path,
            (unsigned)version, (int)FILE_VERSION);
    TRY(attn_stream_read_checksum(stream));
    TRY(check_shape(head, cache, stream->path));
    const uint64_t length = little_u64(head + AT_LENGTH);
    REQUIRE(length <= LENGTH_MAX, ATTN_ERR_INVALID,
            "%.300s has a sequence of %llu tokens, beyond 2^53", stream->path,
            (unsigned long long)length);
    file->length = (int64_t)length;
    return ATTN_OK;
}

/* Reads where layers begin; writes the first position of all and the rows there are. */
static attn_status read_firsts(struct file *file, const struct attn_cache *cache,
                               int64_t bytes, struct range *positions, int64_t *rows) {
    struct stream *stream = &file->stream;
    const int64_t least = HEAD_BYTES + cache->layers * FIRST_BYTES + 2 * CHECKSUM_BYTES;
    REQUIRE(bytes >= least, ATTN_ERR_IO, "%.300s is torn: it ends after %lld bytes",
            stream->path, (long long)bytes);
    *positions = (struct range){file->length, file->length};
    for (int64_t l = 0; l < cache->layers; l++) {
        unsigned char number[FIRST_BYTES];
        TRY(attn_stream_read(stream, number, sizeof number));
        file->first[l] = (int64_t)little_u64(number);
    }
    TRY(attn_stream_read_checksum(stream));
    for (int64_t l = 0; l < cache->layers; l++) {
        const int64_t first = file->first[l];
        REQUIRE(first >= 0 && first <= file->length, ATTN_ERR_INVALID,
                "%.300s has a sequence of %lld tokens that starts at %lld",
                stream->path, (long long)file->length, (long long)first);
        const int64_t kept = file->length - first;
        REQUIRE(kept <= cache->capacity, ATTN_ERR_INVALID,
                "%.300s has %lld keys of layer %lld, beyond the capacity of %lld",
                stream->path, (long long)kept, (long long)l,
                (long long)cache->capacity);
        positions->low = min_i64(positions->low, first);
        REQUIRE(checked_add(*rows, kept, rows), ATTN_ERR_INVALID,
                "%.300s has more keys than memory", stream->path);
    }
    return ATTN_OK;
}

/* Takes the pages; only then is it known that the bytes of all rows fit a number. */
static attn_status take_pages(const struct file *file, struct attn_cache *cache,
                              int64_t sequence, struct range positions) {
    const int64_t needed =
        attn_pages_needed(cache, sequence, positions.low, positions.high);
    REQUIRE(needed <= cache->free_pages, ATTN_ERR_INVALID,
            "%.300s takes %lld pages, but %lld of the cache's %lld are free",
            file->stream.path, (long long)needed, (long long)cache->free_pages,
            (long long)cache->pages);
    attn_pages_own(cache, sequence, positions.low, positions.high);
    return ATTN_OK;
}

static attn_status read_rows(struct file *file, const struct attn_cache *cache,
                             int64_t sequence, int64_t rows, int64_t bytes) {
    const int64_t wanted = HEAD_BYTES + cache->layers * FIRST_BYTES +
                           3 * CHECKSUM_BYTES + rows * attn_file_row_bytes(cache);
    REQUIRE(bytes == wanted, ATTN_ERR_IO,
            "%.300s is torn: it has %lld bytes, should have %lld", file->stream.path,
            (long long)bytes, (long long)wanted);
    TRY(attn_file_move_rows(file, cache, sequence, FILE_READ));
    return attn_stream_read_checksum(&file->stream);
}

static attn_status read_all(struct file *file, struct attn_cache *cache,
                            int64_t sequence, int64_t bytes) {
    struct range positions = {0, 0};
    int64_t rows = 0;
    TRY(read_head(file, cache, bytes));
    TRY(read_firsts(file, cache, bytes, &positions, &rows));
    TRY(take_pages(file, cache, sequence, positions));
    const attn_status status = read_rows(file, cache, sequence, rows, bytes);
    for (int64_t l = 0; l < cache->layers && status == ATTN_OK; l++) {
        attn_kept_set(cache, l, sequence, file->first[l], file->length);
    }
    /* after a failure nothing is kept, and all pages go */
    attn_pages_trim(cache, sequence, positions.low, positions.high);
    return status;
}

attn_status attn_cache_run_load(struct attn_cache *cache, int64_t sequence,
                                const char *path) {
    struct file *file;
    int64_t bytes;
    TRY(attn_cache_check_sequence(cache, sequence, "sequence"));
    TRY(check_empty(cache, sequence));
    TRY(attn_file_allocate(&file, cache, path));
    attn_status status = attn_stream_open(&file->stream, path, &bytes);
    if (status == ATTN_OK) {
        status = read_all(file, cache, sequence, bytes);
        (void)attn_stream_close(&file->stream);
    }
    attn_mem_release(&cache->context->allocator, file);
    return status;
}
