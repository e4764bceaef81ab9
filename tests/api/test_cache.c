/*
 * Caches by hand: what steps, forks, rings and empty calls do, with numbers that can be
 * counted on fingers.
 */
#include <math.h>
#include <string.h>

#include "cache/cache.h"
#include "core/call.h"
#include "tests/support/cache_check.h"
#include "tests/support/cache_pair.h"
#include "tests/support/expect.h"
#include "tests/support/guard.h"

/* One layer, one head, dims 1, sequences of the capacity; key p of sequence s is
 * 100 s + p, the value its negative. */
static attn_cache *cache;
static attn_context *context;

static void open_cache(int32_t dtype, int ring, int64_t sequences, int64_t capacity,
                       int64_t page_keys, int64_t pages) {
    attn_cache_options options;
    attn_cache_options_init(&options, sizeof options);
    options.kv_heads = options.key_dim = options.value_dim = 1;
    options.dtype = dtype;
    options.ring = ring;
    options.sequences = sequences;
    options.capacity = capacity;
    options.page_keys = page_keys;
    options.pages = pages;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_int_equal(attn_cache_create(&cache, context, &options), ATTN_OK);
    attn_context_destroy(context);
}

static int teardown(void **state) {
    (void)state;
    attn_cache_destroy(cache);
    cache = NULL;
    return 0;
}

/* Appends n keys to a sequence: `first` and what follows. */
static attn_status append(int64_t sequence, float first, int64_t n) {
    static float keys[64], values[64];
    attn_tensor key, value, sequences;
    attn_append_args args;
    for (int64_t i = 0; i < n; i++) {
        keys[i] = first + (float)i;
        values[i] = -keys[i];
    }
    attn_tensor_init(&key, ATTN_F32, 4, (int64_t[]){1, 1, n, 1}, keys);
    attn_tensor_init(&value, ATTN_F32, 4, (int64_t[]){1, 1, n, 1}, values);
    attn_tensor_init(&sequences, ATTN_I64, 1, (int64_t[]){1}, &sequence);
    attn_append_args_init(&args, sizeof args);
    args.key = &key;
    args.value = &value;
    args.sequences = &sequences;
    return attn_cache_append(cache, &args);
}

/* A sequence keeps these positions, whose keys are `key` and what follows. */
static void keeps(int64_t sequence, int64_t first, int64_t length, float key) {
    const struct problem problem = {.query_heads = 1, .kv_heads = 1, .group = 1};
    struct cached cached;
    struct head head;
    assert_int_equal(attn_cache_first(cache, 0, sequence), first);
    assert_int_equal(attn_cache_length(cache, 0, sequence), length);
    assert_int_equal(attn_cache_view(cache, 0, &cached), ATTN_OK);
    const struct call call = {
        .problem = &problem, .batch = cached.sequences, .cached = &cached};
    attn_head_bind(&head, &call, sequence, 0);
    assert_int_equal(head.keys, length - first);
    for (int64_t i = 0; i < head.keys; i++) {
        const struct run keys = attn_source_run(&head.key, i, 1);
        const struct run values = attn_source_run(&head.value, i, 1);
        float number;
        memcpy(&number, stored_element(&head.key, &keys, 1, 0), sizeof number);
        assert_true(number == key + (float)i);
        memcpy(&number, stored_element(&head.value, &values, 1, 0), sizeof number);
        assert_true(number == -key - (float)i);
    }
}

