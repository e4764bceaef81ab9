/*
 * The simple cache.
 */
#include "tests/support/cache_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/stored.h"

static void *zeros(int64_t count, size_t size) {
    void *memory = calloc((size_t)(count > 0 ? count : 1), size);
    assert_non_null(memory);
    return memory;
}

void model_open(struct cache_model *model, const attn_cache_options *options) {
    const attn_cache_options *o = options;
    *model = (struct cache_model){.options = *o};
    model->page_rows = o->page_keys > 0 ? o->page_keys : o->capacity;
    model->pages = o->page_keys > 0 ? o->pages : o->sequences;
    model->slots = (o->capacity + model->page_rows - 1) / model->page_rows;
    model->element = (size_t)stored_size(o->dtype);
    model->row =
        (size_t)o->kv_heads * (size_t)(o->key_dim + o->value_dim) * model->element;
    if (o->dtype == ATTN_I8) {
        model->row += (size_t)o->kv_heads * 2 * sizeof(float);
    }
    model->rows = zeros(o->layers * o->sequences, sizeof *model->rows);
    model->page = zeros(o->sequences * model->slots, sizeof *model->page);
}

void model_close(struct cache_model *model) {
    for (int64_t i = 0; i < model->options.layers * model->options.sequences; i++) {
        free(model->rows[i].data);
    }
    free(model->rows);
    free(model->page);
}

struct model_rows *model_rows(const struct cache_model *model, int64_t layer,
                              int64_t sequence) {
    return &model->rows[layer * model->options.sequences + sequence];
}

size_t model_at(const struct cache_model *model, int part, int64_t head) {
    const attn_cache_options *o = &model->options;
    const int64_t numbers =
        part == 0 ? head * o->key_dim
                  : (int64_t)o->kv_heads * o->key_dim + head * o->value_dim;
    return (size_t)numbers * model->element;
}

size_t model_scale_at(const struct cache_model *model, int part, int64_t head) {
    return model_at(model, 1, model->options.kv_heads) +
           ((size_t)part * (size_t)model->options.kv_heads + (size_t)head) *
               sizeof(float);
}

static void store_bits(unsigned char *to, uint32_t bits, size_t size) {
    const uint16_t half = (uint16_t)bits;
    const void *from = size == 4 ? (const void *)&bits : &half;
    memcpy(to, from, size);
}

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The largest of n numbers / 127, the bytes that are nearest to x / scale. */
static void store_bytes(const struct cache_model *model, unsigned char *row, int part,
                        int64_t head, int32_t dtype, const uint32_t *bits, int64_t n) {
    signed char *to = (signed char *)row + model_at(model, part, head);
    float largest = 0, scale;
    int finite = 1;
    for (int64_t i = 0; i < n; i++) {
        const float x = float_of(stored_widened(dtype, bits[i]));
        finite = finite && isfinite(x);
        largest = fabsf(x) > largest ? fabsf(x) : largest;
    }
    scale = largest / 127.0f;
    scale = largest > 0 && scale < 0x1p-126f ? 0x1p-126f : scale;
    scale = finite ? scale : NAN;
    for (int64_t i = 0; i < n; i++) {
        const float x = float_of(stored_widened(dtype, bits[i]));
        to[i] = (signed char)(scale > 0 ? nearbyintf(x / scale) : 0);
    }
    memcpy(row + model_scale_at(model, part, head), &scale, sizeof scale);
}

void model_store(const struct cache_model *model, unsigned char *row, int part,
                 int64_t head, int32_t dtype, const uint32_t *bits) {
    const attn_cache_options *o = &model->options;
    const int64_t n = part == 0 ? o->key_dim : o->value_dim;
    if (o->dtype == ATTN_I8) {
        store_bytes(model, row, part, head, dtype, bits, n);
        return;
    }
    unsigned char *to = row + model_at(model, part, head);
    for (int64_t i = 0; i < n; i++) {
        /* what has the right type is not touched, not even NaN */
        const uint32_t stored =
            dtype == o->dtype
                ? bits[i]
                : stored_narrowed(o->dtype, stored_widened(dtype, bits[i]));
        store_bits(to + (size_t)i * model->element, stored, model->element);
    }
}

static int64_t rounded(int64_t bytes) {
    return (bytes + 63) / 64 * 64;
}

