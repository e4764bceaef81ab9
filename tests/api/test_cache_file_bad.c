/*
 * Files that are refused: torn, changed, foreign, of another shape or too large for the
 * cache. Nothing changes then, and the sequence stays empty.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cache_pair.h"
#include "tests/support/expect.h"
#include "tests/support/folder.h"

static struct counting counting;
static struct random generator;
static char path[FOLDER_PATH];

static int setup(void **state) {
    (void)state;
    counting = (struct counting){0};
    generator = random_stream(1, 77);
    folder_open();
    folder_path(path, "sequence");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    folder_close();
    assert_int_equal(counting.live, 0);
    return 0;
}

/* A file and a cache that could load it into sequence 1. */
struct bad {
    struct pair pair;
    unsigned char *file;
    size_t bytes;
};

static void open_bad(struct bad *bad, const attn_cache_options *options) {
    bad->pair = pair_open(options, &counting);
    cache_fill(bad->pair.cache, &bad->pair.model, -1, 1, 3, &generator);
    cache_fill(bad->pair.cache, &bad->pair.model, -1, 0, 2, &generator);
    assert_int_equal(attn_cache_save(bad->pair.cache, 1, path), ATTN_OK);
    bad->file = folder_read(path, &bad->bytes);
    pair_clear(&bad->pair, 1);
}

/* These bytes are refused, and the cache stays as it was. */
static void refused(struct bad *bad, const void *contents, size_t bytes,
                    attn_status status, const char *says) {
    folder_write(path, contents, bytes);
    expect_refusal(attn_cache_load(bad->pair.cache, 1, path), status, says);
    pair_check(&bad->pair);
}

/* As it was saved it is good. */
static void close_bad(struct bad *bad) {
    folder_write(path, bad->file, bad->bytes);
    assert_int_equal(attn_cache_load(bad->pair.cache, 1, path), ATTN_OK);
    assert_int_equal(attn_cache_length(bad->pair.cache, 1, 1), 3);
    free(bad->file);
    pair_close(&bad->pair);
    assert_int_equal(folder_count(), 1);
}

static void torn_files(void **state) {
    (void)state;
    struct bad bad;
    const attn_cache_options options = pair_options(ATTN_I8, 0, 2);
    open_bad(&bad, &options);
    for (size_t bytes = 0; bytes < bad.bytes; bytes++) {
        char says[64];
        snprintf(says, sizeof says, "torn|%zu bytes", bytes);
        refused(&bad, bad.file, bytes, bytes < 8 ? ATTN_ERR_INVALID : ATTN_ERR_IO,
                bytes < 8 ? "attn_cache_save" : says);
    }
    unsigned char *longer = calloc(bad.bytes + 100, 1);
    assert_non_null(longer);
    memcpy(longer, bad.file, bad.bytes);
    refused(&bad, longer, bad.bytes + 1, ATTN_ERR_IO, "torn");
    refused(&bad, longer, bad.bytes + 100, ATTN_ERR_IO, "torn");
    free(longer);
    close_bad(&bad);
}

/* Every bit of it, one at a time. */
static void changed_files(void **state) {
    (void)state;
    struct bad bad;
    const attn_cache_options options = pair_options(ATTN_I8, 1, 4);
    open_bad(&bad, &options);
    for (size_t i = 0; i < bad.bytes; i++) {
        for (int bit = 0; bit < 8; bit++) {
            bad.file[i] ^= (unsigned char)(1 << bit);
            refused(&bad, bad.file, bad.bytes,
                    i < 8    ? ATTN_ERR_INVALID
                    : i < 12 ? ATTN_ERR_UNSUPPORTED
                             : ATTN_ERR_IO,
                    i < 8    ? "attn_cache_save"
                    : i < 12 ? "version"
                             : "changed|checksum");
            bad.file[i] ^= (unsigned char)(1 << bit);
        }
    }
    /* what lies at two places changes them */
    for (size_t i = 60; i + 40 < bad.bytes; i += 7) {
        unsigned char *other = bad.file + i + 1 + i % 31;
        const unsigned char byte = bad.file[i];
        if (byte != *other) {
            bad.file[i] = *other;
            *other = byte;
            refused(&bad, bad.file, bad.bytes, ATTN_ERR_IO, "changed");
            *other = bad.file[i];
            bad.file[i] = byte;
        }
    }
    close_bad(&bad);
}

