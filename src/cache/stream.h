/*
 * A file that is read or written from start to end, with the checksum of its bytes.
 */
#ifndef ATTN_CACHE_STREAM_H
#define ATTN_CACHE_STREAM_H

#include "attn/common.h"
#include "cache/checksum.h"

enum { STREAM_BYTES = 1 << 16 };

struct stream {
    int file;         /* -1: not open */
    const char *path; /* for messages */
    struct checksum checksum;
    size_t at, filled; /* bytes of the buffer that were taken, that are there */
    char buffer[STREAM_BYTES];
};

/* Opens a regular file for reading. Close it, but after a failure. */
attn_status attn_stream_open(struct stream *stream, const char *path, int64_t *bytes);

/* Makes a new file for writing, which is called `path` in messages; its name, path and
 * some more, is put into name[]. */
enum { STREAM_NAME_MORE = 48 };
attn_status attn_stream_create(struct stream *stream, const char *path, char *name);

attn_status attn_stream_read(struct stream *stream, void *bytes, size_t count);
attn_status attn_stream_write(struct stream *stream, const void *bytes, size_t count);

/* The checksum of all that was read or written so far, but for other checksums, which
 * would make it forget what was before them. Reading fails unless it is right. */
attn_status attn_stream_read_checksum(struct stream *stream);
attn_status attn_stream_write_checksum(struct stream *stream);

/* Brings what was written to the disk. */
attn_status attn_stream_finish(struct stream *stream);

attn_status attn_stream_close(struct stream *stream);

/* Fails with the system's reason: "cannot <what> <path>: <reason>" */
attn_status attn_stream_fail(const char *what, const char *path);

#endif
