/*
 * What the system may do to a file of a cache: read and write less than it is asked to,
 * interrupt, and refuse any call. Links with --wrap for these calls.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "tests/support/cache_pair.h"
#include "tests/support/expect.h"
#include "tests/support/folder.h"

/* The calls of the system, as the library makes them. */
enum { NOTHING, OPEN, READ, WRITE, FSYNC, CLOSE, RENAME };

static int failing;   /* which call fails */
static int after;     /* how many of them go well before */
static int whole = 1; /* reads and writes are not cut short */
static struct random generator;
static int opened; /* files that are open */

static int fails(int call) {
    if (failing != call || after-- > 0) {
        return 0;
    }
    errno = EIO;
    return 1;
}

/* A part of what was asked for, or an interruption. */
static ssize_t some_of(size_t count) {
    if (random_percent(&generator, 30)) {
        errno = EINTR;
        return -1;
    }
    return count > 1 ? (ssize_t)random_between(&generator, 1, (int64_t)count) : 1;
}

ssize_t __real_read(int file, void *buffer, size_t count);
ssize_t __wrap_read(int file, void *buffer, size_t count);
ssize_t __wrap_read(int file, void *buffer, size_t count) {
    const ssize_t n = fails(READ) ? -1 : whole ? (ssize_t)count : some_of(count);
    return n < 0 ? n : __real_read(file, buffer, (size_t)n);
}

ssize_t __real_write(int file, const void *buffer, size_t count);
ssize_t __wrap_write(int file, const void *buffer, size_t count);
ssize_t __wrap_write(int file, const void *buffer, size_t count) {
    const ssize_t n = fails(WRITE) ? -1 : whole ? (ssize_t)count : some_of(count);
    return n < 0 ? n : __real_write(file, buffer, (size_t)n);
}

int __real_open(const char *path, int flags, unsigned mode);
int __wrap_open(const char *path, int flags, unsigned mode);
int __wrap_open(const char *path, int flags, unsigned mode) {
    const int file = fails(OPEN) ? -1 : __real_open(path, flags, mode);
    opened += file >= 0;
    return file;
}

int __real_fsync(int file);
int __wrap_fsync(int file);
int __wrap_fsync(int file) {
    return fails(FSYNC) ? -1 : __real_fsync(file);
}

int __real_close(int file);
int __wrap_close(int file);
int __wrap_close(int file) {
    const int result = __real_close(file);
    opened--;
    return fails(CLOSE) ? -1 : result;
}

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to) {
    return fails(RENAME) ? -1 : __real_rename(from, to);
}

static struct counting counting;
static struct pair pair;
static char path[FOLDER_PATH];

/* Sequence 1 has more bytes than a buffer; sequence 2 is empty. */
static int setup(void **state) {
    (void)state;
    attn_cache_options options = pair_options(ATTN_F32, 0, 9);
    options.capacity = 400;
    options.pages = 200;
    options.key_dim = 61;
    counting = (struct counting){0};
    generator = random_stream(1, 81);
    pair = pair_open(&options, &counting);
    cache_fill(pair.cache, &pair.model, -1, 1, 333, &generator);
    folder_open();
    folder_path(path, "sequence");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    failing = NOTHING;
    whole = 1;
    folder_close();
    pair_close(&pair);
    assert_int_equal(opened, 0);
    assert_int_equal(counting.live, 0);
    return 0;
}

static void interrupted(void **state) {
    (void)state;
    for (int n = 0; n < 20; n++) {
        whole = n % 3 == 0;
        assert_int_equal(attn_cache_save(pair.cache, 1, path), ATTN_OK);
        whole = n % 3 == 1;
        assert_int_equal(attn_cache_load(pair.cache, 2, path), ATTN_OK);
        pair_load(&pair, 2, &pair, 1);
        pair_check(&pair);
        pair_clear(&pair, 2);
    }
    assert_int_equal(folder_count(), 1);
}

/* Each call that saving makes fails in turn: the file of before stays, alone. */
static void saving_fails(void **state) {
    (void)state;
    static const struct {
        int call;
        const char *says;
    } calls[] = {
        {OPEN, "cannot write|sequence: Input/output error"},
        {WRITE, "cannot write|sequence: Input/output error"},
        {FSYNC, "cannot write|sequence: Input/output error"},
        {CLOSE, "cannot close|sequence: Input/output error"},
        {RENAME, "cannot write|sequence: Input/output error"},
    };
    static const char old[] = "what was there before";
    folder_write(path, old, sizeof old);
    for (size_t c = 0; c < COUNT_OF(calls); c++) {
        int refusals = 0;
        for (int n = 0; n < 100; n++) {
            failing = calls[c].call;
            after = n;
            const attn_status status = attn_cache_save(pair.cache, 1, path);
            failing = NOTHING;
            assert_int_equal(folder_count(), 1);
            if (status == ATTN_OK) {
                break;
            }
            expect_refusal(status, ATTN_ERR_IO, calls[c].says);
            size_t bytes;
            unsigned char *contents = folder_read(path, &bytes);
            assert_int_equal(bytes, sizeof old);
            assert_memory_equal(contents, old, bytes);
            free(contents);
            refusals++;
        }
        /* the sequence does not fit one buffer */
        assert_in_range(refusals, calls[c].call == WRITE ? 2 : 1, 99);
        folder_write(path, old, sizeof old);
        pair_check(&pair);
    }
}

static void loading_fails(void **state) {
    (void)state;
    static const int calls[] = {OPEN, READ};
    assert_int_equal(attn_cache_save(pair.cache, 1, path), ATTN_OK);
    for (size_t c = 0; c < COUNT_OF(calls); c++) {
        int refusals = 0;
        for (int n = 0; n < 100; n++) {
            failing = calls[c];
            after = n;
            const attn_status status = attn_cache_load(pair.cache, 2, path);
            failing = NOTHING;
            if (status == ATTN_OK) {
                break;
            }
            expect_refusal(status, ATTN_ERR_IO,
                           calls[c] == OPEN ? "cannot open|Input/output error"
                                            : "cannot read|Input/output error");
            pair_check(&pair);
            refusals++;
        }
        assert_in_range(refusals, calls[c] == READ ? 2 : 1, 99);
        assert_int_equal(attn_cache_truncate(pair.cache, 2, 0), ATTN_OK);
        pair_check(&pair);
    }
    /* a name that somebody else writes to is left alone */
    char taken[FOLDER_PATH + 32];
    snprintf(taken, sizeof taken, "%s.%ld-0.tmp", path, (long)getpid());
    folder_write(taken, "abc", 3);
    assert_int_equal(attn_cache_save(pair.cache, 1, path), ATTN_OK);
    size_t bytes;
    free(folder_read(taken, &bytes));
    assert_int_equal(bytes, 3);
    assert_int_equal(folder_count(), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(interrupted),
        TEST(saving_fails),
        TEST(loading_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
