/*
 * Creating caches: options that are refused with their numbers, sizes that no memory
 * holds, and every allocation that fails.
 */
#include <string.h>

#include "tests/support/cache_pair.h"
#include "tests/support/expect.h"

/* What a handle holds before a creation that fails; never looked into. */
static char somewhere;
static attn_cache *const nothing = (attn_cache *)(void *)&somewhere;

static void options_refused(attn_cache_options *options, const char *says) {
    attn_context *context = NULL;
    attn_cache *cache = nothing;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    expect_refusal(attn_cache_create(&cache, context, options), ATTN_ERR_INVALID, says);
    assert_null(cache);
    /* the context was not used */
    assert_int_equal(attn_context_set_threads(context, 1), ATTN_OK);
    attn_context_destroy(context);
}

static void bad_options(void **state) {
    (void)state;
    static const struct {
        size_t at; /* offset of the member */
        int64_t value;
        const char *says;
    } cases[] = {
#define AT(member) offsetof(attn_cache_options, member)
        {AT(layers), 0, "layers|0|1 to 2147483647"},
        {AT(layers), -1, "layers|-1"},
        {AT(kv_heads), 0, "kv_heads|0"},
        {AT(key_dim), 0, "key_dim|0|65536"},
        {AT(key_dim), 65537, "key_dim|65537|65536"},
        {AT(value_dim), -5, "value_dim|-5"},
        {AT(value_dim), 65537, "value_dim|65537"},
        {AT(dtype), 0, "dtype|0"},
        {AT(dtype), ATTN_BOOL, "dtype|4"},
        {AT(dtype), 99, "dtype|99"},
        {AT(ring), 2, "ring|2|0 to 1"},
        {AT(ring), -1, "ring|-1"},
        {AT(sequences), 0, "sequences|0"},
        {AT(sequences), INT64_C(1) << 31, "sequences|2147483648|2147483647"},
        {AT(capacity), 0, "capacity|0"},
        {AT(capacity), (INT64_C(1) << 53) + 1, "capacity|9007199254740993"},
        {AT(page_keys), 11, "page_keys|11|capacity, 10"},
        {AT(page_keys), -1, "page_keys|-1|10"},
        {AT(pages), 0, "pages|0|1 to 2147483647"},
        {AT(pages), INT64_C(1) << 31, "pages|2147483648"},
    };
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        attn_cache_options options = pair_options(ATTN_F32, 0, 4);
        char *member = (char *)&options + cases[c].at;
        const int32_t narrow = (int32_t)cases[c].value;
        if (cases[c].at < AT(sequences)) {
            memcpy(member, &narrow, sizeof narrow);
        } else {
            memcpy(member, &cases[c].value, sizeof cases[c].value);
        }
        options_refused(&options, cases[c].says);
    }
    attn_cache_options options = pair_options(ATTN_F32, 0, 0);
    options.pages = 3;
    options_refused(&options, "pages is 3, should be 0|page_keys is 0");
}

/* Sizes that no number holds, each product of them on its own. */
static void caches_too_large(void **state) {
    (void)state;
    attn_cache_options options = pair_options(ATTN_F32, 0, 0);
    options.capacity = INT64_C(1) << 53;
    options.sequences = 9;
    options_refused(&options, "too large|9 pages|9007199254740992 keys|2 layers");
    options.kv_heads = INT32_MAX;
    options_refused(&options, "too large");
    options = pair_options(ATTN_I8, 0, 0);
    options.capacity = INT64_C(1) << 30;
    options.layers = options.kv_heads = INT32_MAX;
    options_refused(&options, "too large");
    options = pair_options(ATTN_I8, 1, 0);
    options.capacity = INT64_C(1) << 50;
    options.sequences = INT32_MAX;
    options_refused(&options, "too large");
}

static void bad_creations(void **state) {
    (void)state;
    attn_cache_options options = pair_options(ATTN_F32, 0, 0);
    attn_append_args args;
    attn_cache *cache = nothing;
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    expect_refusal(attn_cache_create(NULL, context, &options), ATTN_ERR_INVALID,
                   "cache|NULL");
    expect_refusal(attn_cache_create(&cache, NULL, &options), ATTN_ERR_INVALID,
                   "context is NULL");
    assert_null(cache);
    expect_refusal(attn_cache_create(&cache, context, NULL), ATTN_ERR_INVALID,
                   "options|NULL");
    options.size = 7;
    expect_refusal(attn_cache_create(&cache, context, &options), ATTN_ERR_INVALID,
                   "options|7 bytes");
    struct {
        attn_cache_options options;
        int64_t more;
    } newer = {.options = pair_options(ATTN_F32, 0, 0), .more = 1};
    newer.options.size = sizeof newer;
    expect_refusal(attn_cache_create(&cache, context, &newer.options),
                   ATTN_ERR_UNSUPPORTED, "options|nonzero");
    newer.more = 0;
    assert_int_equal(attn_cache_create(&cache, context, &newer.options), ATTN_OK);
    attn_cache_destroy(cache);
    expect_refusal(attn_context_set_threads(context, 1), ATTN_ERR_INVALID, "context");
    attn_context_destroy(context);
    expect_refusal(attn_cache_options_init(NULL, 16), ATTN_ERR_INVALID, "NULL");
    expect_refusal(attn_cache_options_init(&options, 12), ATTN_ERR_INVALID, "12");
    expect_refusal(attn_append_args_init(NULL, 16), ATTN_ERR_INVALID, "NULL");
    expect_refusal(attn_append_args_init(&args, 4), ATTN_ERR_INVALID, "4");
}

/* An older program's options end earlier; the rest is not written. */
static void old_options(void **state) {
    (void)state;
    attn_cache_options options;
    memset(&options, 0x55, sizeof options);
    assert_int_equal(attn_cache_options_init(&options, 16), ATTN_OK);
    assert_int_equal(options.size, 16);
    assert_int_equal(options.layers, 1);
    assert_int_equal(options.kv_heads, 0);
    assert_int_equal(options.key_dim, 0x55555555);
    assert_int_equal(attn_cache_options_init(&options, sizeof options), ATTN_OK);
    assert_int_equal(options.layers, 1);
    assert_int_equal(options.dtype, ATTN_F32);
    assert_int_equal(options.pages, 0);
}

/* Every allocation of a creation fails in turn. */
static void no_memory(void **state) {
    (void)state;
    const attn_cache_options options = pair_options(ATTN_I8, 1, 3);
    struct counting counting = {0};
    int refusals = 0;
    attn_status status = ATTN_ERR_NO_MEMORY;
    for (long n = 1; status != ATTN_OK; n++) {
        attn_context *context = NULL;
        attn_cache *cache = nothing;
        assert_int_equal(attn_context_create(&context), ATTN_OK);
        attn_context_set_allocator(context, counting_allocate, counting_release,
                                   &counting);
        counting.fail_at = counting.calls + n;
        status = attn_cache_create(&cache, context, &options);
        if (status != ATTN_OK) {
            expect_refusal(status, ATTN_ERR_NO_MEMORY, "no memory|cache");
            assert_null(cache);
            assert_int_equal(counting.live, 0);
            assert_int_equal(attn_context_set_threads(context, 1), ATTN_OK);
            refusals++;
        }
        attn_cache_destroy(cache);
        attn_context_destroy(context);
        assert_true(n < 20);
    }
    assert_true(refusals >= 2);
    assert_int_equal(counting.live, 0);
    assert_int_equal(counting.violations, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_options),   cmocka_unit_test(caches_too_large),
        cmocka_unit_test(bad_creations), cmocka_unit_test(old_options),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
