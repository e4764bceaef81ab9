/*
 * What engines share: the scratch of a block.
 */
#include "engine/engine.h"

bool attn_engine_book(struct layout *layout, const struct toolbox *tools) {
    const struct problem *problem = tools->problem;
    const struct recipe *recipe = &tools->recipe;
    const int64_t panel_keys = (int64_t)tools->panel_slots * recipe->tile_k;
    const size_t size = sizeof(float);
    return attn_layout_book(layout, REGION_PANEL_KEYS, panel_keys, problem->key_dim,
                            size) &&
           attn_layout_book(layout, REGION_PANEL_VALUES, panel_keys, problem->value_dim,
                            size) &&
           attn_layout_book(layout, REGION_PANEL_SLOTS, tools->panel_slots, 1,
                            sizeof(struct panel_slot)) &&
           attn_layout_book(layout, REGION_QUERY, recipe->tile_q, problem->key_dim,
                            size) &&
           attn_layout_book(layout, REGION_SCORES, recipe->tile_q, recipe->tile_k,
                            size) &&
           attn_layout_book(layout, REGION_SUM_OF_VALUES, tools->block_rows,
                            problem->value_dim, size) &&
           attn_layout_book(layout, REGION_MAXIMUM, tools->block_rows, 1, size) &&
           attn_layout_book(layout, REGION_SUM, tools->block_rows, 1, size) &&
           attn_layout_book(layout, REGION_FACTOR, tools->block_rows, 1, size) &&
           attn_layout_book(layout, REGION_FINITE_VALUES, recipe->tile_k,
                            problem->value_dim, size);
}

struct softmax attn_engine_softmax(const struct work *work, int64_t rows_before,
                                   int rows) {
    const int dim = work->tools->problem->value_dim;
    return (struct softmax){
        .rows = rows,
        .dim = dim,
        .maximum = work_floats(work, REGION_MAXIMUM) + rows_before,
        .sum = work_floats(work, REGION_SUM) + rows_before,
        .values = work_floats(work, REGION_SUM_OF_VALUES) + rows_before * dim,
        .factor = work_floats(work, REGION_FACTOR) + rows_before,
    };
}
