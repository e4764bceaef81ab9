/*
 * Long random lives of caches of all kinds and types, beside a model: after every
 * operation all that the cache keeps is read back as attention reads it and compared to
 * the bit. Memory is NaN before it is written, and all pages are free at the end.
 *
 *     test_cache_model             the lives of every run
 *     test_cache_model 1000 50     lives 1000 to 1049
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cache_check.h"
#include "tests/support/cache_keys.h"
#include "tests/support/expect.h"
#include "tests/support/folder.h"

enum { OPERATIONS = 250 };

static uint64_t first_life = 1, lives = 480;

struct life {
    struct random random;
    struct cache_model model;
    struct counting counting;
    attn_cache *cache;
    long refusals, appends, copies;
};

/* Kinds and types take turns; the rest is small and random. */
static attn_cache_options some_options(uint64_t number, struct random *random) {
    static const int32_t types[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_I8};
    attn_cache_options options;
    attn_cache_options_init(&options, sizeof options);
    options.layers = (int32_t)random_between(random, 1, 3);
    options.kv_heads = (int32_t)random_between(random, 1, 3);
    options.key_dim = (int32_t)random_between(random, 1, 9);
    options.value_dim = (int32_t)random_between(random, 1, 20);
    options.dtype = types[number / 4 % 4];
    options.ring = number % 2 == 1;
    options.sequences = random_between(random, 1, 6);
    options.capacity = random_between(random, 1, 24);
    if (number / 2 % 2 == 1) {
        options.page_keys = random_between(random, 1, options.capacity);
        const int64_t most =
            options.sequences * (options.capacity / options.page_keys + 1);
        options.pages = random_between(random, 1, most);
    }
    return options;
}

/* Different sequences in random order. */
static int64_t some_sequences(struct life *life, int64_t sequence[KEYS_BATCH]) {
    const int64_t all = life->model.options.sequences;
    const int in_order = random_percent(&life->random, 30);
    const int64_t batch = random_between(&life->random, 0, all);
    for (int64_t i = 0; i < all; i++) {
        sequence[i] = i;
        const int64_t at = in_order ? i : random_between(&life->random, 0, i);
        sequence[i] = sequence[at];
        sequence[at] = i;
    }
    return batch;
}

/* What the append should be: it may be beyond a capacity, or take too many pages. The
 * model has the pages then that it should have. */
static const char *refusal_of(struct life *life, const struct cache_keys *keys) {
    struct cache_model *model = &life->model;
    const int64_t entries = model->options.sequences * model->slots;
    const size_t bytes = (size_t)entries * sizeof *model->page;
    for (int64_t b = 0; b < keys->batch; b++) {
        const struct model_rows *rows =
            model_rows(model, keys->args.layer, keys->sequence[b]);
        if (!model->options.ring &&
            rows->length - rows->first + keys->count[b] > model->options.capacity) {
            return "capacity";
        }
    }
    int64_t *before = malloc(bytes);
    assert_non_null(before);
    memcpy(before, model->page, bytes);
    for (int64_t b = 0; b < keys->batch; b++) {
        model_touch(model, keys->args.layer, keys->sequence[b], keys->count[b]);
    }
    const int fits = model_free_pages(model) >= 0;
    if (!fits) {
        memcpy(model->page, before, bytes);
    }
    free(before);
    return fits ? NULL : "pages";
}

static void append(struct life *life, int32_t layer, int64_t batch,
                   const int64_t *sequence, const int64_t *count) {
    struct cache_keys keys;
    const long allocations = life->counting.calls;
    keys_open(&keys, &life->model, layer, batch, sequence, count, &life->random);
    const char *refusal = refusal_of(life, &keys);
    const attn_status status = attn_cache_append(life->cache, &keys.args);
    if (refusal != NULL) {
        expect_refusal(status, ATTN_ERR_INVALID, refusal);
        life->refusals++;
    } else {
        if (status != ATTN_OK) {
            print_error("%s\n", attn_last_error());
        }
        assert_int_equal(status, ATTN_OK);
        for (int64_t b = 0; b < batch; b++) {
            model_append(&life->model, layer, sequence[b], keys.stored[b],
                         keys.count[b]);
        }
        life->appends++;
    }
    assert_int_equal(life->counting.calls, allocations);
    keys_close(&keys);
}

