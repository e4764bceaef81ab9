/*
 * Reads a cache as an engine does: a view of a layer, a head of a call, runs of rows.
 */
#include "tests/support/cache_check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cache/cache.h"
#include "core/call.h"

struct place {
    int64_t layer, sequence, head;
    int part;
};

static int differs(const struct place *place, int64_t position, const char *what) {
    print_error("layer %d of sequence %d, head %d, %s %d: %s\n", (int)place->layer,
                (int)place->sequence, (int)place->head,
                place->part == 0 ? "key" : "value", (int)position, what);
    return 1;
}

/* Scales are compared as numbers, since there are many NaN. */
static int same_scale(const unsigned char *expected, float got) {
    float scale;
    memcpy(&scale, expected, sizeof scale);
    return scale == got || (isnan(scale) && isnan(got));
}

const char *stored_element(const struct source *source, const struct run *run,
                           int64_t dim, int64_t c) {
    int64_t at = c;
    if (source->order == ORDER_KEY_BLOCKS) {
        at = c * run->block_rows + run->lane;
    } else if (source->order == ORDER_VALUE_BLOCKS) {
        const int64_t first = c / 32 * 32,
                      columns = dim - first < 32 ? dim - first : 32;
        at = first * run->block_rows + run->lane * columns + c - first;
    }
    return run->data + at * source_bytes(source->dtype);
}

static int same_row(const struct source *source, int64_t row, int64_t dim,
                    const unsigned char *expected, size_t element) {
    const struct run run = attn_source_run(source, row, 1);
    int wrong = 0;
    for (int64_t c = 0; c < dim; c++) {
        wrong += memcmp(stored_element(source, &run, dim, c),
                        expected + (size_t)c * element, element) != 0;
    }
    return wrong == 0;
}

/* Every row lies where a run that starts with it says, and a longer run says nothing
 * else: it is the same block, or blocks that follow it. */
static int check_rows(const struct source *source, const struct cache_model *model,
                      const struct place *place, struct random *random) {
    const struct model_rows *rows = model_rows(model, place->layer, place->sequence);
    const int64_t count = rows->length - rows->first;
    const int64_t dim =
        place->part == 0 ? model->options.key_dim : model->options.value_dim;
    int64_t row = 0;
    while (row < count) {
        const int most = (int)random_between(random, 1, count - row);
        const struct run run = attn_source_run(source, row, most);
        assert_in_range(run.rows, 1, most);
        for (int r = 0; r < run.rows; r++, row++) {
            const unsigned char *expected = rows->data + (size_t)row * model->row;
            const struct run one = attn_source_run(source, row, 1);
            const int64_t block = (run.lane + r) / run.block_rows;
            assert_int_equal(one.lane, (run.lane + r) % run.block_rows);
            assert_ptr_equal(one.data, run.data + block * run.block_rows * dim *
                                                      (int64_t)model->element);
            if (!same_row(source, row, dim,
                          expected + model_at(model, place->part, place->head),
                          model->element)) {
                return differs(place, rows->first + row, "other bits");
            }
            if (source->scales != NULL &&
                !same_scale(expected + model_scale_at(model, place->part, place->head),
                            run.scales[r * source->scale_stride])) {
                return differs(place, rows->first + row, "another scale");
            }
        }
    }
    return 0;
}

/* Keys and values of a layer of a sequence. */
static int check_heads(const struct call *call, const struct cache_model *model,
                       int64_t layer, int64_t sequence, struct random *random) {
    for (int64_t h = 0; h < model->options.kv_heads; h++) {
        struct head head;
        attn_head_bind(&head, call, sequence, h);
        struct place place = {layer, sequence, h, 0};
        const struct model_rows *rows = model_rows(model, layer, sequence);
        if (head.keys != rows->length - rows->first) {
            return differs(&place, head.keys, "keys are kept");
        }
        if (check_rows(&head.key, model, &place, random)) {
            return 1;
        }
        place.part = 1;
        if (check_rows(&head.value, model, &place, random)) {
            return 1;
        }
    }
    return 0;
}

static int check_layer(const attn_cache *cache, const struct cache_model *model,
                       int32_t layer, struct random *random) {
    const attn_cache_options *o = &model->options;
    const struct problem problem = {.query_heads = o->kv_heads,
                                    .kv_heads = o->kv_heads,
                                    .group = 1,
                                    .key_dim = o->key_dim,
                                    .value_dim = o->value_dim};
    struct cached cached;
    assert_int_equal(attn_cache_view(cache, layer, &cached), ATTN_OK);
    const struct call call = {
        .problem = &problem, .batch = o->sequences, .cached = &cached};
    for (int64_t s = 0; s < o->sequences; s++) {
        const struct model_rows *rows = model_rows(model, layer, s);
        const struct place place = {layer, s, 0, 0};
        if (attn_cache_length(cache, layer, s) != rows->length) {
            return differs(&place, attn_cache_length(cache, layer, s), "the length");
        }
        if (attn_cache_first(cache, layer, s) != rows->first ||
            cached.kept[s].position != rows->first) {
            return differs(&place, attn_cache_first(cache, layer, s), "the first");
        }
        if (check_heads(&call, model, layer, s, random)) {
            return 1;
        }
    }
    return 0;
}

int cache_check(const attn_cache *cache, const struct cache_model *model,
                struct random *random) {
    const int64_t free_pages = model_free_pages(model), bytes = model_bytes(model);
    size_t used;
    if (attn_cache_free_pages(cache) != free_pages) {
        print_error("%d pages are free instead of %d\n",
                    (int)attn_cache_free_pages(cache), (int)free_pages);
        return 1;
    }
    if (attn_cache_bytes(cache, &used) != (size_t)bytes ||
        used != (size_t)(bytes / model->pages * (model->pages - free_pages))) {
        print_error("%zu bytes, %zu of them used\n", attn_cache_bytes(cache, NULL),
                    used);
        return 1;
    }
    for (int32_t l = 0; l < model->options.layers; l++) {
        if (check_layer(cache, model, l, random)) {
            return 1;
        }
    }
    return 0;
}
