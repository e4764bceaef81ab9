/*
 * Sequences in files: what was saved comes back, byte by byte as src/cache/file.c says,
 * into caches of other kinds too. Saving that fails leaves no file behind.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

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

/* Sequence 1 with keys of both layers, the oldest forgotten, in layer 1 more of them.
 */
static void fill(struct pair *pair) {
    cache_fill(pair->cache, &pair->model, -1, 1, 6, &generator);
    if (pair->model.options.ring) {
        cache_fill(pair->cache, &pair->model, 1, 1, 7, &generator);
        assert_int_equal(attn_cache_truncate(pair->cache, 1, 6), ATTN_OK);
        model_keep(&pair->model, 1, 1, 3, 6);
    }
    assert_int_equal(attn_cache_evict(pair->cache, 1, 2), ATTN_OK);
    for (int64_t l = 0; l < 2; l++) {
        const struct model_rows *rows = model_rows(&pair->model, l, 1);
        model_keep(&pair->model, l, 1, rows->first > 2 ? rows->first : 2, rows->length);
    }
    model_trim(&pair->model, 1);
    pair_check(pair);
}

/* From each kind into each, of all types; what is saved again is the same file. */
static void kinds(void **state) {
    (void)state;
    static const int32_t types[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_I8};
    static const int64_t pages[] = {0, 1, 4, 10};
    char again[FOLDER_PATH];
    folder_path(again, "again");
    for (int n = 0; n < 4 * 8 * 8; n++) {
        const int from_kind = n / 8 % 8, to_kind = n % 8;
        const attn_cache_options from_options =
            pair_options(types[n / 64], from_kind % 2, pages[from_kind / 2]);
        const attn_cache_options to_options =
            pair_options(types[n / 64], to_kind % 2, pages[to_kind / 2]);
        struct pair from = pair_open(&from_options, &counting),
                    to = pair_open(&to_options, &counting);
        fill(&from);
        assert_int_equal(attn_cache_save(from.cache, 1, path), ATTN_OK);
        pair_check(&from);
        assert_int_equal(attn_cache_load(to.cache, 2, path), ATTN_OK);
        pair_load(&to, 2, &from, 1);
        pair_check(&to);
        assert_int_equal(attn_cache_save(to.cache, 2, again), ATTN_OK);
        size_t bytes, bytes_again;
        unsigned char *a = folder_read(path, &bytes);
        unsigned char *b = folder_read(again, &bytes_again);
        assert_int_equal(bytes, bytes_again);
        assert_memory_equal(a, b, bytes);
        free(a);
        free(b);
        /* it goes on growing */
        cache_fill(to.cache, &to.model, -1, 2, 2, &generator);
        pair_check(&to);
        pair_close(&from);
        pair_close(&to);
    }
    assert_int_equal(folder_count(), 2);
}

static void bytes_of_a_small_file(void **state) {
    (void)state;
    assert_true(pair_checksum((const unsigned char *)"123456789", 9) ==
                0x995dc9bbdf1939fa);
    attn_cache_options options;
    attn_cache_options_init(&options, sizeof options);
    options.kv_heads = options.key_dim = options.value_dim = 1;
    options.sequences = 1;
    options.capacity = 4;
    attn_cache *cache = cache_make(&options, &counting);
    float keys[] = {1.0f, 2.0f, -0.5f}, values[] = {3.0f, 1.5f, 0.0f};
    attn_tensor key, value;
    attn_tensor_init(&key, ATTN_F32, 4, (int64_t[]){1, 1, 3, 1}, keys);
    attn_tensor_init(&value, ATTN_F32, 4, (int64_t[]){1, 1, 3, 1}, values);
    attn_append_args args;
    attn_append_args_init(&args, sizeof args);
    args.key = &key;
    args.value = &value;
    assert_int_equal(attn_cache_append(cache, &args), ATTN_OK);
    assert_int_equal(attn_cache_evict(cache, 0, 1), ATTN_OK);
    assert_int_equal(attn_cache_save(cache, 0, path), ATTN_OK);
    unsigned char expected[88] = {
        0x89, 'A', 'T',  'T',  'N', 'K', 'V', 0x0a, 1, 0, 0, 0, /* version */
        1,    0,   0,    0,    1,   0,   0,   0,    1, 0, 0, 0, /* f32, L, heads */
        1,    0,   0,    0,    1,   0,   0,   0,                /* dims */
        3,    0,   0,    0,    0,   0,   0,   0,                /* length */
        0,    0,   0,    0,    0,   0,   0,   0,                /* checksum */
        1,    0,   0,    0,    0,   0,   0,   0,                /* first */
        0,    0,   0,    0,    0,   0,   0,   0,                /* checksum */
        0,    0,   0,    0x40, 0,   0,   0,   0xbf,             /* 2, -0.5 */
        0,    0,   0xc0, 0x3f, 0,   0,   0,   0,                /* 1.5, 0 */
    };
    size_t bytes;
    unsigned char *file = folder_read(path, &bytes);
    pair_sign(expected, sizeof expected, 1);
    assert_int_equal(bytes, sizeof expected);
    assert_memory_equal(file, expected, bytes);
    free(file);
    attn_cache_destroy(cache);
}