/* To one layer, or as a step to all of them. */
static void append_some(struct life *life) {
    struct random *random = &life->random;
    const attn_cache_options *o = &life->model.options;
    int64_t sequence[KEYS_BATCH] = {0}, count[KEYS_BATCH] = {0};
    const int64_t batch = some_sequences(life, sequence);
    const int64_t most = random_percent(random, 70)   ? 2
                         : random_percent(random, 70) ? o->capacity / 2 + 1
                                                      : 2 * o->capacity;
    const int same = random_percent(random, 50), step = random_percent(random, 70);
    const int32_t one = (int32_t)random_between(random, 0, o->layers - 1);
    for (int64_t b = 0; b < batch; b++) {
        count[b] = same && b > 0 ? count[0] : random_between(random, 0, most);
    }
    for (int32_t l = 0; l < o->layers; l++) {
        if (step || l == one) {
            append(life, l, batch, sequence, count);
        }
    }
}

static int64_t some_sequence(struct life *life) {
    return random_between(&life->random, 0, life->model.options.sequences - 1);
}

/* The longest length, the shortest, and the largest first of the layers. */
struct lengths {
    int64_t longest, shortest, first;
};

static struct lengths lengths_of(const struct cache_model *model, int64_t sequence) {
    struct lengths lengths = {0, INT64_MAX, 0};
    for (int64_t l = 0; l < model->options.layers; l++) {
        const struct model_rows *rows = model_rows(model, l, sequence);
        lengths.longest =
            rows->length > lengths.longest ? rows->length : lengths.longest;
        lengths.shortest =
            rows->length < lengths.shortest ? rows->length : lengths.shortest;
        lengths.first = rows->first > lengths.first ? rows->first : lengths.first;
    }
    return lengths;
}

static void truncate_to(struct life *life, int64_t sequence, int64_t length) {
    const struct lengths lengths = lengths_of(&life->model, sequence);
    const attn_status status = attn_cache_truncate(life->cache, sequence, length);
    if (length < 0 || length > lengths.longest ||
        (length > 0 && length < lengths.first)) {
        expect_refusal(status, ATTN_ERR_INVALID, "length");
        life->refusals++;
        return;
    }
    assert_int_equal(status, ATTN_OK);
    for (int64_t l = 0; l < life->model.options.layers; l++) {
        const struct model_rows *rows = model_rows(&life->model, l, sequence);
        model_keep(&life->model, l, sequence, length == 0 ? 0 : rows->first,
                   length < rows->length ? length : rows->length);
    }
    model_trim(&life->model, sequence);
}

static void truncate_some(struct life *life) {
    const int64_t sequence = some_sequence(life);
    const struct lengths lengths = lengths_of(&life->model, sequence);
    const int64_t least = random_percent(&life->random, 50) ? lengths.first : -1;
    truncate_to(life, sequence,
                random_percent(&life->random, 10)
                    ? 0
                    : random_between(&life->random, least, lengths.longest + 1));
}

static void evict_some(struct life *life) {
    const int64_t sequence = some_sequence(life);
    const struct lengths lengths = lengths_of(&life->model, sequence);
    const int64_t first = random_between(&life->random, -1, lengths.shortest + 1);
    const attn_status status = attn_cache_evict(life->cache, sequence, first);
    if (first < 0 || first > lengths.shortest) {
        expect_refusal(status, ATTN_ERR_INVALID, "first");
        life->refusals++;
        return;
    }
    assert_int_equal(status, ATTN_OK);
    for (int64_t l = 0; l < life->model.options.layers; l++) {
        const struct model_rows *rows = model_rows(&life->model, l, sequence);
        model_keep(&life->model, l, sequence, first > rows->first ? first : rows->first,
                   rows->length);
    }
    model_trim(&life->model, sequence);
}

static void fork_some(struct life *life) {
    const int64_t from = some_sequence(life), to = some_sequence(life);
    assert_int_equal(attn_cache_fork(life->cache, from, to), ATTN_OK);
    model_fork(&life->model, from, to);
    life->copies++;
}

