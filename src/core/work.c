/*
 * The steps of attention on one tile.
 */
#include "core/work.h"

#include <limits.h>
#include <string.h>

#include "base/arith.h"
#include "core/additive_tile.h"
#include "core/dropout.h"
#include "core/pieces_tile.h"

void attn_work_setup(struct work *work, const struct toolbox *tools, void *memory,
                     atomic_bool *stop) {
    *work = (struct work){.tools = tools, .memory = memory, .stop = stop};
    work->panel = (struct panel){
        .kernels = tools->kernels,
        .slots = tools->panel_slots,
        .tile_k = tools->recipe.tile_k,
        .columns = tools->recipe.columns,
        .keys = work_floats(work, REGION_PANEL_KEYS),
        .values = work_floats(work, REGION_PANEL_VALUES),
        .plain_keys = work_floats(work, REGION_PANEL_PLAIN_KEYS),
        .turned_values = work_floats(work, REGION_PANEL_TURNED_VALUES),
        .key_blocks = work_floats(work, REGION_PANEL_KEY_BLOCKS),
        .value_blocks = work_floats(work, REGION_PANEL_VALUE_BLOCKS),
        .rows = work_floats(work, REGION_PANEL_ROWS),
        .key_pieces = layout_at(&tools->layout, memory, REGION_PANEL_KEY_PIECES),
        .strip = work_floats(work, REGION_PANEL_STRIP),
        .value_pieces = layout_at(&tools->layout, memory, REGION_PANEL_VALUE_PIECES),
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

/* Rows of dim floats, copied to this region unless contiguous. */
static struct matrix contiguous(const struct work *work, enum region region,
                                const struct source *source, int64_t row, int rows,
                                int dim) {
    const float *floats = attn_source_floats(source, row, rows);
    if (floats != NULL && source->stride == dim) {
        return (struct matrix){.data = floats, .ld = dim};
    }
    float *copy = work_floats(work, region);
    attn_source_read(source, work->tools->kernels, row, rows, dim, copy, dim);
    return (struct matrix){.data = copy, .ld = dim};
}

struct matrix attn_query_tile(const struct work *work, const struct head *head,
                              int64_t row, int rows) {
    const enum stage before = work_turn(work, STAGE_COPIES);
    const struct matrix query = attn_pieces_fit(work->tools, head)
                                    ? attn_pieces_query(work, head, row, rows)
                                    : attn_shifted_query(work, head, REGION_QUERY,
                                                         TABLE_CONTENT_BIAS, row, rows);
    work_turn(work, before);
    return query;
}

static void read_shifted(const struct work *work, const struct head *head,
                         enum table table, int64_t row, int rows, float *to) {
    const struct view *shift = &head->call->tables[table];
    const struct kernels *kernels = work->tools->kernels;
    const int dim = head->problem->key_dim;
    attn_source_read(&head->query, kernels, row, rows, dim, to, dim);
    if (shift->data != NULL) {
        kernels->add_bias(to, dim, rows, dim, view_at(shift, head->b, head->h, 0, 0), 0,
                          1);
    }
}

void attn_query_copy(const struct work *work, const struct head *head, int64_t row,
                     int rows, float *to) {
    const enum stage before = work_turn(work, STAGE_COPIES);
    read_shifted(work, head, TABLE_CONTENT_BIAS, row, rows, to);
    work_turn(work, before);
}

struct matrix attn_shifted_query(const struct work *work, const struct head *head,
                                 enum region region, enum table table, int64_t row,
                                 int rows) {
    const int dim = head->problem->key_dim;
    if (head->call->tables[table].data == NULL) {
        return contiguous(work, region, &head->query, row, rows, dim);
    }
    float *sum = work_floats(work, region);
    read_shifted(work, head, table, row, rows, sum);
    return (struct matrix){.data = sum, .ld = dim};
}

struct matrix attn_grad_out_tile(const struct work *work, const struct head *head,
                                 int64_t row, int rows) {
    const struct source source = {.data = (const char *)head->grad_out,
                                  .dtype = ATTN_F32,
                                  .stride = head->grad_out_stride};
    return contiguous(work, REGION_GRAD_OUT, &source, row, rows,
                      head->problem->value_dim);
}

/* attn_scores_product() from keys as rows, where they lie. */
static void scores_of_rows(struct work *work, const struct head *head,
                           const struct tile *tile, struct matrix query, float *scores,
                           int64_t ld) {
    const struct toolbox *tools = work->tools;
    const int dim = head->problem->key_dim;
    const enum stage before = work_turn(work, STAGE_COPIES);
    const float *keys = attn_source_floats(&head->key, tile->key, tile->keys);
    int64_t ld_keys = head->key.stride;
    /* BLAS wants rows that do not overlap, at a distance that an int holds */
    if (keys == NULL || ld_keys < dim || ld_keys > INT_MAX) {
        keys =
            attn_panel_plain_keys(&work->panel, head, tile->key / tools->recipe.tile_k);
        ld_keys = dim;
    }
    work_turn(work, STAGE_SCORES);
    attn_product_rows(tools->kernels, tools->recipe.cut, tile->rows, tile->keys, dim,
                      head->problem->scale, query.data, query.ld, keys, ld_keys, scores,
                      ld);
    work_turn(work, before);
}

void attn_scores_product(struct work *work, const struct head *head,
                         const struct tile *tile, struct matrix query, float *scores,
                         int64_t ld) {
    const struct toolbox *tools = work->tools;
    const int tile_k = tools->recipe.tile_k;
    if (head->problem->additive) {
        attn_additive_scores(work, head, tile, query, scores, ld);
        return;
    }
    if (work_few(work, head)) {
        attn_few_scores(work, head, tile, tile->rows, query, scores, ld);
        return;
    }
    if (query.pieces.strips.data != NULL) {
        attn_pieces_scores(work, head, tile, &query, scores, ld);
        return;
    }
    if (!tools->recipe.turn_keys && head->key.order != ORDER_KEY_BLOCKS) {
        scores_of_rows(work, head, tile, query, scores, ld);
        return;
    }
    const enum stage before = work_turn(work, STAGE_COPIES);
    const struct factor keys = attn_panel_keys(&work->panel, head, tile->key / tile_k);
    work_turn(work, STAGE_SCORES);
    attn_product(tools->kernels, tools->recipe.cut, tile->rows, tile->keys,
                 head->problem->key_dim, head->problem->scale,
                 (struct operand){query.data, query.ld, false}, keys, false, scores,
                 ld);
    work_turn(work, before);
}

enum cover attn_scores_tile(struct work *work, const struct head *head,
                            const struct tile *tile, struct matrix query, float *scores,
                            int64_t ld) {
    const struct toolbox *tools = work->tools;
    unsigned todo;
    const enum stage before = work_turn(work, STAGE_TERMS);
    enum cover cover =
        attn_masks_cover(&tools->masks, head, tile, tools->kernels, &todo);
    if (cover != COVER_NONE) {
        attn_scores_product(work, head, tile, query, scores, ld);
        attn_terms_apply(work, head, tile, scores, ld);
        attn_masks_apply(&tools->masks, head, tile, tools->kernels, todo, scores, ld);
    }
    work_turn(work, before);
    return cover;
}

void attn_weights_drop(struct work *work, const struct head *head,
                       const struct tile *tile, float *weights, int64_t ld) {
    const struct toolbox *tools = work->tools;
    const int tile_k = tools->recipe.tile_k;
    if (head->problem->dropout > 0.0f) {
        const enum stage before = work_turn(work, STAGE_TERMS);
        uint8_t *keep = layout_at(&tools->layout, work->memory, REGION_KEEP);
        attn_dropout_mask(head, tile, tools->kernels, keep, tile_k);
        attn_dropout_apply(head, tile, tools->kernels, keep, tile_k, weights, ld);
        work_turn(work, before);
    }
}

bool attn_values_guarded(struct work *work, const struct head *head,
                         const struct tile *tile, enum cover cover) {
    if (cover != COVER_SOME) {
        return false;
    }
    const enum stage before = work_turn(work, STAGE_COPIES);
    const bool finite =
        attn_panel_finite(&work->panel, head, tile->key / work->tools->recipe.tile_k);
    work_turn(work, before);
    return !finite;
}

void attn_values_add(struct work *work, const struct head *head,
                     const struct tile *tile, enum cover cover, float *weights,
                     int64_t ld, bool begun, const float *rescale, float *sums) {
    const int64_t t = tile->key / work->tools->recipe.tile_k;
    const int dim = head->problem->value_dim;
    attn_weights_drop(work, head, tile, weights, ld);
    if (attn_pieces_fit(work->tools, head)) {
        attn_pieces_values(work, head, tile, cover, weights, ld, begun, rescale, sums);
        return;
    }
    if (rescale != NULL) {
        const enum stage before = work_turn(work, STAGE_SOFTMAX);
        work->tools->kernels->scale(sums, dim, sums, dim, tile->rows, dim, rescale);
        work_turn(work, before);
    }
    const enum stage before = work_turn(work, STAGE_COPIES);
    const bool guarded = attn_values_guarded(work, head, tile, cover);
    const struct factor values =
        guarded ? factor_rows(attn_panel_values(&work->panel, head, t), dim)
                : attn_panel_value_rows(&work->panel, head, t);
    work_turn(work, STAGE_VALUES);
    /* small products make -0 where those that are added to 0 make 0, to the bit what
     * the small engine makes */
    const bool add = begun || guarded || product_is_small(tile->rows, dim, tile->keys);
    if (add) {
        if (!begun) {
            memset(sums, 0, (size_t)tile->rows * (size_t)dim * sizeof *sums);
        }
        attn_tile_product_add(work, head, tile, OVER_KEYS, guarded, 1.0f, weights, ld,
                              values, dim, sums);
    } else {
        attn_product(work->tools->kernels, work->tools->recipe.cut, tile->rows, dim,
                     tile->keys, 1.0f, (struct operand){weights, ld, false}, values,
                     false, sums, dim);
    }
    work_turn(work, before);
}

void attn_values_write(struct work *work, const struct head *head,
                       const struct tile *tile, float *weights, int64_t ld,
                       const float *factor, float *out, int64_t ld_out) {
    attn_weights_drop(work, head, tile, weights, ld);
    if (attn_pieces_fit(work->tools, head)) {
        attn_pieces_write(work, head, tile, weights, ld, factor, out, ld_out);
        return;
    }
    const enum stage before = work_turn(work, STAGE_COPIES);
    const struct factor values = attn_panel_value_rows(
        &work->panel, head, tile->key / work->tools->recipe.tile_k);
    work_turn(work, STAGE_VALUES);
    attn_product_scaled(work->tools->kernels, tile->rows, head->problem->value_dim,
                        tile->keys, factor, &(struct operand){weights, ld, false},
                        values, out, ld_out);
    work_turn(work, before);
}

float *attn_column_sums(const struct work *work, const struct tile *tile,
                        const float *numbers, int64_t ld) {
    float *sums = work_floats(work, REGION_COLUMN_SUMS);
    memset(sums, 0, (size_t)tile->keys * sizeof *sums);
    work->tools->kernels->add_columns(sums, numbers, ld, tile->rows, tile->keys);
    return sums;
}

void attn_band_sums(const struct work *work, const struct tile *tile,
                    const float *numbers, int64_t ld, float *band) {
    memset(band, 0, (size_t)(tile->rows + tile->keys - 1) * sizeof *band);
    for (int64_t r = 0; r < tile->rows; r++) {
        work->tools->kernels->add_columns(band + tile->rows - 1 - r, numbers + r * ld,
                                          ld, 1, tile->keys);
    }
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
