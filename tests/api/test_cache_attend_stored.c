/*
 * Attention from caches that store 16 bits or bytes: that of the same call from tensors
 * of that type, and by the definition the attention of the numbers as they are stored.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache.h"
#include "core/call.h"
#include "tests/support/cache_attend.h"
#include "tests/support/cache_check.h"
#include "tests/support/cache_keys.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/oracle.h"
#include "tests/support/run.h"
#include "tests/support/stored.h"

/* A tensor in a type, its scales if it is bytes, and the numbers that they make. */
struct stored {
    attn_tensor tensor, scales, floats;
};

/* Contiguous, of the same shape; what nobody fills in is NaN, or bytes without scale.
 */
static void open_stored(struct stored *stored, const attn_tensor *like, int32_t dtype) {
    attn_tensor_init(&stored->tensor, dtype, 4, like->shape, NULL);
    attn_tensor_init(&stored->scales, ATTN_F32, 3, like->shape, NULL);
    attn_tensor_init(&stored->floats, ATTN_F32, 4, like->shape, NULL);
    attn_tensor *const of[] = {&stored->tensor, &stored->scales, &stored->floats};
    for (size_t t = 0; t < COUNT_OF(of); t++) {
        const size_t bytes = (size_t)element_count(of[t]) * 4;
        of[t]->data = malloc(bytes + 1);
        assert_non_null(of[t]->data);
        memset(of[t]->data, 0xff, bytes);
    }
}

static void close_stored(struct stored *stored) {
    free(stored->tensor.data);
    free(stored->scales.data);
    free(stored->floats.data);
}

