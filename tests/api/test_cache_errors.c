/*
 * What a cache refuses: one thing wrong at a time, the status, the words and numbers of
 * the message, and that nothing has changed.
 */
#include <stdio.h>
#include <string.h>

#include "tests/support/cache_pair.h"
#include "tests/support/element.h"
#include "tests/support/expect.h"

static struct counting counting;
static struct random generator;
static struct pair pair;
static attn_append_args args;
static attn_tensor key, value, sequences, lengths, starts;
static float numbers[1000];
static int64_t of_sequences[2], of_lengths[2], of_starts[3];

/* A cache with some keys, and a call that would append to sequences 2 and 0. */
static void open_all(const attn_cache_options *options) {
    pair = pair_open(options, &counting);
    cache_fill(pair.cache, &pair.model, -1, 2, 3, &generator);
    cache_fill(pair.cache, &pair.model, -1, 1, 5, &generator);
    of_sequences[0] = 2;
    of_sequences[1] = 0;
    of_lengths[0] = 4;
    of_lengths[1] = 1;
    of_starts[0] = 0;
    of_starts[1] = 1;
    of_starts[2] = 4;
    attn_tensor_init(&key, ATTN_F32, 4, (int64_t[]){2, 2, 4, 3}, numbers);
    attn_tensor_init(&value, ATTN_F32, 4, (int64_t[]){2, 2, 4, 5}, numbers);
    attn_tensor_init(&sequences, ATTN_I64, 1, (int64_t[]){2}, of_sequences);
    attn_tensor_init(&lengths, ATTN_I64, 1, (int64_t[]){2}, of_lengths);
    attn_tensor_init(&starts, ATTN_I64, 1, (int64_t[]){3}, of_starts);
    attn_append_args_init(&args, sizeof args);
    args.key = &key;
    args.value = &value;
    args.layer = 1;
    args.sequences = &sequences;
    args.lengths = &lengths;
}

static int setup(void **state) {
    (void)state;
    const attn_cache_options options = pair_options(ATTN_F32, 0, 0);
    counting = (struct counting){0};
    generator = random_stream(1, 79);
    open_all(&options);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    pair_close(&pair);
    assert_int_equal(counting.live, 0);
    return 0;
}

static void refused(attn_status status, const char *says) {
    expect_refusal(attn_cache_append(pair.cache, &args), status, says);
    pair_check(&pair);
}

static void the_call_is_good(void **state) {
    (void)state;
    expect_mark();
    assert_int_equal(attn_cache_append(pair.cache, &args), ATTN_OK);
    expect_marked();
    assert_int_equal(attn_cache_length(pair.cache, 1, 2), 7);
    assert_int_equal(attn_cache_length(pair.cache, 1, 0), 1);
    assert_int_equal(attn_cache_length(pair.cache, 0, 0), 0);
}

static void facts(void **state) {
    (void)state;
    expect_refusal(attn_cache_append(NULL, &args), ATTN_ERR_INVALID, "cache|NULL");
    expect_refusal(attn_cache_append(pair.cache, NULL), ATTN_ERR_INVALID, "args|NULL");
    const attn_append_args good = args;
    args.layer = 2;
    refused(ATTN_ERR_INVALID, "layer is 2|2 layers");
    args.layer = -1;
    refused(ATTN_ERR_INVALID, "layer is -1|2 layers");
    args = good;
    args.reserved = 1;
    refused(ATTN_ERR_UNSUPPORTED, "reserved|1");
    args = good;
    args.key = NULL;
    refused(ATTN_ERR_INVALID, "key is missing");
    args = good;
    args.value = NULL;
    refused(ATTN_ERR_INVALID, "value is missing");
    args = good;
    args.starts = &starts;
    refused(ATTN_ERR_INVALID, "lengths and starts");
    args = good;
    args.size = 12;
    refused(ATTN_ERR_INVALID, "args|12");
    /* what an old struct does not have is not there */
    args = good;
    args.size = offsetof(attn_append_args, value);
    refused(ATTN_ERR_INVALID, "value is missing");
}

struct member {
    const char *name;
    const attn_tensor **tensor;
    attn_tensor *good;
};

