/*
 * The steps of attention on one tile.
 */
#include "core/work.h"

#include <string.h>

#include "base/arith.h"
#include "core/product.h"

void attn_work_setup(struct work *work, const struct toolbox *tools, void *memory,
                     atomic_bool *stop) {
    *work = (struct work){.tools = tools, .memory = memory, .stop = stop};
    work->panel = (struct panel){
        .kernels = tools->kernels,
        .slots = tools->panel_slots,
        .tile_k = tools->recipe.tile_k,
        .keys = work_floats(work, REGION_PANEL_KEYS),
        .values = work_floats(work, REGION_PANEL_VALUES),
        .slot = layout_at(&tools->layout, memory, REGION_PANEL_SLOTS),
        .length = -1,
    };
}

bool attn_work_stopped(struct work *work, const struct call *call) {
    if (call->should_stop == NULL) {
        return false;
    }
    if (!atomic_load_explicit(work->stop, memory_order_relaxed) &&
        call->should_stop(call->should_stop_user) != 0) {
        atomic_store_explicit(work->stop, true, memory_order_relaxed);
    }
    return atomic_load_explicit(work->stop, memory_order_relaxed);
}

struct matrix attn_query_tile(const struct work *work, const struct head *head,
                              int64_t row, int rows) {
    const int64_t dim = head->problem->key_dim;
    const float *query = head->query + row * head->query_stride;
    if (head->query_stride == dim) {
        return (struct matrix){query, dim};
    }
    float *copy = work_floats(work, REGION_QUERY);
    for (int i = 0; i < rows; i++) {
        memcpy(copy + i * dim, query + i * head->query_stride,
               (size_t)dim * sizeof *copy);
    }
    return (struct matrix){copy, dim};
}

void attn_scores_product(struct work *work, const struct head *head,
                         const struct tile *tile, struct matrix query, float *scores,
                         int64_t ld) {
    const struct toolbox *tools = work->tools;
    const int tile_k = tools->recipe.tile_k;
    const float *keys = attn_panel_keys(&work->panel, head, tile->key / tile_k);
    attn_product(tools->kernels, tools->recipe.edge, tile->rows, tile->keys,
                 head->problem->key_dim, head->problem->scale, query.data, query.ld,
                 keys, tile_k, false, scores, ld);
}

enum cover attn_scores_tile(struct work *work, const struct head *head,
                            const struct tile *tile, struct matrix query, float *scores,
                            int64_t ld) {
    const struct toolbox *tools = work->tools;
    unsigned todo;
    enum cover cover =
        attn_masks_cover(&tools->masks, head, tile, tools->kernels, &todo);
    if (cover != COVER_NONE) {
        attn_scores_product(work, head, tile, query, scores, ld);
        attn_terms_apply(&tools->terms, head, tile, tools->kernels, scores, ld);
        attn_masks_apply(&tools->masks, head, tile, tools->kernels, todo, scores, ld);
    }
    return cover;
}

/*
 * A masked weight is 0, and 0 times a value that is not finite is NaN: such values
 * leave the product and are added one by one to the rows that attend them.
 */
static void add_guarded(struct work *work, const struct head *head,
                        const struct tile *tile, const float *weights, int64_t ld,
                        const float *values, float *sums) {
    const struct toolbox *tools = work->tools;
    const int dim = head->problem->value_dim;
    float *finite = work_floats(work, REGION_FINITE_VALUES);
    memcpy(finite, values, (size_t)tile->keys * (size_t)dim * sizeof *finite);
    for (int j = 0; j < tile->keys; j++) {
        const float *value = values + (int64_t)j * dim;
        if (tools->kernels->all_finite(value, dim, 1, dim)) {
            continue;
        }
        memset(finite + (int64_t)j * dim, 0, (size_t)dim * sizeof *finite);
        for (int i = 0; i < tile->rows; i++) {
            if (attn_masks_attend(&tools->masks, head, tile->row + i, tile->key + j)) {
                for (int c = 0; c < dim; c++) {
                    sums[(int64_t)i * dim + c] += weights[i * ld + j] * value[c];
                }
            }
        }
    }
    attn_product(tools->kernels, tools->recipe.edge, tile->rows, dim, tile->keys, 1.0f,
                 weights, ld, finite, dim, true, sums, dim);
}

void attn_values_add(struct work *work, const struct head *head,
                     const struct tile *tile, enum cover cover, const float *weights,
                     int64_t ld, float *sums) {
    const struct toolbox *tools = work->tools;
    const int dim = head->problem->value_dim;
    const int64_t t = tile->key / tools->recipe.tile_k;
    const float *values = attn_panel_values(&work->panel, head, t);
    if (cover == COVER_SOME && !attn_panel_finite(&work->panel, head, t)) {
        add_guarded(work, head, tile, weights, ld, values, sums);
        return;
    }
    attn_product(tools->kernels, tools->recipe.edge, tile->rows, dim, tile->keys, 1.0f,
                 weights, ld, values, dim, true, sums, dim);
}

void attn_tiles_of_rows(const struct work *work, const struct head *head, int64_t row,
                        int rows, int64_t *first, int64_t *end, int64_t *end_key) {
    const int tile_k = work->tools->recipe.tile_k;
    int64_t first_key;
    attn_band_keys(head, row, rows, &first_key, end_key);
    *first = first_key / tile_k;
    *end = first_key < *end_key ? ceil_div(*end_key, tile_k) : *first;
}

struct tile attn_tile_at(const struct work *work, int64_t row, int rows, int64_t t,
                         int64_t end_key) {
    const int tile_k = work->tools->recipe.tile_k;
    const int64_t key = t * tile_k;
    return (struct tile){row, key, rows, (int)min_i64(tile_k, end_key - key)};
}