static float float_of(int32_t dtype, const void *element) {
    uint32_t bits = 0;
    float x;
    memcpy(&bits, element, (size_t)stored_size(dtype));
    bits = stored_widened(dtype, bits);
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Reads a head of batch element b as attention does. */
static void read_rows(struct stored *stored, const struct source *source, int64_t b,
                      int64_t h, int64_t rows) {
    const int64_t dim = stored->tensor.shape[3];
    const size_t bytes = (size_t)stored_size(source->dtype);
    for (int64_t j = 0; j < rows; j++) {
        const struct run run = attn_source_run(source, j, 1);
        const float scale = run.scales != NULL ? *run.scales : 1.0f;
        *(float *)element_at(&stored->scales, 0, b, h, j) = scale;
        for (int64_t c = 0; c < dim; c++) {
            char *to =
                (char *)stored->tensor.data +
                (((b * stored->tensor.shape[1] + h) * stored->tensor.shape[2] + j) *
                     dim +
                 c) *
                    (int64_t)bytes;
            memcpy(to, stored_element(source, &run, dim, c), bytes);
            *(float *)element_at(&stored->floats, b, h, j, c) =
                scale * float_of(source->dtype, to);
        }
    }
}

/* The keys and values that a layer of a cache has for a problem. */
static void read_back(struct stored *key, struct stored *value, const attn_cache *cache,
                      const struct test_inputs *inputs, const attn_tensor *sequences) {
    const struct test_problem *p = &inputs->problem;
    const struct problem problem = {
        .query_heads = p->kv_heads, .kv_heads = p->kv_heads, .group = 1};
    struct cached cached;
    assert_int_equal(attn_cache_view(cache, 1, &cached), ATTN_OK);
    const struct call call = {
        .problem = &problem,
        .batch = p->batch,
        .cached = &cached,
        .sequences = {.data = sequences->data, .wide = true, .stride = {[BATCH] = 1}},
    };
    for (int64_t b = 0; b < p->batch; b++) {
        for (int64_t h = 0; h < p->kv_heads; h++) {
            struct head head;
            attn_head_bind(&head, &call, b, h);
            assert_int_equal(head.keys, oracle_kv_length(inputs, b));
            read_rows(key, &head.key, b, h, head.keys);
            read_rows(value, &head.value, b, h, head.keys);
        }
    }
}

/* Of 16 bits, what is stored is the number given, rounded to nearest even. */
static void check_rounded(const struct stored *stored, const attn_tensor *given,
                          const struct test_inputs *inputs) {
    const int32_t dtype = stored->tensor.dtype;
    for (int64_t n = 0; n < element_count(given) && dtype != ATTN_I8; n++) {
        int64_t at[4];
        uint32_t bits;
        element_index(given, n, at);
        memcpy(&bits, element_nth(given, n), sizeof bits);
        bits = stored_widened(dtype, stored_narrowed(dtype, bits));
        if (at[2] < oracle_kv_length(inputs, at[0])) {
            assert_memory_equal(element_nth(&stored->floats, n), &bits, sizeof bits);
        }
    }
}

static void check_case(const char *text, int32_t dtype, int64_t page_keys,
                       int32_t engine) {
    struct test_problem problem = run_parse(text);
    struct random random = random_stream(problem.seed, 88);
    struct counting counting = {0};
    const attn_cache_options options = attend_options(&problem, dtype, page_keys);
    attn_cache *cache = cache_make(&options, &counting);
    int64_t sequence[8];
    struct test_call plain, cached;
    struct stored key, value;
    problem.engine = engine;
    call_open_on(&plain, NULL, &problem, DATA_RANDOM, ALL_OUTPUTS);
    attend_lengths(&plain.inputs);
    attend_shuffle(sequence, options.sequences, &random);
    attend_fill(cache, 1, sequence, &plain.inputs, &random);
    const attn_tensor sequences = attend_integers(sequence, problem.batch);
    open_stored(&key, &plain.inputs.key, dtype);
    open_stored(&value, &plain.inputs.value, dtype);
    read_back(&key, &value, cache, &plain.inputs, &sequences);
    check_rounded(&key, &plain.inputs.key, &plain.inputs);
    check_rounded(&value, &plain.inputs.value, &plain.inputs);

    plain.args.key = &key.tensor;
    plain.args.value = &value.tensor;
    plain.args.key_scales = dtype == ATTN_I8 ? &key.scales : NULL;
    plain.args.value_scales = dtype == ATTN_I8 ? &value.scales : NULL;
    attend_open(&cached, &plain, cache, 1, &sequences);
    plain.inputs.key = key.floats;
    plain.inputs.value = value.floats;
    attend_need_like(&plain, &cached);
    /* scale times byte is rounded in floats[], which costs less than the bound has for
     * the product with the query */
    assert_int_equal(check_outputs(&plain.inputs, &cached.outputs), 0);

    attend_close(&cached);
    call_close(&plain);
    close_stored(&key);
    close_stored(&value);
    attn_cache_destroy(cache);
    assert_int_equal(counting.live, 0);
}

static void check_type(int32_t dtype) {
    static const char *const texts[] = {
        "b3 h2 q1 k300 d16 kvlens seed=1",
        "b2 h4/1 q3 k400 d24/40 kvlens causal align=br alibi seed=2",
        "b2 h4/2 q9 k129 d64 docs bias window=60,4 align=br seed=3",
        "b2 h2 q70 k190 d33/5 kvlens causal align=br relkeys vbias sinks seed=4",
        "h4/1 q8 k900 d128 softcap=3 dropout=0.2 mask seed=5",
        "b2 h3 q2 k500 d7 kvlens segments ubias relbias=32,128 align=br seed=6"};
    static const int64_t pages[] = {0, 1, 7, 16, 200};
    for (size_t c = 0; c < COUNT_OF(texts) * 8; c += TEST_SHARE) {
        check_case(texts[c / 8], dtype, pages[c % COUNT_OF(pages)], (int32_t)(c % 4));
    }
}

static void halves(void **state) {
    (void)state;
    check_type(ATTN_F16);
}

static void brain_floats(void **state) {
    (void)state;
    check_type(ATTN_BF16);
}

static void bytes(void **state) {
    (void)state;
    check_type(ATTN_I8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves),
        cmocka_unit_test(brain_floats),
        cmocka_unit_test(bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