int64_t model_bytes(const struct cache_model *model) {
    const attn_cache_options *o = &model->options;
    const int64_t rows = o->kv_heads * model->page_rows;
    const int64_t element = (int64_t)model->element;
    const int64_t layer = rounded(rows * o->key_dim * element) +
                          rounded(rows * o->value_dim * element) +
                          (o->dtype == ATTN_I8 ? 2 * rounded(rows * 4) : 0);
    return layer * o->layers * model->pages;
}

/* How many sequences have a page. */
static int owners(const struct cache_model *model, int64_t page, int64_t before) {
    int count = 0;
    for (int64_t i = 0; i < before; i++) {
        count += model->page[i] == page;
    }
    return count;
}

int64_t model_free_pages(const struct cache_model *model) {
    int64_t used = 0;
    for (int64_t i = 0; i < model->options.sequences * model->slots; i++) {
        used += model->page[i] != 0 && owners(model, model->page[i], i) == 0;
    }
    return model->pages - used;
}

static int64_t *page_of(struct cache_model *model, int64_t sequence, int64_t position) {
    return &model->page[sequence * model->slots +
                        position / model->page_rows % model->slots];
}

void model_touch(struct cache_model *model, int64_t layer, int64_t sequence,
                 int64_t n) {
    const int64_t all = model->options.sequences * model->slots;
    const int64_t end = model_rows(model, layer, sequence)->length + n;
    const int64_t kept = n < model->options.capacity ? n : model->options.capacity;
    for (int64_t position = end - kept; position < end; position++) {
        int64_t *page = page_of(model, sequence, position);
        if (*page == 0 || owners(model, *page, all) > 1) {
            *page = ++model->last_page;
        }
    }
}

void model_append(struct cache_model *model, int64_t layer, int64_t sequence,
                  const unsigned char *rows, int64_t n) {
    struct model_rows *kept = model_rows(model, layer, sequence);
    const size_t old = (size_t)(kept->length - kept->first) * model->row;
    const size_t added = (size_t)n * model->row;
    if (n == 0) {
        return;
    }
    kept->data = realloc(kept->data, old + added);
    assert_non_null(kept->data);
    memcpy(kept->data + old, rows, added);
    kept->length += n;
    if (kept->length - kept->first > model->options.capacity) {
        assert_int_equal(model->options.ring, 1);
        model_keep(model, layer, sequence, kept->length - model->options.capacity,
                   kept->length);
    }
}

void model_keep(struct cache_model *model, int64_t layer, int64_t sequence,
                int64_t first, int64_t length) {
    struct model_rows *kept = model_rows(model, layer, sequence);
    if (first > kept->first && length > first) {
        memmove(kept->data, kept->data + (size_t)(first - kept->first) * model->row,
                (size_t)(length - first) * model->row);
    }
    kept->first = first;
    kept->length = length;
}

void model_trim(struct cache_model *model, int64_t sequence) {
    for (int64_t slot = 0; slot < model->slots; slot++) {
        int64_t *page = &model->page[sequence * model->slots + slot];
        int needed = 0;
        for (int64_t l = 0; l < model->options.layers; l++) {
            const struct model_rows *kept = model_rows(model, l, sequence);
            for (int64_t p = kept->first; p < kept->length; p++) {
                needed = needed || page_of(model, sequence, p) == page;
            }
        }
        *page = needed ? *page : 0;
    }
}

void model_place(struct cache_model *model, int64_t sequence) {
    for (int64_t l = 0; l < model->options.layers; l++) {
        const struct model_rows *kept = model_rows(model, l, sequence);
        for (int64_t p = kept->first; p < kept->length; p++) {
            int64_t *page = page_of(model, sequence, p);
            *page = *page == 0 ? ++model->last_page : *page;
        }
    }
}

struct model_rows model_copy(const struct cache_model *model,
                             const struct model_rows *rows) {
    struct model_rows copy = *rows;
    const size_t bytes = (size_t)(rows->length - rows->first) * model->row;
    copy.data = zeros((int64_t)bytes, 1);
    if (bytes > 0) {
        memcpy(copy.data, rows->data, bytes);
    }
    return copy;
}

void model_fork(struct cache_model *model, int64_t from, int64_t to) {
    for (int64_t l = 0; l < model->options.layers && from != to; l++) {
        struct model_rows *rows = model_rows(model, l, to);
        free(rows->data);
        *rows = model_copy(model, model_rows(model, l, from));
    }
    memmove(&model->page[to * model->slots], &model->page[from * model->slots],
            (size_t)model->slots * sizeof *model->page);
}