static const struct member members[] = {{"key", &args.key, &key},
                                        {"value", &args.value, &value},
                                        {"sequences", &args.sequences, &sequences},
                                        {"lengths", &args.lengths, &lengths},
                                        {"starts", &args.starts, &starts}};

/* Breaks a tensor in ways that attn/common.h forbids. */
static void break_tensor(const struct member *member) {
    const attn_tensor good = *member->good;
    const int last = good.rank - 1, numbers_of = good.dtype == ATTN_F32;
    const int32_t ranks[] = {0, -1, good.rank + 1, 7};
    char says[64];
    attn_tensor *t = member->good;
    for (size_t r = 0; r < COUNT_OF(ranks); r++) {
        t->rank = ranks[r];
        snprintf(says, sizeof says, "%s has rank %d, should be %d", member->name,
                 (int)ranks[r], (int)good.rank);
        refused(ATTN_ERR_INVALID, says);
    }
    *t = good;
    static const int32_t types[] = {0, 99, ATTN_BOOL, ATTN_I8};
    for (size_t d = 0; d < COUNT_OF(types) + 1; d++) {
        t->dtype = d < COUNT_OF(types) ? types[d] : numbers_of ? ATTN_I32 : ATTN_F32;
        snprintf(says, sizeof says, "%s has dtype", member->name);
        refused(ATTN_ERR_INVALID, says);
    }
    *t = good;
    t->reserved[0] = 3;
    snprintf(says, sizeof says, "%s|reserved|3", member->name);
    refused(ATTN_ERR_UNSUPPORTED, says);
    *t = good;
    t->data = NULL;
    snprintf(says, sizeof says, "%s has elements but data is NULL", member->name);
    refused(ATTN_ERR_INVALID, says);
    t->data = (char *)good.data + 1;
    snprintf(says, sizeof says, "%s|aligned", member->name);
    refused(ATTN_ERR_INVALID, says);
    *t = good;
    t->stride[last] = 2;
    snprintf(says, sizeof says, "%s has last stride 2", member->name);
    refused(ATTN_ERR_INVALID, says);
    t->stride[last] = -1;
    snprintf(says, sizeof says, "%s has stride -1", member->name);
    refused(ATTN_ERR_INVALID, says);
    *t = good;
    for (int d = 0; d < good.rank; d++) {
        /* the batch of key and its rows are what others are compared with */
        if (t == &key && d == 0) {
            t->shape[d] = 1;
            refused(ATTN_ERR_INVALID, "value has size 2 in dimension 0, should be 1");
        } else if (t == &key && d == 2) {
            t->shape[d] = 3;
            refused(ATTN_ERR_INVALID, "value has size 4 in dimension 2, should be 3");
        } else if (t == &starts) {
            t->shape[d] = 2;
            refused(ATTN_ERR_INVALID, "sequences has size 2|should be 1");
        } else {
            t->shape[d]++;
            snprintf(says, sizeof says, "%s has size %d in dimension %d, should be %d",
                     member->name, (int)good.shape[d] + 1, d, (int)good.shape[d]);
            refused(ATTN_ERR_INVALID, says);
        }
        *t = good;
    }
}

static void bad_tensors(void **state) {
    (void)state;
    for (size_t m = 0; m < COUNT_OF(members) - 1; m++) {
        break_tensor(&members[m]);
    }
    args.lengths = NULL;
    args.starts = &starts;
    key.shape[0] = value.shape[0] = 1;
    break_tensor(&members[4]);
    key.shape[0] = 2;
    refused(ATTN_ERR_INVALID, "key has size 2 in dimension 0, should be 1|starts");
    key.shape[0] = 1;
    starts.shape[0] = 0;
    refused(ATTN_ERR_INVALID, "starts is empty");
    starts.shape[0] = -4;
    refused(ATTN_ERR_INVALID, "starts is empty");
    starts.shape[0] = 5;
    refused(ATTN_ERR_INVALID, "4 sequences|cache has 3");
    args.starts = NULL;
    key.shape[0] = value.shape[0] = 4;
    args.sequences = NULL;
    refused(ATTN_ERR_INVALID, "4 sequences|cache has 3");
    key.shape[0] = value.shape[0] = -1;
    refused(ATTN_ERR_INVALID, "key has size -1");
}