static void steps_of_decoding(void **state) {
    (void)state;
    open_cache(ATTN_F32, 0, 2, 8, 0, 0);
    keeps(0, 0, 0, 0);
    assert_int_equal(append(0, 0, 5), ATTN_OK);
    assert_int_equal(append(1, 100, 2), ATTN_OK);
    assert_int_equal(append(0, 5, 1), ATTN_OK);
    assert_int_equal(append(0, 6, 1), ATTN_OK);
    keeps(0, 0, 7, 0);
    keeps(1, 0, 2, 100);
    /* speculation: three tokens, of which one stays */
    assert_int_equal(append(1, 102, 3), ATTN_OK);
    assert_int_equal(attn_cache_truncate(cache, 1, 3), ATTN_OK);
    assert_int_equal(append(1, 203, 1), ATTN_OK);
    assert_int_equal(append(0, 7, 1), ATTN_OK);
    expect_refusal(append(0, 8, 1), ATTN_ERR_INVALID, "capacity of 8");
    keeps(0, 0, 8, 0);
    /* what is evicted leaves room for others, which are no nearer */
    assert_int_equal(attn_cache_evict(cache, 0, 3), ATTN_OK);
    assert_int_equal(append(0, 8, 3), ATTN_OK);
    keeps(0, 3, 11, 3);
    expect_refusal(append(0, 11, 1), ATTN_ERR_INVALID, "capacity of 8");
    assert_int_equal(attn_cache_truncate(cache, 0, 0), ATTN_OK);
    keeps(0, 0, 0, 0);
    assert_int_equal(append(0, 40, 8), ATTN_OK);
    keeps(0, 0, 8, 40);
}

static void rings(void **state) {
    (void)state;
    for (int64_t page_keys = 0; page_keys <= 5; page_keys++) {
        open_cache(ATTN_F32, 1, 1, 5, page_keys, page_keys > 0 ? 5 : 0);
        for (int64_t length = 1; length <= 23; length++) {
            assert_int_equal(append(0, (float)length - 1, 1), ATTN_OK);
            const int64_t first = length > 5 ? length - 5 : 0;
            keeps(0, first, length, (float)first);
        }
        /* more than it keeps, at once */
        assert_int_equal(append(0, 23, 14), ATTN_OK);
        keeps(0, 32, 37, 32);
        expect_refusal(attn_cache_truncate(cache, 0, 31), ATTN_ERR_INVALID, "31|32");
        assert_int_equal(attn_cache_truncate(cache, 0, 34), ATTN_OK);
        keeps(0, 32, 34, 32);
        assert_int_equal(append(0, 34, 4), ATTN_OK);
        keeps(0, 33, 38, 33);
        teardown(NULL);
    }
}

/* A prompt of 6 keys in pages of 4, shared by four sequences that then differ. */
static void forks_share_pages(void **state) {
    (void)state;
    size_t used;
    open_cache(ATTN_F32, 0, 4, 12, 4, 8);
    assert_int_equal(append(0, 0, 6), ATTN_OK);
    assert_int_equal(attn_cache_free_pages(cache), 6);
    for (int64_t s = 1; s < 4; s++) {
        assert_int_equal(attn_cache_fork(cache, 0, s), ATTN_OK);
    }
    assert_int_equal(attn_cache_free_pages(cache), 6);
    /* a page has 4 keys and 4 values of 4 bytes, each rounded up to 64 */
    assert_int_equal(attn_cache_bytes(cache, &used), 8 * 128);
    assert_int_equal(used, 2 * 128);
    /* the first three get a copy of the page that is half full; the last has it then */
    for (int64_t s = 0; s < 4; s++) {
        assert_int_equal(append(s, 6 + 100 * (float)s, 1), ATTN_OK);
        assert_int_equal(attn_cache_free_pages(cache), s < 3 ? 5 - s : 3);
    }
    for (int64_t s = 0; s < 4; s++) {
        assert_int_equal(attn_cache_truncate(cache, s, 6), ATTN_OK);
        keeps(s, 0, 6, 0);
        assert_int_equal(append(s, 6, 2), ATTN_OK);
        keeps(s, 0, 8, 0);
    }
    /* the page of the prompt goes with its last owner */
    for (int64_t s = 0; s < 4; s++) {
        assert_int_equal(attn_cache_evict(cache, s, 4), ATTN_OK);
        keeps(s, 4, 8, 4);
        assert_int_equal(attn_cache_free_pages(cache), s < 3 ? 3 : 4);
    }
    /* a fork onto something forgets it */
    assert_int_equal(attn_cache_fork(cache, 3, 0), ATTN_OK);
    assert_int_equal(attn_cache_free_pages(cache), 5);
    assert_int_equal(attn_cache_fork(cache, 3, 3), ATTN_OK);
    assert_int_equal(attn_cache_free_pages(cache), 5);
    keeps(3, 4, 8, 4);
    keeps(0, 4, 8, 4);
}