/* By way of a second model, which has the sequences as they were. */
static void reorder_some(struct life *life) {
    const int64_t all = life->model.options.sequences;
    struct cache_model *model = &life->model, old;
    int64_t parents[KEYS_BATCH];
    attn_tensor tensor;
    const int permutation = random_percent(&life->random, 50);
    if (permutation) {
        (void)some_sequences(life, parents);
    }
    for (int64_t s = 0; s < all; s++) {
        parents[s] = permutation ? parents[s] : some_sequence(life);
    }
    attn_tensor_init(&tensor, ATTN_I64, 1, &all, parents);
    assert_int_equal(attn_cache_reorder(life->cache, &tensor), ATTN_OK);
    attn_cache_options twice = model->options;
    twice.sequences = 2 * all;
    model_open(&old, &twice);
    for (int64_t s = 0; s < all; s++) {
        for (int64_t l = 0; l < twice.layers; l++) {
            *model_rows(&old, l, s) = *model_rows(model, l, s);
        }
        memcpy(&old.page[s * old.slots], &model->page[s * old.slots],
               (size_t)old.slots * sizeof *old.page);
    }
    for (int64_t s = 0; s < all; s++) {
        model_fork(&old, parents[s], all + s);
    }
    for (int64_t s = 0; s < all; s++) {
        for (int64_t l = 0; l < twice.layers; l++) {
            *model_rows(model, l, s) = *model_rows(&old, l, all + s);
            *model_rows(&old, l, all + s) = (struct model_rows){0};
        }
        memcpy(&model->page[s * old.slots], &old.page[(all + s) * old.slots],
               (size_t)old.slots * sizeof *old.page);
    }
    model_close(&old);
    life->copies++;
}

/* Saves a sequence, and makes another what was saved if there is room. */
static void save_some(struct life *life) {
    const int64_t from = some_sequence(life), to = some_sequence(life);
    struct cache_model *model = &life->model;
    const struct lengths lengths = lengths_of(model, from);
    char path[FOLDER_PATH];
    folder_path(path, "sequence");
    attn_status status = attn_cache_save(life->cache, from, path);
    if (lengths.longest != lengths.shortest) {
        expect_refusal(status, ATTN_ERR_INVALID, "layer");
        life->refusals++;
        return;
    }
    assert_int_equal(status, ATTN_OK);
    struct model_rows saved[KEYS_BATCH];
    for (int64_t l = 0; l < model->options.layers; l++) {
        saved[l] = model_copy(model, model_rows(model, l, from));
    }
    truncate_to(life, to, 0);
    for (int64_t l = 0; l < model->options.layers; l++) {
        free(model_rows(model, l, to)->data);
        *model_rows(model, l, to) = saved[l];
    }
    model_place(model, to);
    status = attn_cache_load(life->cache, to, path);
    if (model_free_pages(model) >= 0) {
        assert_int_equal(status, ATTN_OK);
        life->copies++;
        return;
    }
    expect_refusal(status, ATTN_ERR_INVALID, "pages");
    life->refusals++;
    for (int64_t l = 0; l < model->options.layers; l++) {
        model_keep(model, l, to, 0, 0);
    }
    model_trim(model, to);
}

static void live(struct life *life) {
    const int chance = (int)random_between(&life->random, 0, 99);
    if (chance < 60) {
        append_some(life);
    } else if (chance < 72) {
        truncate_some(life);
    } else if (chance < 84) {
        evict_some(life);
    } else if (chance < 93) {
        fork_some(life);
    } else if (chance < 98) {
        reorder_some(life);
    } else {
        save_some(life);
    }
}

static void open_life(struct life *life, uint64_t number) {
    *life = (struct life){.random = random_stream(number, 11)};
    const attn_cache_options options = some_options(number, &life->random);
    model_open(&life->model, &options);
    life->cache = cache_make(&options, &life->counting);
}

static void close_life(struct life *life) {
    for (int64_t s = 0; s < life->model.options.sequences; s++) {
        truncate_to(life, s, 0);
    }
    assert_int_equal(attn_cache_free_pages(life->cache), life->model.pages);
    assert_int_equal(cache_check(life->cache, &life->model, &life->random), 0);
    attn_cache_destroy(life->cache);
    assert_int_equal(life->counting.live, 0);
    assert_int_equal(life->counting.violations, 0);
    model_close(&life->model);
}

static void random_lives(void **state) {
    (void)state;
    long refusals = 0, appends = 0, copies = 0;
    folder_open();
    for (uint64_t n = first_life; n < first_life + lives; n += TEST_SHARE) {
        struct life life;
        open_life(&life, n);
        for (int i = 0; i < OPERATIONS; i++) {
            live(&life);
            if (cache_check(life.cache, &life.model, &life.random) != 0) {
                fail_msg("life %llu, operation %d", (unsigned long long)n, i);
            }
        }
        close_life(&life);
        refusals += life.refusals;
        appends += life.appends;
        copies += life.copies;
    }
    folder_close();
    /* each of them is common enough */
    assert_true(refusals > 0 && appends > refusals && copies > 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_lives)};
    if (argc == 3) {
        first_life = strtoull(argv[1], NULL, 10);
        lives = strtoull(argv[2], NULL, 10);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
