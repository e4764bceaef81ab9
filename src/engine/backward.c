/*
 * The backward pass over a block of rows (Dao et al. 2022).
 *
 * Key tiles go by in ascending order; each meets all tiles of rows of the block before
 * the next one comes. The gradients of its keys and values stay at hand meanwhile, and
 * those of the block's queries all the time. So each sum has a fixed order, heads
 * first, then rows or keys, however blocks and tiles are shared out to threads.
 */
#include "engine/backward.h"

#include <string.h>

#include "base/arith.h"
#include "core/additive_tile.h"
#include "core/pieces_tile.h"

bool attn_backward_book(struct layout *layout, const struct toolbox *tools) {
    const struct problem *problem = tools->problem;
    const int64_t tile_q = tools->recipe.tile_q, tile_k = tools->recipe.tile_k;
    const int64_t keys = tools->panel_slots * tile_k;
    const int64_t blocks = tools->recipe.columns > 0 ? keys : 0;
    const int64_t capped = problem->softcap > 0.0f ? tile_q : 0;
    const int64_t keep = problem->dropout > 0.0f ? tile_q : 0;
    const int key_dim = problem->key_dim, value_dim = problem->value_dim;
    const struct {
        enum region region;
        int64_t count, count2;
        size_t size;
    } books[] = {
        {REGION_PANEL_KEYS, keys, key_dim, sizeof(float)},
        {REGION_PANEL_PLAIN_KEYS, keys, key_dim, sizeof(float)},
        {REGION_PANEL_KEY_BLOCKS, blocks, panel_columns(&tools->recipe, key_dim),
         sizeof(float)},
        {REGION_PANEL_TURNED_VALUES, keys, value_dim, sizeof(float)},
        {REGION_PANEL_SLOTS, tools->panel_slots, 1, sizeof(struct panel_slot)},
        {REGION_QUERY, tile_q, key_dim, sizeof(float)},
        {REGION_GRAD_OUT, tile_q, value_dim, sizeof(float)},
        {REGION_SCORES, tile_q, tile_k, sizeof(float)},
        {REGION_GRAD_SCORES, tile_q, tile_k, sizeof(float)},
        {REGION_RAW, capped, tile_k, sizeof(float)},
        {REGION_KEEP, keep, tile_k, 1},
        {REGION_ATTENDED, tools->masks.count > 0 ? tile_q : 0, tile_k, sizeof(float)},
        {REGION_COLUMN_SUMS, tile_k, 1, sizeof(float)},
        {REGION_MAXIMUM, tools->block_rows, 1, sizeof(float)},
        {REGION_FACTOR, tools->block_rows, 1, sizeof(float)},
        {REGION_DELTA, tools->block_rows, 1, sizeof(float)},
        {REGION_GRAD_QUERY, tools->block_rows, key_dim, sizeof(float)},
        {REGION_GRAD_KEY, tile_k, key_dim, sizeof(float)},
        {REGION_GRAD_VALUE, tile_k, value_dim, sizeof(float)},
        {REGION_FINITE, max_i64(tile_q, tile_k), max_i64(key_dim, value_dim),
         sizeof(float)},
    };
    for (size_t i = 0; i < COUNT_OF(books); i++) {
        if (!attn_layout_book(layout, books[i].region, books[i].count, books[i].count2,
                              books[i].size)) {
            return false;
        }
    }
    return attn_pieces_book(layout, tools) && attn_additive_book(layout, tools) &&
           attn_terms_book(&tools->terms, layout, tools);
}

static struct rows_state state_of(const struct cursor *at, const struct work *work) {
    const int64_t dim = work->tools->problem->key_dim;
    return (struct rows_state){
        .head = &at->head,
        .row = at->row,
        .count = at->rows,
        .maximum = work_floats(work, REGION_MAXIMUM) + at->before,
        .factor = work_floats(work, REGION_FACTOR) + at->before,
        .delta = work_floats(work, REGION_DELTA) + at->before,
        .grad_query = work_floats(work, REGION_GRAD_QUERY) + at->before * dim,
    };
}

/* The part of a key tile that these rows may attend; false if there is none. */
static bool tile_of(const struct work *work, const struct rows_state *rows, int64_t t,
                    struct tile *tile) {
    int64_t first, end, end_key;
    attn_tiles_of_rows(work, rows->head, rows->row, rows->count, &first, &end,
                       &end_key);
    *tile = attn_tile_at(work, rows->row, rows->count, t, end_key);
    return first <= t && t < end;
}

/* Moves rows of a key tile's gradient between scratch and view, if it is there. */
static void load(const struct view *view, const struct key_tile *tile, int dim,
                 float *scratch) {
    for (int64_t j = 0; view->data != NULL && j < tile->keys; j++) {
        if (tile->fresh) {
            memset(scratch + j * dim, 0, (size_t)dim * sizeof *scratch);
        } else {
            memcpy(scratch + j * dim, view_at(view, tile->b, tile->g, tile->key + j, 0),
                   (size_t)dim * sizeof *scratch);
        }
    }
}

static void store(const struct view *view, const struct key_tile *tile, int dim,
                  const float *scratch) {
    for (int64_t j = 0; view->data != NULL && j < tile->keys; j++) {
        float *to = view_at(view, tile->b, tile->g, tile->key + j, 0);
        if (tile->open) {
            memcpy(to, scratch + j * dim, (size_t)dim * sizeof *scratch);
        } else {
            memset(to, 0, (size_t)dim * sizeof *scratch);
        }
    }
}