/* As many pages as sequences are enough, all shared or not, all at once. */
static void contiguous_copies_never_fail(void **state) {
    (void)state;
    for (int64_t n = 1; n <= 5; n++) {
        static float keys[5] = {3, 103, 203, 303, 403};
        static float values[5] = {-3, -103, -203, -303, -403};
        attn_tensor key, value;
        attn_append_args args;
        open_cache(ATTN_F32, 0, n, 4, 0, 0);
        assert_int_equal(append(n - 1, 0, 3), ATTN_OK);
        for (int64_t s = 0; s < n; s++) {
            assert_int_equal(attn_cache_fork(cache, n - 1, s), ATTN_OK);
        }
        assert_int_equal(attn_cache_free_pages(cache), n - 1);
        attn_tensor_init(&key, ATTN_F32, 4, (int64_t[]){n, 1, 1, 1}, keys);
        attn_tensor_init(&value, ATTN_F32, 4, (int64_t[]){n, 1, 1, 1}, values);
        attn_append_args_init(&args, sizeof args);
        args.key = &key;
        args.value = &value;
        assert_int_equal(attn_cache_append(cache, &args), ATTN_OK);
        assert_int_equal(attn_cache_free_pages(cache), 0);
        keeps(0, 0, 4, 0);
        for (int64_t s = 0; s < n; s++) {
            assert_int_equal(attn_cache_truncate(cache, s, 3), ATTN_OK);
            keeps(s, 0, 3, 0);
        }
        teardown(NULL);
    }
}

/* Beams exchange their places without a page more. */
static void reordered_beams(void **state) {
    (void)state;
    int32_t of[4] = {1, 2, 0, 3};
    attn_tensor parents;
    attn_tensor_init(&parents, ATTN_I32, 1, (int64_t[]){4}, of);
    open_cache(ATTN_F32, 0, 4, 4, 2, 8);
    for (int64_t s = 0; s < 4; s++) {
        assert_int_equal(append(s, 100 * (float)s, 3), ATTN_OK);
    }
    assert_int_equal(attn_cache_free_pages(cache), 0);
    assert_int_equal(attn_cache_reorder(cache, &parents),
                     ATTN_OK); /* a ring of three */
    keeps(0, 0, 3, 100);
    keeps(1, 0, 3, 200);
    keeps(2, 0, 3, 0);
    keeps(3, 0, 3, 300);
    assert_int_equal(attn_cache_free_pages(cache), 0);
    of[0] = of[1] = of[3] = 3; /* 200 and 100 are forgotten */
    of[2] = 1;
    assert_int_equal(attn_cache_reorder(cache, &parents), ATTN_OK);
    keeps(0, 0, 3, 300);
    keeps(1, 0, 3, 300);
    keeps(2, 0, 3, 200);
    keeps(3, 0, 3, 300);
    assert_int_equal(attn_cache_free_pages(cache), 4);
}

/* More rows at once than are converted at once, from and to all types. */
static void long_appends(void **state) {
    (void)state;
    static const int32_t types[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_I8};
    struct random random = random_stream(2, 80);
    for (int64_t n = 0; n < 8; n++) {
        struct counting counting = {0};
        attn_cache_options options = pair_options(types[n / 2], 0, n % 2 * 50);
        options.capacity = 1300;
        options.pages = n % 2 * 60;
        options.key_dim = 64;
        options.value_dim = 33;
        struct pair pair = pair_open(&options, &counting);
        for (int i = 0; i < 6; i++) {
            cache_fill(pair.cache, &pair.model, -1, 1, 210, &random);
        }
        pair_check(&pair);
        pair_close(&pair);
        assert_int_equal(counting.violations, 0);
    }
}

/* What does not count may lie in no memory at all: in a ring the first rows of many,
 * and rows beyond the lengths. */
