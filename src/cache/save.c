/*
 * Saving: everything goes to a file beside the one that is to be, which then takes its
 * name.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "cache/file.h"

/* Between steps all layers are as long. */
static attn_status check_lengths(const struct attn_cache *cache, int64_t sequence) {
    const int64_t length = length_of(kept_of(cache, 0, sequence));
    for (int64_t l = 1; l < cache->layers; l++) {
        const int64_t other = length_of(kept_of(cache, l, sequence));
        REQUIRE(other == length, ATTN_ERR_INVALID,
                "sequence %lld has %lld tokens in layer 0, but %lld in layer %lld: it "
                "can be saved when all layers have as many",
                (long long)sequence, (long long)length, (long long)other, (long long)l);
    }
    return ATTN_OK;
}

static attn_status write_head(struct file *file, const struct attn_cache *cache) {
    unsigned char head[HEAD_BYTES];
    memcpy(head, attn_file_magic, MAGIC_BYTES);
    put_little(head + AT_VERSION, FILE_VERSION, 4);
    for (int i = 0; i < SHAPE_NUMBERS; i++) {
        put_little(head + attn_file_shape_at(i), (uint64_t)attn_file_shape(cache, i),
                   4);
    }
    put_little(head + AT_LENGTH, (uint64_t)file->length, 8);
    TRY(attn_stream_write(&file->stream, head, sizeof head));
    return attn_stream_write_checksum(&file->stream);
}

static attn_status write_all(struct file *file, const struct attn_cache *cache,
                             int64_t sequence) {
    file->length = length_of(kept_of(cache, 0, sequence));
    TRY(write_head(file, cache));
    for (int64_t l = 0; l < cache->layers; l++) {
        unsigned char bytes[FIRST_BYTES];
        file->first[l] = kept_of(cache, l, sequence)->position;
        put_little(bytes, (uint64_t)file->first[l], sizeof bytes);
        TRY(attn_stream_write(&file->stream, bytes, sizeof bytes));
    }
    TRY(attn_stream_write_checksum(&file->stream));
    TRY(attn_file_move_rows(file, cache, sequence, FILE_WRITE));
    TRY(attn_stream_write_checksum(&file->stream));
    return attn_stream_finish(&file->stream);
}

static attn_status write_beside(struct file *file, const struct attn_cache *cache,
                                int64_t sequence, const char *path) {
    TRY(attn_stream_create(&file->stream, path, file->name));
    attn_status status = write_all(file, cache, sequence);
    const attn_status closed = attn_stream_close(&file->stream);
    status = status == ATTN_OK ? closed : status;
    if (status == ATTN_OK && rename(file->name, path) != 0) {
        status = attn_stream_fail("write", path);
    }
    if (status != ATTN_OK) {
        (void)unlink(file->name);
    }
    return status;
}

attn_status attn_cache_run_save(const struct attn_cache *cache, int64_t sequence,
                                const char *path) {
    struct file *file;
    TRY(attn_cache_check_sequence(cache, sequence, "sequence"));
    TRY(check_lengths(cache, sequence));
    TRY(attn_file_allocate(&file, cache, path));
    const attn_status status = write_beside(file, cache, sequence, path);
    attn_mem_release(&cache->context->allocator, file);
    return status;
}