static struct key_tile key_tile_at(const struct work *work, const struct call *call,
                                   const struct block *block, int64_t t) {
    const int64_t tile_k = work->tools->recipe.tile_k;
    return (struct key_tile){
        .b = block->b,
        .g = block->head / call->problem->group,
        .key = t * tile_k,
        .keys = (int)min_i64(tile_k, attn_call_keys(call, block->b) - t * tile_k),
        .grad_key = work_floats(work, REGION_GRAD_KEY),
        .grad_value = work_floats(work, REGION_GRAD_VALUE),
    };
}

void attn_backward_open(struct key_tile *tile, const struct call *call) {
    if (!tile->open) {
        load(&call->grad_key, tile, call->problem->key_dim, tile->grad_key);
        load(&call->grad_value, tile, call->problem->value_dim, tile->grad_value);
        tile->open = true;
    }
}

/* Writes the gradients of a tile, or 0 if no row attends it and nobody wrote before. */
static void close_tile(const struct key_tile *tile, const struct call *call) {
    if (tile->open || tile->fresh) {
        store(&call->grad_key, tile, call->problem->key_dim, tile->grad_key);
        store(&call->grad_value, tile, call->problem->value_dim, tile->grad_value);
    }
}

void attn_backward_clear_tiles(struct work *work, const struct call *call,
                               const struct block *block, int64_t tile,
                               int64_t tile_end) {
    for (int64_t t = tile; t < tile_end; t++) {
        struct key_tile keys = key_tile_at(work, call, block, t);
        keys.fresh = true;
        close_tile(&keys, call);
    }
}

/* One tile of keys against all rows of the block. */
static void run_keys(struct work *work, const struct call *call,
                     const struct block *block, int64_t t, bool fresh) {
    struct key_tile keys = key_tile_at(work, call, block, t);
    keys.fresh = fresh;
    struct cursor at = {0};
    while (attn_cursor_next(&at, work, call, block)) {
        const struct rows_state rows = state_of(&at, work);
        struct tile tile;
        if (tile_of(work, &rows, t, &tile)) {
            if (attn_work_stopped(work, call)) {
                return;
            }
            const enum stage before = work_turn(work, STAGE_GRADIENTS);
            attn_backward_tile(work, &rows, &tile, &keys);
            work_turn(work, before);
        }
    }
    close_tile(&keys, call);
}

/* The tiles [*first, *end) that some row of the block may attend, within the given. */
static void tiles_of_block(struct work *work, const struct call *call,
                           const struct block *block, int64_t *first, int64_t *end) {
    int64_t low = *end, high = *first;
    struct cursor at = {0};
    while (attn_cursor_next(&at, work, call, block)) {
        int64_t from, to, end_key;
        attn_tiles_of_rows(work, &at.head, at.row, at.rows, &from, &to, &end_key);
        low = from < to ? min_i64(low, from) : low;
        high = from < to ? max_i64(high, to) : high;
    }
    *first = max_i64(*first, low);
    *end = max_i64(*first, min_i64(*end, high));
}

/* The state of all rows, with what weights add to delta. */
static void start(struct work *work, const struct call *call,
                  const struct block *block) {
    struct cursor at = {0};
    while (attn_cursor_next(&at, work, call, block)) {
        const struct rows_state rows = state_of(&at, work);
        attn_backward_start_rows(work, &rows);
    }
    if (call->grad_weights.data == NULL && call->grad_key_sums.data == NULL) {
        return;
    }
    int64_t first = 0, end = ceil_div(call->kv_length, work->tools->recipe.tile_k);
    tiles_of_block(work, call, block, &first, &end);
    for (int64_t t = first; t < end; t++) {
        at = (struct cursor){0};
        while (attn_cursor_next(&at, work, call, block)) {
            const struct rows_state rows = state_of(&at, work);
            struct tile tile;
            if (tile_of(work, &rows, t, &tile) && !attn_work_stopped(work, call)) {
                attn_backward_add_delta(work, &rows, &tile);
            }
        }
    }
}

static void finish(struct work *work, const struct call *call,
                   const struct block *block) {
    struct cursor at = {0};
    while (attn_cursor_next(&at, work, call, block)) {
        const struct rows_state rows = state_of(&at, work);
        if (call->grad_sinks.data != NULL) {
            attn_backward_add_sink(&rows);
        }
        if (call->grad_query.data != NULL) {
            attn_backward_write_query(&rows);
        }
    }
}

void attn_backward_run(struct work *work, const struct call *call,
                       const struct block *block, int64_t tile, int64_t tile_end,
                       int64_t *written) {
    work->keep_raw = true;
    int64_t first = tile, end = tile_end;
    tiles_of_block(work, call, block, &first, &end);
    if (first == end && call->grad_sinks.data == NULL &&
        call->grad_query.data == NULL) {
        return;
    }
    start(work, call, block);
    if (first < end) {
        attn_backward_clear_tiles(work, call, block, *written, first);
        *written = max_i64(*written, first);
    }
    for (int64_t t = first; t < end && !attn_work_stopped(work, call); t++) {
        run_keys(work, call, block, t, t >= *written);
        *written = max_i64(*written, t + 1);
    }
    finish(work, call, block);
}