static void rows_that_are_not_read(void **state) {
    (void)state;
    struct guard before, after;
    const size_t bytes = 5 * sizeof(float);
    float *end = guard_before(&before, bytes), *start = guard_after(&after, bytes);
    attn_tensor key, lengths;
    attn_append_args args;
    int64_t five = 5;
    open_cache(ATTN_F32, 1, 1, 5, 0, 0);
    attn_tensor_init(&lengths, ATTN_I64, 1, (int64_t[]){1}, &five);
    attn_append_args_init(&args, sizeof args);
    args.key = args.value = &key;
    for (int i = 0; i < 5; i++) {
        start[i] = end[i] = (float)i;
    }
    attn_tensor_init(&key, ATTN_F32, 4, (int64_t[]){1, 1, 12, 1}, start - 7);
    assert_int_equal(attn_cache_append(cache, &args), ATTN_OK);
    assert_int_equal(attn_cache_length(cache, 0, 0), 12);
    args.lengths = &lengths;
    key.data = end;
    assert_int_equal(attn_cache_append(cache, &args), ATTN_OK);
    assert_int_equal(attn_cache_length(cache, 0, 0), 17);
    guard_free(&before);
    guard_free(&after);
}

static void empty_calls(void **state) {
    (void)state;
    struct counting counting = {0};
    const attn_cache_options options = pair_options(ATTN_BF16, 1, 3);
    struct pair pair = pair_open(&options, &counting);
    static const int64_t batches[] = {0, 2, 2, 1}, rows[] = {3, 0, 3, 3};
    float numbers[2 * 2 * 3 * 5] = {0};
    const int64_t zeros[3] = {0, 0, 0};
    for (int n = 0; n < 4; n++) {
        attn_tensor key, value, lengths, starts;
        attn_append_args args;
        attn_append_args_init(&args, sizeof args);
        attn_tensor_init(&key, ATTN_F32, 4, (int64_t[]){batches[n], 2, rows[n], 3},
                         n < 2 ? NULL : numbers);
        attn_tensor_init(&value, ATTN_F32, 4, (int64_t[]){batches[n], 2, rows[n], 5},
                         n < 2 ? NULL : numbers);
        attn_tensor_init(&lengths, ATTN_I64, 1, (int64_t[]){2},
                         (void *)(intptr_t)zeros);
        attn_tensor_init(&starts, ATTN_I64, 1, (int64_t[]){3}, (void *)(intptr_t)zeros);
        args.key = &key;
        args.value = &value;
        args.lengths = n == 2 ? &lengths : NULL;
        args.starts = n == 3 ? &starts : NULL;
        assert_int_equal(attn_cache_append(pair.cache, &args), ATTN_OK);
        pair_check(&pair);
        starts.shape[0] = 1; /* of no sequence */
        assert_int_equal(attn_cache_append(pair.cache, &args), ATTN_OK);
    }
    pair_check(&pair);
    assert_int_equal(attn_cache_evict(pair.cache, 0, 0), ATTN_OK);
    assert_int_equal(attn_cache_truncate(pair.cache, 0, 0), ATTN_OK);
    assert_int_equal(attn_cache_fork(pair.cache, 0, 1), ATTN_OK);
    pair_check(&pair);
    pair_close(&pair);
}

/* No number is further from what was appended than half a step of its row. */
static void bytes_with_scales(void **state) {
    (void)state;
    struct counting counting = {0};
    attn_cache_options options = pair_options(ATTN_I8, 0, 0);
    options.key_dim = options.value_dim = 64;
    options.kv_heads = options.layers = 1;
    struct pair pair = pair_open(&options, &counting);
    struct random random = random_stream(3, 80);
    float numbers[10][64];
    attn_tensor key;
    attn_append_args args;
    attn_append_args_init(&args, sizeof args);
    for (int r = 0; r < 10; r++) {
        for (int c = 0; c < 64; c++) {
            numbers[r][c] = random_float(&random) * powf(10.0f, (float)(r * 4 - 20));
        }
    }
    attn_tensor_init(&key, ATTN_F32, 4, (int64_t[]){1, 1, 10, 64}, numbers);
    args.key = args.value = &key;
    assert_int_equal(attn_cache_append(pair.cache, &args), ATTN_OK);
    struct cached cached;
    assert_int_equal(attn_cache_view(pair.cache, 0, &cached), ATTN_OK);
    assert_int_equal(cached.key.dtype, ATTN_I8);
    const int32_t page = 0;
    const struct source values = {.data = cached.value.data,
                                  .dtype = ATTN_I8,
                                  .order = ORDER_VALUE_BLOCKS,
                                  .stride = 64,
                                  .pages = &page,
                                  .page_rows = cached.page_rows};
    for (int r = 0; r < 10; r++) {
        const struct run run = attn_source_run(&values, r, 1);
        const double scale =
            ((const float *)
                 cached.value_scales.data)[r * cached.value_scales.stride[ROW]];
        double largest = 0;
        for (int c = 0; c < 64; c++) {
            largest = fmax(largest, fabs((double)numbers[r][c]));
            const int byte = *(const int8_t *)stored_element(&values, &run, 64, c);
            assert_true(fabs(numbers[r][c] - scale * byte) <=
                        scale / 2 * (1 + 0x1p-15));
        }
        assert_true(fabs(largest / 127 - scale) <= scale * 0x1p-23);
    }
    pair_close(&pair);
}