/* A number of a tensor of integers. */
static void integer_refused(const attn_tensor *tensor, int64_t i, int64_t wrong,
                            const char *says) {
    const int64_t good = element_int(tensor, 0, i);
    element_set_int(tensor, 0, i, wrong);
    refused(ATTN_ERR_INVALID, says);
    element_set_int(tensor, 0, i, good);
}

static void bad_integers(void **state) {
    (void)state;
    integer_refused(&sequences, 0, 3, "sequences[0] is 3|3 sequences");
    integer_refused(&sequences, 1, -1, "sequences[1] is -1|3 sequences");
    integer_refused(&sequences, 1, INT64_MIN, "sequences[1] is -9223372036854775808");
    integer_refused(&sequences, 1, 2, "sequences[0] and sequences[1] are both 2");
    integer_refused(&lengths, 0, 5, "lengths[0] is 5|0 to 4");
    integer_refused(&lengths, 1, -1, "lengths[1] is -1|0 to 4");
    args.lengths = NULL;
    args.starts = &starts;
    key.shape[0] = value.shape[0] = 1;
    integer_refused(&starts, 0, -1, "starts[0] is -1|0 to 4");
    integer_refused(&starts, 0, 2, "starts[1] is 1|2 to 4");
    integer_refused(&starts, 1, 5, "starts[1] is 5|0 to 4");
    integer_refused(&starts, 2, 5, "starts[2] is 5|1 to 4");
    integer_refused(&starts, 2, 0, "starts[2] is 0|1 to 4");
    /* marks of the refused call are gone */
    assert_int_equal(attn_cache_append(pair.cache, &args), ATTN_OK);
}

/* One key too many, whichever sequence it is; all that was there stays. */
static void beyond_the_capacity(void **state) {
    (void)state;
    cache_fill(pair.cache, &pair.model, 1, 2, 4, &generator);
    refused(ATTN_ERR_INVALID,
            "sequence 2 keeps 7 keys of layer 1|4 more|capacity of 10");
    of_lengths[0] = 3;
    assert_int_equal(attn_cache_append(pair.cache, &args), ATTN_OK);
    of_lengths[0] = 1;
    expect_refusal(attn_cache_append(pair.cache, &args), ATTN_ERR_INVALID,
                   "sequence 2 keeps 10|1 more|10");
    assert_int_equal(attn_cache_length(pair.cache, 1, 0), 1);
    /* what is forgotten makes room, and the other layer has some anyway */
    args.layer = 0;
    assert_int_equal(attn_cache_append(pair.cache, &args), ATTN_OK);
    args.layer = 1;
    assert_int_equal(attn_cache_evict(pair.cache, 2, 1), ATTN_OK);
    assert_int_equal(attn_cache_append(pair.cache, &args), ATTN_OK);
    assert_int_equal(attn_cache_length(pair.cache, 1, 2), 11);
}

/* 12 pages of 2 keys: 2 and 3 are taken, and 5 more by sequence 0 and 1. */
static void not_enough_pages(void **state) {
    (void)state;
    pair_close(&pair);
    attn_cache_options options = pair_options(ATTN_F16, 0, 2);
    options.pages = 6;
    open_all(&options);
    assert_int_equal(attn_cache_free_pages(pair.cache), 1);
    /* sequence 2 has 3 keys and gets 4: 2 more pages; sequence 0 one */
    refused(ATTN_ERR_INVALID, "3 more pages|1 of|6 are free");
    of_lengths[0] = 1;
    assert_int_equal(attn_cache_append(pair.cache, &args), ATTN_OK);
    assert_int_equal(attn_cache_free_pages(pair.cache), 0);
    of_lengths[1] = 0;
    expect_refusal(attn_cache_append(pair.cache, &args), ATTN_ERR_INVALID,
                   "1 more pages|0 of|6 are free");
    /* the other layer finds the page there */
    args.layer = 0;
    assert_int_equal(attn_cache_append(pair.cache, &args), ATTN_OK);
}