/* Well signed, but not what this cache or library can read. */
static void files_that_make_no_sense(void **state) {
    (void)state;
    static const struct {
        size_t at;
        uint64_t value;
        int count;
        attn_status status;
        const char *says;
    } cases[] = {
        {8, 2, 4, ATTN_ERR_UNSUPPORTED, "version 2|version 1"},
        {8, 0, 4, ATTN_ERR_UNSUPPORTED, "version 0"},
        {12, ATTN_F32, 4, ATTN_ERR_INVALID, "of f32 (1)|the cache of i8 (7)"},
        {12, 77, 4, ATTN_ERR_INVALID, "unknown type (77)|the cache of i8 (7)"},
        {16, 3, 4, ATTN_ERR_INVALID, "layers 3|cache 2"},
        {16, 0xffffffff, 4, ATTN_ERR_INVALID, "layers 4294967295|cache 2"},
        {20, 1, 4, ATTN_ERR_INVALID, "kv_heads 1|cache 2"},
        {24, 4, 4, ATTN_ERR_INVALID, "key_dim 4|cache 3"},
        {28, 0, 4, ATTN_ERR_INVALID, "value_dim 0|cache 5"},
        {32, (UINT64_C(1) << 53) + 1, 8, ATTN_ERR_INVALID, "9007199254740993|2^53"},
        {32, UINT64_MAX, 8, ATTN_ERR_INVALID, "18446744073709551615|2^53"},
        {32, UINT64_C(1) << 53, 8, ATTN_ERR_INVALID, "keys of layer 0|capacity of 10"},
        {32, 11, 8, ATTN_ERR_INVALID, "11 keys|layer 0|capacity of 10"},
        {32, 4, 8, ATTN_ERR_IO, "torn"},
        {32, 2, 8, ATTN_ERR_IO, "torn"},
        {48, 4, 8, ATTN_ERR_INVALID, "3 tokens|starts at 4"},
        {56, UINT64_MAX, 8, ATTN_ERR_INVALID, "3 tokens|starts at -1"},
        {56, INT64_MAX, 8, ATTN_ERR_INVALID, "3 tokens|starts at 9223372036854775807"},
        {56, UINT64_C(1) << 63, 8, ATTN_ERR_INVALID, "starts at -9223372036854775808"},
        {56, 1, 8, ATTN_ERR_IO, "torn"},
    };
    struct bad bad;
    const attn_cache_options options = pair_options(ATTN_I8, 0, 0);
    open_bad(&bad, &options);
    unsigned char *file = malloc(bad.bytes);
    assert_non_null(file);
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        memcpy(file, bad.file, bad.bytes);
        pair_put(file + cases[c].at, cases[c].value, cases[c].count);
        pair_sign(file, bad.bytes, 2);
        refused(&bad, file, bad.bytes, cases[c].status, cases[c].says);
    }
    free(file);
    close_bad(&bad);
}

static void foreign_files(void **state) {
    (void)state;
    struct bad bad;
    const attn_cache_options options = pair_options(ATTN_F16, 0, 3);
    static const char text[] = "Keys and values, some thousand of them: 1 2 3 4 5 6 7 "
                               "8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25";
    static const unsigned char zeros[5000];
    open_bad(&bad, &options);
    refused(&bad, text, sizeof text, ATTN_ERR_INVALID, "sequence|attn_cache_save");
    refused(&bad, zeros, sizeof zeros, ATTN_ERR_INVALID, "attn_cache_save");
    close_bad(&bad);
}

/* Of another shape than the cache, one thing at a time. */
static void other_shapes(void **state) {
    (void)state;
    for (int what = 0; what < 5; what++) {
        struct bad bad;
        static const char *const says[] = {"of f16 (2)|cache of bf16 (3)",
                                           "layers 2|cache 3", "kv_heads 2|cache 1",
                                           "key_dim 3|cache 5", "value_dim 5|cache 3"};
        const attn_cache_options options = pair_options(ATTN_F16, 0, 3);
        attn_cache_options other = options;
        other.dtype = what == 0 ? ATTN_BF16 : ATTN_F16;
        other.layers = what == 1 ? 3 : 2;
        other.kv_heads = what == 2 ? 1 : 2;
        other.key_dim = what == 3 ? 5 : 3;
        other.value_dim = what == 4 ? 3 : 5;
        open_bad(&bad, &options);
        struct pair pair = pair_open(&other, &counting);
        expect_refusal(attn_cache_load(pair.cache, 0, path), ATTN_ERR_INVALID,
                       says[what]);
        pair_check(&pair);
        pair_close(&pair);
        close_bad(&bad);
    }
}

static void no_room(void **state) {
    (void)state;
    struct bad bad;
    attn_cache_options options = pair_options(ATTN_F32, 0, 2);
    open_bad(&bad, &options);
    /* 3 keys take 2 pages of 2; sequence 0 has one page */
    options.pages = 2;
    struct pair pair = pair_open(&options, &counting);
    cache_fill(pair.cache, &pair.model, -1, 0, 1, &generator);
    expect_refusal(attn_cache_load(pair.cache, 2, path), ATTN_ERR_INVALID,
                   "2 pages|1 of|2 are free");
    expect_refusal(attn_cache_load(pair.cache, 0, path), ATTN_ERR_INVALID,
                   "sequence 0|1 tokens|layer 0");
    expect_refusal(attn_cache_load(pair.cache, 3, path), ATTN_ERR_INVALID,
                   "sequence is 3|3 sequences");
    expect_refusal(attn_cache_load(pair.cache, -1, path), ATTN_ERR_INVALID,
                   "sequence is -1|3 sequences");
    pair_check(&pair);
    pair_close(&pair);
    for (int ring = 0; ring < 2; ring++) {
        attn_cache_options small = pair_options(ATTN_F32, ring, 0);
        small.capacity = 2;
        pair = pair_open(&small, &counting);
        expect_refusal(attn_cache_load(pair.cache, 0, path), ATTN_ERR_INVALID,
                       "3 keys|capacity of 2");
        pair_check(&pair);
        pair_close(&pair);
    }
    close_bad(&bad);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(torn_files),    TEST(changed_files), TEST(files_that_make_no_sense),
        TEST(foreign_files), TEST(other_shapes),  TEST(no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
