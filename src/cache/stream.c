/*
 * Reads and writes that are whole whatever signals come.
 */
#include "cache/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/status.h"

attn_status attn_stream_fail(const char *what, const char *path) {
    char reason[128];
    if (strerror_r(errno, reason, sizeof reason) != 0) {
        snprintf(reason, sizeof reason, "error %d", errno);
    }
    return attn_fail(ATTN_ERR_IO, "cannot %s %.300s: %s", what, path, reason);
}

static void start(struct stream *stream, const char *path) {
    stream->path = path;
    stream->at = stream->filled = 0;
    attn_checksum_start(&stream->checksum);
}

attn_status attn_stream_open(struct stream *stream, const char *path, int64_t *bytes) {
    struct stat status;
    start(stream, path);
    /* not to wait for somebody to write, should it be a pipe */
    stream->file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (stream->file < 0) {
        return attn_stream_fail("open", path);
    }
    const bool known = fstat(stream->file, &status) == 0;
    if (!known || !S_ISREG(status.st_mode)) {
        attn_status failed =
            known ? attn_fail(ATTN_ERR_IO, "%.300s is no regular file", path)
                  : attn_stream_fail("read", path);
        (void)close(stream->file);
        return failed;
    }
    *bytes = (int64_t)status.st_size;
    return ATTN_OK;
}

attn_status attn_stream_create(struct stream *stream, const char *path, char *name) {
    start(stream, path);
    /* others, threads of this process among them, may be writing beside the same path
     */
    for (int i = 0;; i++) {
        snprintf(name, strlen(path) + STREAM_NAME_MORE, "%s.%ld-%d.tmp", path,
                 (long)getpid(), i);
        stream->file = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (stream->file >= 0) {
            return ATTN_OK;
        }
        if (errno != EEXIST || i == INT16_MAX) {
            return attn_stream_fail("write", path);
        }
    }
}

/* Fills the buffer, which is empty, as far as the file goes. */
static attn_status fill(struct stream *stream) {
    ssize_t got;
    do {
        got = read(stream->file, stream->buffer, sizeof stream->buffer);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return attn_stream_fail("read", stream->path);
    }
    REQUIRE(got > 0, ATTN_ERR_IO, "%.300s ends too early: somebody is writing to it",
            stream->path);
    stream->at = 0;
    stream->filled = (size_t)got;
    return ATTN_OK;
}

/* Writes the buffer, and leaves it empty. */
static attn_status empty(struct stream *stream) {
    while (stream->at < stream->filled) {
        const ssize_t written = write(stream->file, stream->buffer + stream->at,
                                      stream->filled - stream->at);
        if (written < 0 && errno != EINTR) {
            return attn_stream_fail("write", stream->path);
        }
        stream->at += written > 0 ? (size_t)written : 0;
    }
    stream->at = stream->filled = 0;
    return ATTN_OK;
}

static attn_status take(struct stream *stream, void *bytes, size_t count) {
    char *to = bytes;
    while (count > 0) {
        if (stream->at == stream->filled) {
            TRY(fill(stream));
        }
        const size_t left = stream->filled - stream->at;
        const size_t n = count < left ? count : left;
        memcpy(to, stream->buffer + stream->at, n);
        stream->at += n;
        to += n;
        count -= n;
    }
    return ATTN_OK;
}

attn_status attn_stream_read(struct stream *stream, void *bytes, size_t count) {
    TRY(take(stream, bytes, count));
    attn_checksum_add(&stream->checksum, bytes, count);
    return ATTN_OK;
}

static attn_status put(struct stream *stream, const void *bytes, size_t count) {
    const char *from = bytes;
    while (count > 0) {
        if (stream->filled == sizeof stream->buffer) {
            TRY(empty(stream));
        }
        const size_t room = sizeof stream->buffer - stream->filled;
        const size_t n = count < room ? count : room;
        memcpy(stream->buffer + stream->filled, from, n);
        stream->filled += n;
        from += n;
        count -= n;
    }
    return ATTN_OK;
}

attn_status attn_stream_write(struct stream *stream, const void *bytes, size_t count) {
    attn_checksum_add(&stream->checksum, bytes, count);
    return put(stream, bytes, count);
}

attn_status attn_stream_read_checksum(struct stream *stream) {
    const uint64_t expected = attn_checksum_value(&stream->checksum);
    unsigned char bytes[8];
    TRY(take(stream, bytes, sizeof bytes));
    REQUIRE(little_u64(bytes) == expected, ATTN_ERR_IO,
            "%.300s was changed: its checksum is %016llx, should be %016llx",
            stream->path, (unsigned long long)little_u64(bytes),
            (unsigned long long)expected);
    return ATTN_OK;
}

attn_status attn_stream_write_checksum(struct stream *stream) {
    unsigned char bytes[8];
    put_little(bytes, attn_checksum_value(&stream->checksum), sizeof bytes);
    return put(stream, bytes, sizeof bytes);
}

attn_status attn_stream_finish(struct stream *stream) {
    TRY(empty(stream));
    return fsync(stream->file) == 0 ? ATTN_OK : attn_stream_fail("write", stream->path);
}

attn_status attn_stream_close(struct stream *stream) {
    /* after a signal it is closed as well */
    return close(stream->file) == 0 || errno == EINTR
               ? ATTN_OK
               : attn_stream_fail("close", stream->path);
}
