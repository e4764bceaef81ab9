/*
 * What engines share: the scratch of a block and the walk over its tiles of rows.
 */
#include <math.h>

#include "base/arith.h"
#include "core/additive_tile.h"
#include "core/pieces_tile.h"
#include "engine/engine.h"

bool attn_engine_book(struct layout *layout, const struct toolbox *tools) {
    const struct problem *problem = tools->problem;
    const struct recipe *recipe = &tools->recipe;
    const int64_t panel_keys = (int64_t)tools->panel_slots * recipe->tile_k;
    const size_t size = sizeof(float);
    return attn_layout_book(layout, REGION_PANEL_KEYS, panel_keys, problem->key_dim,
                            size) &&
           attn_layout_book(layout, REGION_PANEL_PLAIN_KEYS,
                            recipe->turn_keys && !problem->additive ? 0 : panel_keys,
                            problem->key_dim, size) &&
           attn_layout_book(layout, REGION_PANEL_VALUES, panel_keys, problem->value_dim,
                            size) &&
           attn_layout_book(layout, REGION_PANEL_VALUE_BLOCKS,
                            recipe->columns > 0 ? panel_keys : 0,
                            panel_columns(recipe, problem->value_dim), size) &&
           attn_layout_book(layout, REGION_PANEL_ROWS, recipe->tile_k,
                            max_i64(problem->key_dim, problem->value_dim), size) &&
           attn_layout_book(layout, REGION_PANEL_SLOTS, tools->panel_slots, 1,
                            sizeof(struct panel_slot)) &&
           attn_layout_book(layout, REGION_QUERY, recipe->tile_q, problem->key_dim,
                            size) &&
           attn_layout_book(layout, REGION_SCORES, recipe->tile_q,
                            scores_stride(recipe->tile_k), size) &&
           attn_layout_book(layout, REGION_SUM_OF_VALUES, tools->block_rows,
                            problem->value_dim, size) &&
           attn_layout_book(layout, REGION_MAXIMUM, tools->block_rows, 1, size) &&
           attn_layout_book(layout, REGION_SUM, tools->block_rows, 1, size) &&
           attn_layout_book(layout, REGION_FACTOR, tools->block_rows, 1, size) &&
           attn_layout_book(layout, REGION_FINITE, recipe->tile_k, problem->value_dim,
                            size) &&
           attn_layout_book(layout, REGION_ATTENDED,
                            tools->masks.count > 0 ? recipe->tile_q : 0, recipe->tile_k,
                            size) &&
           attn_layout_book(layout, REGION_KEEP,
                            problem->dropout > 0.0f ? recipe->tile_q : 0,
                            recipe->tile_k, 1) &&
           attn_pieces_book(layout, tools) && attn_additive_book(layout, tools) &&
           attn_terms_book(&tools->terms, layout, tools);
}

struct softmax attn_block_softmax(const struct work *work, int64_t before, int rows) {
    const int dim = work->tools->problem->value_dim;
    return (struct softmax){
        .rows = rows,
        .dim = dim,
        .maximum = work_floats(work, REGION_MAXIMUM) + before,
        .sum = work_floats(work, REGION_SUM) + before,
        .values = work_floats(work, REGION_SUM_OF_VALUES) + before * dim,
        .factor = work_floats(work, REGION_FACTOR) + before,
    };
}

struct softmax attn_cursor_softmax(const struct cursor *cursor,
                                   const struct work *work) {
    return attn_block_softmax(work, cursor->before, cursor->rows);
}

void attn_mask_tile(const struct tile *tile, float *scores, int64_t ld) {
    for (int64_t i = 0; i < tile->rows; i++) {
        for (int j = 0; j < tile->keys; j++) {
            scores[i * ld + j] = -INFINITY;
        }
    }
}

bool attn_cursor_next(struct cursor *cursor, struct work *work, const struct call *call,
                      const struct block *block) {
    const int64_t rows_of_head = block->row_end - block->row;
    const bool first = cursor->rows == 0;
    int64_t h = first ? block->head : cursor->head.h;
    int64_t row = first ? block->row : cursor->row + cursor->rows;
    if (row >= block->row_end) {
        row = block->row;
        h++;
    }
    if (h >= block->head_end) {
        return false;
    }
    if (first || h != cursor->head.h) {
        attn_head_bind(&cursor->head, call, block->b, h);
        attn_panel_bind(&work->panel, &cursor->head);
    }
    cursor->row = row;
    cursor->rows = (int)min_i64(work->tools->recipe.tile_q, block->row_end - row);
    cursor->before = (h - block->head) * rows_of_head + row - block->row;
    return true;
}