/* Memory from malloc, more than a huge page of it; what a view says stays true. */
static void large_caches(void **state) {
    (void)state;
    struct cached before, after;
    size_t used = 1;
    open_cache(ATTN_F32, 0, 3, 1 << 20, 0, 0);
    assert_int_equal(attn_cache_bytes(cache, &used), 3 * 2 * (4 << 20));
    assert_int_equal(used, 0);
    assert_int_equal(attn_cache_view(cache, 0, &before), ATTN_OK);
    assert_int_equal((uintptr_t)before.memory % (1 << 21), 0);
    for (int64_t s = 0; s < 3; s++) {
        assert_int_equal(append(s, 100 * (float)s, 40), ATTN_OK);
    }
    assert_int_equal(attn_cache_fork(cache, 0, 2), ATTN_OK);
    for (int64_t s = 0; s < 3; s++) {
        keeps(s, 0, 40, s == 1 ? 100 : 0);
    }
    assert_int_equal(attn_cache_view(cache, 0, &after), ATTN_OK);
    assert_ptr_equal(before.kept, after.kept);
    assert_ptr_equal(before.memory, after.memory);
    assert_int_equal(before.kept[1].rows, 40);
    assert_int_equal(before.bytes, 3 * 2 * (4 << 20));
    expect_refusal(attn_cache_view(cache, 1, &after), ATTN_ERR_INVALID,
                   "cache_layer is 1|1 layers");
    expect_refusal(attn_cache_view(cache, -1, &after), ATTN_ERR_INVALID,
                   "cache_layer is -1|1 layers");
}

static void questions_about_nothing(void **state) {
    (void)state;
    size_t used = 3;
    open_cache(ATTN_F32, 0, 2, 4, 0, 0);
    static const int64_t nowhere[][2] = {{1, 0}, {-1, 0}, {0, 2}, {0, -1}};
    for (size_t i = 0; i < COUNT_OF(nowhere); i++) {
        const int32_t layer = (int32_t)nowhere[i][0];
        assert_int_equal(attn_cache_length(cache, layer, nowhere[i][1]), -1);
        assert_int_equal(attn_cache_first(cache, layer, nowhere[i][1]), -1);
    }
    assert_int_equal(attn_cache_length(NULL, 0, 0), -1);
    assert_int_equal(attn_cache_first(NULL, 0, 0), -1);
    assert_int_equal(attn_cache_free_pages(NULL), 0);
    assert_int_equal(attn_cache_free_pages(cache), 2);
    assert_int_equal(attn_cache_bytes(NULL, &used), 0);
    assert_int_equal(used, 0);
    assert_int_equal(attn_cache_bytes(NULL, NULL), 0);
    attn_cache_destroy(NULL);
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(steps_of_decoding),       TEST(rings),
        TEST(forks_share_pages),       TEST(contiguous_copies_never_fail),
        TEST(reordered_beams),         TEST(long_appends),
        TEST(rows_that_are_not_read),  TEST(empty_calls),
        TEST(bytes_with_scales),       TEST(large_caches),
        TEST(questions_about_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