/* A sequence that forgot its keys has no room for them, but stays where it was. */
static void nothing_is_kept(void **state) {
    (void)state;
    const attn_cache_options options = pair_options(ATTN_BF16, 0, 2);
    struct pair pair = pair_open(&options, &counting);
    assert_int_equal(attn_cache_save(pair.cache, 0, path), ATTN_OK);
    assert_int_equal(attn_cache_load(pair.cache, 0, path), ATTN_OK);
    pair_check(&pair);
    cache_fill(pair.cache, &pair.model, -1, 0, 7, &generator);
    assert_int_equal(attn_cache_evict(pair.cache, 0, 7), ATTN_OK);
    assert_int_equal(attn_cache_save(pair.cache, 0, path), ATTN_OK);
    assert_int_equal(attn_cache_load(pair.cache, 1, path), ATTN_OK);
    for (int64_t l = 0; l < 2; l++) {
        model_keep(&pair.model, l, 0, 7, 7);
        model_keep(&pair.model, l, 1, 7, 7);
    }
    model_trim(&pair.model, 0);
    pair_check(&pair);
    cache_fill(pair.cache, &pair.model, -1, 1, 4, &generator);
    pair_check(&pair);
    pair_close(&pair);
}

static void layers_of_other_lengths(void **state) {
    (void)state;
    const attn_cache_options options = pair_options(ATTN_F32, 0, 0);
    struct pair pair = pair_open(&options, &counting);
    cache_fill(pair.cache, &pair.model, -1, 1, 2, &generator);
    cache_fill(pair.cache, &pair.model, 0, 1, 1, &generator);
    expect_refusal(attn_cache_save(pair.cache, 1, path), ATTN_ERR_INVALID,
                   "sequence 1|3 tokens in layer 0|2 in layer 1");
    expect_refusal(attn_cache_save(pair.cache, 3, path), ATTN_ERR_INVALID,
                   "sequence is 3|3 sequences");
    expect_refusal(attn_cache_save(NULL, 0, path), ATTN_ERR_INVALID, "cache|NULL");
    expect_refusal(attn_cache_load(NULL, 0, path), ATTN_ERR_INVALID, "cache|NULL");
    expect_refusal(attn_cache_save(pair.cache, 0, NULL), ATTN_ERR_INVALID, "path|NULL");
    expect_refusal(attn_cache_load(pair.cache, 0, NULL), ATTN_ERR_INVALID, "path|NULL");
    assert_int_equal(folder_count(), 0);
    pair_check(&pair);
    pair_close(&pair);
}

/* Folders, and paths that lead nowhere. */
static void bad_paths(void **state) {
    (void)state;
    const attn_cache_options options = pair_options(ATTN_F32, 0, 0);
    struct pair pair = pair_open(&options, &counting);
    char nowhere[FOLDER_PATH], below[FOLDER_PATH], pipe[FOLDER_PATH];
    folder_path(nowhere, "missing/file");
    folder_path(pipe, "pipe");
    folder_path(below, "folder");
    assert_int_equal(mkdir(below, 0777), 0);
    expect_refusal(attn_cache_load(pair.cache, 0, path), ATTN_ERR_IO,
                   "open|sequence|:");
    expect_refusal(attn_cache_load(pair.cache, 0, nowhere), ATTN_ERR_IO,
                   "open|missing");
    expect_refusal(attn_cache_load(pair.cache, 0, ""), ATTN_ERR_IO, "open");
    expect_refusal(attn_cache_load(pair.cache, 0, below), ATTN_ERR_IO,
                   "folder|no regular file");
    /* a pipe that nobody writes to is not waited for */
    assert_int_equal(mkfifo(pipe, 0600), 0);
    expect_refusal(attn_cache_load(pair.cache, 0, pipe), ATTN_ERR_IO,
                   "pipe|no regular file");
    assert_int_equal(remove(pipe), 0);
    expect_refusal(attn_cache_save(pair.cache, 0, nowhere), ATTN_ERR_IO,
                   "write|missing");
    expect_refusal(attn_cache_save(pair.cache, 0, below), ATTN_ERR_IO, "write|folder");
    assert_int_equal(folder_count(), 1);
    pair_check(&pair);
    pair_close(&pair);
}

/* Neither saving nor loading lives without its buffer. */
static void no_memory(void **state) {
    (void)state;
    const attn_cache_options options = pair_options(ATTN_F32, 1, 3);
    struct pair pair = pair_open(&options, &counting);
    cache_fill(pair.cache, &pair.model, -1, 1, 4, &generator);
    assert_int_equal(attn_cache_save(pair.cache, 1, path), ATTN_OK);
    counting.fail_at = counting.calls + 1;
    expect_refusal(attn_cache_save(pair.cache, 1, path), ATTN_ERR_NO_MEMORY, "memory");
    counting.fail_at = counting.calls + 1;
    expect_refusal(attn_cache_load(pair.cache, 0, path), ATTN_ERR_NO_MEMORY, "memory");
    pair_check(&pair);
    assert_int_equal(attn_cache_load(pair.cache, 0, path), ATTN_OK);
    pair_close(&pair);
    assert_int_equal(folder_count(), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(kinds),           TEST(bytes_of_a_small_file),
        TEST(nothing_is_kept), TEST(layers_of_other_lengths),
        TEST(bad_paths),       TEST(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