static void other_calls(void **state) {
    (void)state;
    attn_cache *cache = pair.cache;
    cache_fill(cache, &pair.model, 0, 1, 2, &generator); /* 7 and 5 */
    assert_int_equal(attn_cache_evict(cache, 2, 2), ATTN_OK);
    model_keep(&pair.model, 0, 2, 2, 3);
    model_keep(&pair.model, 1, 2, 2, 3);
    static const struct {
        int64_t sequence, number;
        const char *says;
    } truncates[] = {{3, 0, "sequence is 3|3 sequences"},
                     {-1, 0, "sequence is -1|3 sequences"},
                     {1, -1, "length is -1|0 to 7|sequence 1"},
                     {1, 8, "length is 8|0 to 7|sequence 1"},
                     {0, 1, "length is 1|0 to 0|sequence 0"},
                     {2, 1, "length is 1|layer 0|sequence 2|is 2"}},
      evicts[] = {{3, 0, "sequence is 3|3 sequences"},
                  {-1, 0, "sequence is -1|3 sequences"},
                  {1, -1, "first is -1|0 to 7|layer 0"},
                  {1, 6, "first is 6|0 to 5|layer 1|sequence 1"},
                  {0, 1, "first is 1|0 to 0|layer 0|sequence 0"}};
    for (size_t c = 0; c < COUNT_OF(truncates); c++) {
        expect_refusal(
            attn_cache_truncate(cache, truncates[c].sequence, truncates[c].number),
            ATTN_ERR_INVALID, truncates[c].says);
    }
    for (size_t c = 0; c < COUNT_OF(evicts); c++) {
        expect_refusal(attn_cache_evict(cache, evicts[c].sequence, evicts[c].number),
                       ATTN_ERR_INVALID, evicts[c].says);
    }
    expect_refusal(attn_cache_fork(cache, 3, 0), ATTN_ERR_INVALID,
                   "from is 3|3 sequences");
    expect_refusal(attn_cache_fork(cache, 0, -1), ATTN_ERR_INVALID,
                   "to is -1|3 sequences");
    expect_refusal(attn_cache_truncate(NULL, 0, 0), ATTN_ERR_INVALID, "cache|NULL");
    expect_refusal(attn_cache_evict(NULL, 0, 0), ATTN_ERR_INVALID, "cache|NULL");
    expect_refusal(attn_cache_fork(NULL, 0, 0), ATTN_ERR_INVALID, "cache|NULL");
    pair_check(&pair);
}

static void bad_parents(void **state) {
    (void)state;
    int64_t of[3] = {0, 0, 1};
    attn_tensor parents;
    attn_tensor_init(&parents, ATTN_I64, 1, (int64_t[]){3}, of);
    expect_refusal(attn_cache_reorder(NULL, &parents), ATTN_ERR_INVALID, "cache|NULL");
    expect_refusal(attn_cache_reorder(pair.cache, NULL), ATTN_ERR_INVALID,
                   "parents|NULL");
    of[1] = 3;
    expect_refusal(attn_cache_reorder(pair.cache, &parents), ATTN_ERR_INVALID,
                   "parents[1] is 3|3 sequences");
    of[1] = 0;
    of[2] = -1;
    expect_refusal(attn_cache_reorder(pair.cache, &parents), ATTN_ERR_INVALID,
                   "parents[2] is -1|3 sequences");
    of[2] = 1;
    parents.shape[0] = 2;
    expect_refusal(attn_cache_reorder(pair.cache, &parents), ATTN_ERR_INVALID,
                   "parents has size 2|should be 3|sequences of the cache");
    parents.rank = 2;
    expect_refusal(attn_cache_reorder(pair.cache, &parents), ATTN_ERR_INVALID,
                   "parents has rank 2, should be 1");
    attn_tensor_init(&parents, ATTN_F32, 1, (int64_t[]){3}, of);
    expect_refusal(attn_cache_reorder(pair.cache, &parents), ATTN_ERR_INVALID,
                   "parents has dtype f32|i32 or i64");
    pair_check(&pair);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_call_is_good),    TEST(facts),
        TEST(bad_tensors),         TEST(bad_integers),
        TEST(beyond_the_capacity), TEST(not_enough_pages),
        TEST(other_calls),         TEST(bad_parents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
