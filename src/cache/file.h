/*
 * What saving and loading share: the format of a file, which file.c describes.
 */
#ifndef ATTN_CACHE_FILE_H
#define ATTN_CACHE_FILE_H

#include "cache/cache.h"
#include "cache/stream.h"

enum { FILE_VERSION = 1, MAGIC_BYTES = 8 };
extern const unsigned char attn_file_magic[MAGIC_BYTES];

/* Where the head has its numbers; its checksum follows it. */
enum { AT_VERSION = 8, AT_SHAPE = 12, AT_LENGTH = 32, HEAD_BYTES = 40 };
enum { SHAPE_DTYPE, SHAPE_NUMBERS = 5, CHECKSUM_BYTES = 8, FIRST_BYTES = 8 };

/* Where a number of the shape stands in the head, its name, and its value for this
 * cache. */
static inline size_t attn_file_shape_at(int number) {
    return AT_SHAPE + 4 * (size_t)number;
}
const char *attn_file_shape_name(int number);
int32_t attn_file_shape(const struct attn_cache *cache, int number);

/* Bytes of a position of a layer: keys, values and scales of all heads. */
int64_t attn_file_row_bytes(const struct attn_cache *cache);

/* A file that is read or written, in one block of memory. */
struct file {
    struct stream stream;
    int64_t length;
    int64_t *first; /* of each layer */
    char *row;      /* room for the longest row */
    char *name;     /* room for path and STREAM_NAME_MORE bytes */
};

attn_status attn_file_allocate(struct file **file, const struct attn_cache *cache,
                               const char *path);

/* Move numbers of this size between memory and a stream. */
attn_status attn_file_read(struct stream *stream, char *numbers, int64_t count,
                           int size);
attn_status attn_file_write(struct stream *stream, char *numbers, int64_t count,
                            int size);

enum direction { FILE_READ, FILE_WRITE };

/* Moves all rows of a sequence, from first[] to length, in the order of the file. */
attn_status attn_file_move_rows(struct file *file, const struct attn_cache *cache,
                                int64_t sequence, enum direction direction);

#endif
